"""The invariants: each holds in a healthy house, and each breaks by what it is there for and by nothing less."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database
from core.findings import Finding
from core.leases import Lease
from ingest.ledger.models import MailboxCursor, Sighting
from notify.models import Delivery
from ops.invariants import checks, counts
from ops.invariants.checks import check, judge, judge_leases, judge_mailboxes, judge_quarantine
from ops.invariants.counts import InvariantCount, Quarantine
from outbox.models import OutboxFact
from tests.ingest.sources.support import make_tables
from tests.ingest.support import Room, arrival, make_mail, make_row, make_workbook, workbook_arrival

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def broken(room: Room, *, whole: bool = False) -> dict[str, Finding]:
    """The invariants that do not hold now, but for those of a house that does not run."""
    with room.database.read() as session:
        found = check(session, room.settings, room.database.now(session), whole=whole)
    assert len({one.code for one in found}) == len(found)
    stopped = {checks.DEAD_LEASES, checks.SILENT_MAILBOXES}
    return {one.code: one for one in found if one.is_violated and one.code not in stopped}


def set_moment(room: Room, table: str, column: str, ago: timedelta, condition: str = "1 = 1") -> None:
    moment: Any = clock.now() - ago
    if room.database.is_sqlite:
        moment = moment.replace(tzinfo=None).isoformat(" ", "microseconds")
    room.sql(f"UPDATE {table} SET {column} = :moment WHERE {condition}", moment=moment)


def add_delivery(room: Room, key: str, ago: timedelta, **values: Any) -> None:
    due = clock.now() - ago
    row = {"key": key, "mailing": "ticket_created", "ticket_id": 1, "recipient": "a@x.example", "domain": "x.example"}
    rest = {"outside": True, "context": {}, "due_at": due, "created_at": due}
    with room.database.write() as session:
        session.execute(insert(Delivery), [row | rest | values])


@pytest.fixture
def settled(room: Room) -> Room:
    """A house in which a mail and a workbook have become tickets, and their notices were settled."""
    room.take(arrival(make_mail(1)))
    room.take(workbook_arrival(make_workbook(make_row(1), make_row(2))))
    room.drain()
    room.sql("UPDATE outbox_fact SET done_at = created_at")
    room.sql("UPDATE ticket SET stage = 4, creation_notice = 'sent'")
    return room


@pytest.mark.parametrize("whole", [False, True])
def test_all_hold_in_a_healthy_house(settled: Room, whole: bool) -> None:
    assert len(settled.tickets()) == 3
    assert broken(settled, whole=whole) == {}


def test_an_empty_house_is_healthy(room: Room) -> None:
    assert broken(room) == {}


def test_a_fact_is_old_after_a_minute_even_when_it_was_pushed_on(settled: Room) -> None:
    now = clock.now()
    row = {"kind": "ticket.created", "payload": {}, "created_at": now - 50 * MINUTE / 60, "due_at": now}
    with settled.database.write() as session:
        session.execute(insert(OutboxFact), [row])
    assert broken(settled) == {}
    set_moment(settled, "outbox_fact", "created_at", 2 * MINUTE, "done_at IS NULL")
    set_moment(settled, "outbox_fact", "due_at", -5 * MINUTE, "done_at IS NULL")
    found = broken(settled)
    assert found.keys() == {"old_facts"}
    assert found["old_facts"].count == 1
    assert found["old_facts"].oldest is not None and now - found["old_facts"].oldest > MINUTE


def test_items_are_stuck_when_their_time_has_come_and_lost_when_their_claim_is_over(settled: Room) -> None:
    settled.accept(arrival(make_mail(2), "2"), arrival(make_mail(3), "3"))
    assert broken(settled) == {}
    set_moment(settled, "inbound_item", "due_at", 2 * MINUTE, "state = 'waiting'")
    assert {code: one.count for code, one in broken(settled).items()} == {"stuck_items": 2}
    settled.sql("UPDATE inbound_item SET state = 'claimed', claim = 'x' WHERE state = 'waiting'")
    set_moment(settled, "inbound_item", "claim_until", timedelta(seconds=10), "state = 'claimed'")
    assert broken(settled) == {}
    set_moment(settled, "inbound_item", "claim_until", timedelta(seconds=31), "state = 'claimed'")
    assert {code: one.count for code, one in broken(settled).items()} == {"lost_items": 2}


def test_notices_are_stuck_when_due_and_not_while_they_back_off_or_stand_in_line(settled: Room) -> None:
    add_delivery(settled, "backs off", -5 * MINUTE, state="pending", reason_code="put_off")
    add_delivery(settled, "in line", 5 * MINUTE, state="pending", reason_code="total_limit")
    add_delivery(settled, "just due", timedelta(seconds=30), state="pending")
    add_delivery(settled, "sent", 50 * MINUTE, state="sent", finished_at=clock.now())
    assert broken(settled) == {}
    add_delivery(settled, "tried again and due", 2 * MINUTE, state="pending", reason_code="put_off")
    add_delivery(settled, "forgotten in line", 20 * MINUTE, state="pending", reason_code="domain_limit")
    assert {code: one.count for code, one in broken(settled).items()} == {"stuck_deliveries": 2}


def test_notices_under_way_are_lost_with_their_lease_and_ambiguous_ones_wait_a_minute_at_most(settled: Room) -> None:
    soon = clock.now() + MINUTE
    for key, state in (("a", "claimed"), ("b", "intent")):
        add_delivery(settled, key, 10 * MINUTE, state=state, claim="x", claim_until=soon)
    add_delivery(settled, "c", -MINUTE / 2, state="ambiguous", ambiguities=1)
    add_delivery(settled, "d", 10 * MINUTE, state="ambiguous", ambiguities=2, finished_at=clock.now())
    assert broken(settled) == {}
    set_moment(settled, "delivery", "claim_until", MINUTE, "claim IS NOT NULL")
    set_moment(settled, "delivery", "due_at", 2 * MINUTE, "state = 'ambiguous'")
    assert {code: one.count for code, one in broken(settled).items()} == {"lost_deliveries": 2, "ambiguous_deliveries": 1}


def test_a_ticket_leaves_the_first_stage_within_five_minutes(settled: Room) -> None:
    settled.sql("UPDATE ticket SET stage = 1 WHERE id <= 2")
    set_moment(settled, "ticket", "created_at", 4 * MINUTE)
    assert broken(settled) == {}
    set_moment(settled, "ticket", "created_at", 6 * MINUTE)
    assert {code: one.count for code, one in broken(settled).items()} == {"submitted_tickets": 2}


def test_a_ticket_without_activity_is_found(settled: Room) -> None:
    settled.sql("DELETE FROM attachment WHERE ticket_id = 2")
    settled.sql("DELETE FROM activity WHERE ticket_id = 2")
    assert {code: one.count for code, one in broken(settled).items()} == {"silent_tickets": 1}


def test_an_old_loss_is_found_only_when_everything_is_looked_through(settled: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "RECENT", 1)
    settled.sql("DELETE FROM activity WHERE ticket_id = 1")
    assert broken(settled) == {}
    assert broken(settled, whole=True).keys() == {"silent_tickets"}


def test_items_sightings_and_rows_belong_together(settled: Room) -> None:
    workbook = settled.items(kind="workbook")[0]
    settled.sql("DELETE FROM sighting WHERE source = :source", source=f"workbook:{workbook.id}")
    found = broken(settled)
    assert {code: one.count for code, one in found.items()} == {"unsighted_items": 2, "childless_workbooks": 1}
    assert "reconcile" in found["childless_workbooks"].hint


def test_a_workbook_without_rows_has_none_to_lose(settled: Room) -> None:
    item = settled.take(workbook_arrival(make_workbook(), "empty.xlsx"))[0]
    assert item.disposition == "expanded"
    assert broken(settled) == {}


def test_a_sighting_whose_item_is_gone_is_found(settled: Room) -> None:
    # The database itself refuses this; a damaged file or a bad restore does not ask it.
    sqlite = settled.database.is_sqlite
    unasked = "PRAGMA defer_foreign_keys = ON" if sqlite else "SET LOCAL session_replication_role = replica"
    row = {"source": "mailbox:support", "place": "gone", "item_id": 9_999, "seen_at": clock.now(), "first": True}
    with Session(settled.database.engine) as session:
        session.execute(text(unasked))
        session.execute(insert(Sighting), [row])
        found = {one.code: one.count for one in check(session, settled.settings, clock.now())}
        session.rollback()
    assert found["empty_sightings"] == 1


def test_counting_stops_at_a_number_that_says_so() -> None:
    one = judge("stuck_items", InvariantCount(counts.CAP, NOW), "items wait", "hint")
    assert one.text == "10,000 or more items wait"
    assert judge("stuck_items", InvariantCount(), "items wait", "hint") == Finding("stuck_items", 0, "no items wait")


def cursor(*, ago: timedelta | None = None, errors: int = 0, error: str | None = None) -> MailboxCursor:
    return MailboxCursor(mailbox="a", checked_at=None if ago is None else NOW - ago, errors=errors, error=error)


@pytest.mark.parametrize(
    ("found", "pace", "told"),
    [
        (None, 30, "was never read"),
        (cursor(), 30, "was never read"),
        (cursor(ago=4 * MINUTE), 30, ""),
        (cursor(ago=6 * MINUTE), 30, "was last read at 2026-11-22 08:54 UTC"),
        (cursor(ago=6 * MINUTE), 600, ""),
        (cursor(ago=21 * MINUTE), 600, "was last read at 2026-11-22 08:39 UTC"),
        (cursor(ago=MINUTE, errors=4, error="timeout"), 30, ""),
        (cursor(ago=MINUTE, errors=5, error="login_refusal"), 30, "failed 5 times in a row (login refusal)"),
    ],
)
def test_a_mailbox_is_silent(found: MailboxCursor | None, pace: int, told: str) -> None:
    rows = {} if found is None else {"a": found}
    one = judge_mailboxes(["a"], {"a": timedelta(seconds=pace)}, rows, NOW)
    assert one.count == bool(told)
    assert not told or one.text == f"mailbox a {told}"


def lease(name: str, beat: timedelta, until: timedelta | None) -> Lease:
    token = None if until is None else "x"
    return Lease(name=name, token=token, beat_at=NOW - beat, until=None if until is None else NOW - until)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("leases", "dead"),
    [
        ([], ["clock", "mailbox:a"]),
        ([lease("clock", SECOND, -9 * SECOND), lease("mailbox:a", 5 * SECOND, -10 * SECOND)], []),
        ([lease("clock", 40 * SECOND, 30 * SECOND), lease("mailbox:a", SECOND, -10 * SECOND)], []),
        ([lease("clock", 50 * SECOND, 40 * SECOND), lease("mailbox:a", SECOND, -10 * SECOND)], ["clock"]),
        ([lease("clock", SECOND, -9 * SECOND), lease("mailbox:a", MINUTE, None)], ["mailbox:a"]),
    ],
)
def test_a_lease_needs_a_heartbeat(leases: list[Lease], dead: list[str]) -> None:
    one = judge_leases(["a"], {row.name: row for row in leases}, NOW)
    assert one.count == len(dead)
    assert not dead or one.text == f"no sign of life from: {', '.join(dead)}"


def test_a_lease_that_is_held_now_and_then_is_dead_when_its_holder_did_not_give_it_back() -> None:
    alive = {"clock": lease("clock", SECOND, -9 * SECOND)}
    assert not judge_leases([], alive | {"folder:in": lease("folder:in", 60 * MINUTE, None)}, NOW).is_violated
    one = judge_leases([], alive | {"folder:in": lease("folder:in", MINUTE, 45 * SECOND)}, NOW)
    assert (one.count, one.text) == (1, "no sign of life from: folder:in")


@pytest.mark.parametrize(("today", "before", "count"), [(0, 0, 0), (0, 5, 0), (5, 5, 0), (1, 0, 1), (6, 5, 6)])
def test_the_quarantine_grows_when_a_day_brings_more_than_the_day_before(today: int, before: int, count: int) -> None:
    one = judge_quarantine(Quarantine(today, before, 40, NOW))
    assert one.count == count
    assert "40 in all" in one.text


def test_the_quarantine_is_counted_by_when_things_were_set_aside(settled: Room) -> None:
    settled.sql("UPDATE inbound_item SET disposition = 'quarantined' WHERE kind = 'mail'")
    found = broken(settled)["growing_quarantine"]
    assert (found.count, found.text) == (1, "1 items were set aside in the last 24 hours, 0 in the 24 hours before; 1 in all")
    set_moment(settled, "inbound_item", "settled_at", timedelta(hours=25))
    assert broken(settled) == {}


LOOKS: list[tuple[Callable[..., InvariantCount], dict[str, Any]]] = [
    (counts.facts, {"created_before": NOW}),
    (counts.waiting_items, {"due_before": NOW}),
    (counts.claimed_items, {"until_before": NOW}),
    (counts.pending_deliveries, {"due_before": NOW, "delayed_before": NOW}),
    (counts.ambiguous_deliveries, {"due_before": NOW}),
    (counts.held_deliveries, {"until_before": NOW}),
    (counts.submitted_tickets, {"created_before": NOW}),
    (counts.silent_tickets, {"whole": False}),
    (counts.unsighted_items, {"whole": False}),
    (counts.empty_sightings, {"whole": False}),
    (counts.childless_items, {"whole": False}),
]
TABLES = {"inbound_item", "sighting", "ticket", "activity", "delivery", "outbox_fact"}


def explain(database: Database, act: Callable[[Session], object]) -> list[str]:
    """The steps of SQLite's plans for all that ``act`` reads."""
    steps: list[str] = []

    def note(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps.extend(row[3] for row in rows)

    with database.read() as session:
        event.listen(session.connection(), "before_cursor_execute", note)
        act(session)
    return steps


@pytest.mark.parametrize(("look", "arguments"), LOOKS, ids=[look.__name__ for look, _ in LOOKS])
def test_no_look_reads_a_whole_table(tmp_path: Path, look: Callable[..., InvariantCount], arguments: dict[str, Any]) -> None:
    database = make_tables(f"sqlite:///{tmp_path / 'casemill.db'}")
    steps = explain(database, lambda session: look(session, **arguments))
    database.close()
    assert any(step.startswith("SEARCH") or "ix_outbox_fact_open" in step for step in steps)
    scans = [step for step in steps if step.startswith("SCAN") and step.split()[1] in TABLES]
    # Open facts are few, and the index holds no others.
    assert [step for step in scans if "ix_outbox_fact_open" not in step] == []
