"""The clock's alarm: said once when an invariant breaks, once when it holds again, and never for what passes."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from sqlalchemy import insert

from core import clock
from core.findings import Finding
from ops.invariants.alerts import Alarm
from outbox.models import OutboxFact
from tests.ingest.support import Room


def look(alarm: Alarm, *broken: str) -> None:
    codes = ("old_facts", "stuck_items")
    alarm.note([Finding(code, int(code in broken), "a sentence") for code in codes])


@pytest.fixture
def alarm(room: Room) -> Alarm:
    return Alarm(room.database, room.settings)


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.message, getattr(record, "code", "")) for record in caplog.records if record.levelno == logging.ERROR]


def test_a_broken_invariant_is_said_once_and_once_more_when_it_holds_again(
    alarm: Alarm, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        look(alarm, "old_facts")
    assert said(caplog) == [("an invariant is broken", "old_facts")]
    for _ in range(5):
        look(alarm)
    assert said(caplog)[1:] == [("an invariant holds again", "old_facts")]
    look(alarm, "old_facts")
    look(alarm, "old_facts")
    assert len(said(caplog)) == 3


def test_what_is_seen_only_once_is_not_said(alarm: Alarm, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        look(alarm, "stuck_items")
        look(alarm)
    assert said(caplog) == []
    look(alarm, "stuck_items")
    look(alarm, "stuck_items", "old_facts")
    look(alarm, "old_facts")
    look(alarm, "stuck_items", "old_facts")
    assert said(caplog) == [("an invariant is broken", "stuck_items"), ("an invariant is broken", "old_facts")]


def test_what_gets_worse_is_said_again_and_what_gets_better_is_not(alarm: Alarm, caplog: pytest.LogCaptureFixture) -> None:
    for level in (1, 1, 2, 2, 1, 1, 2, 2, 3, 3):
        alarm.note([Finding("ending_secrets", 1, "a sentence", level=level)])
    assert said(caplog) == [("an invariant is broken", "ending_secrets")] * 3
    for _ in range(2):
        alarm.note([Finding("ending_secrets", 0, "a sentence")])
    assert said(caplog)[3:] == [("an invariant holds again", "ending_secrets")]


def test_a_look_judges_the_database(alarm: Alarm, room: Room, caplog: pytest.LogCaptureFixture) -> None:
    late = clock.now() - timedelta(minutes=2)
    with room.database.write() as session:
        row = {"kind": "ticket.created", "payload": {}, "created_at": late, "due_at": late}
        session.execute(insert(OutboxFact), [row])
    alarm.look()
    alarm.look()
    assert ("an invariant is broken", "old_facts") in said(caplog)
