"""A plugin that marks every test as ``unit``, ``database`` or ``servers``, decided by what the test uses.

``make test-fast`` runs the unit tests: pure functions and SQLite, no server, no process of casemill's own. CONTRIBUTING.md names
the budgets of the three suites.
"""

from __future__ import annotations

from pathlib import Path

import pytest

#: Fixtures that start something other than PostgreSQL: a mail server, Redis, a certificate authority, a tracer.
SERVER_FIXTURES = frozenset({"dovecot_server", "redis_process", "certificates", "smtp_server", "make_proxy"})
DATABASE_FIXTURES = frozenset({"postgres_server"})
#: Folders and files whose tests start processes of casemill, or test the servers of the tests themselves.
SERVER_PATHS = ("e2e/", "faults/", "servers/", "test_server_faults.py", "test_servers.py", "test_worker_processes.py")
TESTS = Path(__file__).resolve().parent


def choose_suite(path: str, fixtures: set[str], marks: set[str]) -> str:
    """Return the suite of a test from its path below ``tests/``, the fixtures it uses, and the marks it has."""
    if "servers" in marks or path.startswith(SERVER_PATHS) or fixtures & SERVER_FIXTURES:
        return "servers"
    if fixtures & DATABASE_FIXTURES:
        return "database"
    return "unit"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test with its suite. A parameter may name a fixture that is requested later: ``postgresql``."""
    if not item.path.is_relative_to(TESTS):
        return
    fixtures = set(getattr(item, "fixturenames", ()))
    if "postgresql" in item.name:
        fixtures |= DATABASE_FIXTURES
    marks = {mark.name for mark in item.iter_markers()}
    item.add_marker(choose_suite(item.path.relative_to(TESTS).as_posix(), fixtures, marks))
