"""The servers that a test needs, whether they are installed, and what to install."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.servers.disk import find_mount
from tests.servers.dovecot import find_dovecot
from tests.servers.postgres import find_postgres
from tests.servers.process import find_program
from tests.servers.redis_server import find_redis
from tests.servers.tracer import find_tracer


@dataclass(frozen=True)
class ServerRequirement:
    """A server: the fixture that starts it, the function that finds it, its Debian package, or a sentence on what is missing."""

    fixture: str
    find: Callable[[], str | None]
    package: str = ""
    sentence: str = ""


REQUIREMENTS = {
    "openssl": ServerRequirement("certificates", lambda: find_program("openssl"), "openssl"),
    "dovecot": ServerRequirement("dovecot_server", find_dovecot, "dovecot-imapd"),
    "postgres": ServerRequirement("postgres_server", find_postgres, "postgresql"),
    "redis": ServerRequirement("redis_process", find_redis, "redis-server"),
    "strace": ServerRequirement("strace", lambda: find_program("strace"), "strace"),
    "ptrace": ServerRequirement(
        "tracing", find_tracer, sentence="strace may not attach to a running process: run the tests as root"
    ),
    "tmpfs": ServerRequirement(
        "small_disk", find_mount, sentence="no tmpfs can be mounted: run the tests as root (containers: SYS_ADMIN)"
    ),
}


def in_ci() -> bool:
    """Return whether a missing server is a failure."""
    return os.environ.get("CI", "").lower() == "true"


def missing_for(item: pytest.Item) -> str | None:
    """Return the first server that this test needs and that is not installed, else None."""
    fixtures = set(getattr(item, "fixturenames", ()))
    callspec = getattr(item, "callspec", None)
    # A parameter may decide which servers a test uses, so pytest does not list them among its fixtures.
    params = callspec.params if callspec is not None else {}
    if params.get("database_url") == "postgresql":
        fixtures.add("postgres_server")
    if "scaled" in (params.get("mode"), params.get("shared_mode")):
        fixtures |= {"postgres_server", "redis_process"}
    return next((name for name, need in REQUIREMENTS.items() if need.fixture in fixtures and not need.find()), None)


def require(name: str) -> None:
    """Fail the test if the server is not installed."""
    if not REQUIREMENTS[name].find():
        pytest.fail(explain_missing(name), pytrace=False)


def explain_missing(name: str) -> str:
    """Return a sentence: what is missing, and what to install."""
    need = REQUIREMENTS[name]
    return need.sentence or f"{name} is not installed (on Debian: apt-get install {need.package})"
