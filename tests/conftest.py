"""Fixtures shared by all tests: real servers for the session, a clean state for each test.

A test says what it needs by naming the fixture. Where a server is not installed its tests are left out and
named at the end of the run as not run; with CI=true they fail instead, and so does a run that skips a test.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import needs
from tests.servers.dovecot import DovecotServer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.redis_server import RedisServer
from tests.servers.smtp import SmtpServer
from tests.servers.tls import Certificates, make_certificates
from tests.servers.workspace import make_workspace, remove_workspace
from tests.waiting import set_test_timer

# How long an example takes, or takes to be made, says how busy the machine is: tests are not timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# `make test-fast` asks for this one: fewer examples of each property.
settings.register_profile("fast", deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

NOT_RUN = pytest.StashKey[list[tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    """Remove a developer's own settings, which must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("CASEMILL_")]:
        del os.environ[name]
    config.stash[NOT_RUN] = []


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool:
    """Multiply the time limit of a test by the load of the machine, as every other budget of the tests."""
    return set_test_timer(item, settings)


@pytest.hookimpl(trylast=True)  # after -k and -m: only what was asked for is named
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here; with CI=true keep it, so that its fixture fails."""
    if needs.in_ci():
        return
    missing = {id(item): server for item in items if (server := needs.missing_for(item))}
    left_out = [item for item in items if id(item) in missing]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        config.stash[NOT_RUN] += [(missing[id(item)], item.nodeid) for item in left_out]
        items[:] = [item for item in items if id(item) not in missing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was not run, and why."""
    not_run = config.stash[NOT_RUN]
    for server in sorted({server for server, _ in not_run}):
        tests = [nodeid for name, nodeid in not_run if name == server]
        terminalreporter.section(f"tests not run: {len(tests)}, {needs.explain_missing(server)}", yellow=True)
        for nodeid in tests:
            terminalreporter.line(f"NOT RUN {nodeid}")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the tests that a parallel worker left out, for the summary."""
    not_run = node.config.stash[NOT_RUN]
    for server, nodeid in getattr(node, "workeroutput", {}).get("not_run", []):
        if (server, nodeid) not in not_run:
            not_run.append((server, nodeid))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run with CI=true when a test was skipped: no test may be left out unnoticed."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["not_run"] = session.config.stash[NOT_RUN]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if needs.in_ci() and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """The folder with the files of all servers of this run."""
    folder = make_workspace()
    yield folder
    remove_workspace(folder)


@pytest.fixture(scope="session")
def certificates(server_folder: Path) -> Certificates:
    """A certificate for localhost and 127.0.0.1, and the authority that signed it."""
    needs.require("openssl")
    folder = server_folder / "tls"
    folder.mkdir()
    return make_certificates(folder)


@pytest.fixture(scope="session")
def dovecot_server(server_folder: Path, certificates: Certificates) -> Iterator[DovecotServer]:
    """The Dovecot of this run; tests use `dovecot`."""
    needs.require("dovecot")
    server = DovecotServer(server_folder / "dovecot", certificates)
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        yield server


@pytest.fixture
def dovecot(dovecot_server: DovecotServer) -> Iterator[DovecotServer]:
    """A running Dovecot without users."""
    dovecot_server.start()
    yield dovecot_server
    dovecot_server.reset()


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[PostgresServer]:
    """The PostgreSQL cluster of this run, for tests that stop or restart it."""
    needs.require("postgres")
    server = PostgresServer(server_folder / "postgres")
    with ExitStack() as stack:
        stack.callback(server.stop, "immediate")
        server.start()
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database for this test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: the test runs once on SQLite (a file) and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'casemill.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def redis_process(server_folder: Path) -> Iterator[RedisServer]:
    """The Redis of this run; tests use `redis_server` or `redis_url`."""
    needs.require("redis")
    server = RedisServer(server_folder / "redis")
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        yield server


@pytest.fixture
def redis_server(redis_process: RedisServer) -> Iterator[RedisServer]:
    """A running, empty Redis that the test may flush, kill, suspend and start."""
    redis_process.flush()
    yield redis_process
    redis_process.flush()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of a running, empty Redis."""
    return redis_server.url


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    """A plain SMTP server that accepts everything unless its behaviour is changed."""
    with SmtpServer() as server:
        yield server


@pytest.fixture
def smtp_starttls_server(certificates: Certificates) -> Iterator[SmtpServer]:
    """An SMTP server that requires STARTTLS and a login."""
    with SmtpServer(certificates, encryption="starttls", login_required=True) as server:
        yield server


@pytest.fixture
def smtp_tls_server(certificates: Certificates) -> Iterator[SmtpServer]:
    """An SMTP server with TLS from the first byte that requires a login."""
    with SmtpServer(certificates, encryption="implicit", login_required=True) as server:
        yield server


@pytest.fixture
def make_proxy() -> Iterator[Callable[[int], Proxy]]:
    """Starts proxies in front of loopback ports."""
    with ExitStack() as stack:
        yield lambda port: stack.enter_context(Proxy(port))
