"""A plugin that marks every test as ``unit``, ``database`` or ``servers``, decided by what the test uses.

``make test-fast`` runs the unit tests: pure functions and SQLite, no server, no process of casemill's own. CONTRIBUTING.md names
the budgets of the three suites.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

#: Fixtures that start something other than PostgreSQL: a mail server, Redis, a certificate authority, a tracer.
SERVER_FIXTURES = frozenset({"dovecot_server", "redis_process", "certificates", "smtp_server", "make_proxy"})
DATABASE_FIXTURES = frozenset({"postgres_server"})
#: Fixtures that start parser processes.
PROCESS_FIXTURES = frozenset({"pool", "parser_pool", "make_harness", "harness"})
#: Folders and files whose tests start programs (commands, watchers, workers) or a mail server of their own, or test the servers
#: of the tests themselves.
SERVER_PATHS = (
    "cli/", "demo/", "domain/", "e2e/", "faults/", "servers/", "web/", "ingest/sources/", "ingest/test_", "ops/reconcile/",
    "test_server_faults.py", "test_servers.py", "test_worker_processes.py", "test_workers.py", "test_waiting.py",
    "core/test_migrations.py", "tickets/test_ageing.py", "notify/test_smtp", "notify/test_relay", "notify/test_delivery",
    "notify/test_attempts.py", "notify/test_mail_loops.py", "notify/test_transport.py", "notify/test_notices.py",
)  # fmt: skip
#: Names of tests whose input is large on purpose: whole rounds over every module, megabytes, thousands of rows.
SLOW_NAMES = re.compile(
    "grows_linearly|within_seconds|ten_thousand|damaged|by_many_at_once|regular_expression_finds|two_receipts"
    "|one_writer_each|no_definition_has|class_names_exist|within_period|unstorable|quick_enough|locked_for_too_long|after_its_ttl|hostile_text|at_once_raise_every|than_a_batch|takes_less_than|are_flushed_together|left_to_do|time_of_day"
)
TESTS = Path(__file__).resolve().parent


def choose_suite(path: str, fixtures: set[str], marks: set[str]) -> str:
    """Return the suite of a test from its path below ``tests/``, the fixtures it uses, and the marks it has."""
    if "servers" in marks or path.startswith(SERVER_PATHS) or fixtures & (SERVER_FIXTURES | PROCESS_FIXTURES):
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
    if SLOW_NAMES.search(item.name.partition("[")[0]):
        item.add_marker("slow")
