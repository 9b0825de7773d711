"""Alerts: one when an invariant is violated, one when it holds again, none for what passes."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from sqlalchemy import insert

from core import clock
from core.findings import ok, problem
from ops.invariants.alerts import InvariantAlerts
from outbox.models import OutboxFact
from tests.ingest.support import IngestHarness


def update(alerts: InvariantAlerts, *violated: str) -> None:
    codes = ("old_facts", "stuck_items")
    alerts.update([problem(code, "a sentence") if code in violated else ok(code, "a sentence") for code in codes])


@pytest.fixture
def alerts(harness: IngestHarness) -> InvariantAlerts:
    return InvariantAlerts(harness.database, harness.settings)


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.message, getattr(record, "code", "")) for record in caplog.records if record.levelno == logging.ERROR]


def test_violation_and_recovery_are_each_logged_once(alerts: InvariantAlerts, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        update(alerts, "old_facts")
    assert logged(caplog) == [("invariant violated", "old_facts")]
    for _ in range(5):
        update(alerts)
    assert logged(caplog)[1:] == [("invariant holds again", "old_facts")]
    update(alerts, "old_facts")
    update(alerts, "old_facts")
    assert len(logged(caplog)) == 3


def test_violation_seen_by_one_check_alone_is_not_logged(alerts: InvariantAlerts, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        update(alerts, "stuck_items")
        update(alerts)
    assert logged(caplog) == []
    update(alerts, "stuck_items")
    update(alerts, "stuck_items", "old_facts")
    update(alerts, "old_facts")
    update(alerts, "stuck_items", "old_facts")
    assert logged(caplog) == [("invariant violated", "stuck_items"), ("invariant violated", "old_facts")]


def test_worse_problem_is_logged_again_and_a_better_one_is_not(alerts: InvariantAlerts, caplog: pytest.LogCaptureFixture) -> None:
    for level in (1, 1, 2, 2, 1, 1, 2, 2, 3, 3):
        alerts.update([problem("ending_secrets", "a sentence", level=level)])
    assert logged(caplog) == [("invariant violated", "ending_secrets")] * 3
    for _ in range(2):
        alerts.update([ok("ending_secrets", "a sentence")])
    assert logged(caplog)[3:] == [("invariant holds again", "ending_secrets")]


def test_check_reads_the_database(alerts: InvariantAlerts, harness: IngestHarness, caplog: pytest.LogCaptureFixture) -> None:
    late = clock.now() - timedelta(minutes=2)
    with harness.database.write() as session:
        row = {"kind": "ticket.created", "payload": {}, "created_at": late, "due_at": late}
        session.execute(insert(OutboxFact), [row])
    alerts.check()
    alerts.check()
    assert ("invariant violated", "old_facts") in logged(caplog)
