"""The invariants: each holds in a healthy installation, and is violated by exactly what it is there for."""

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
from core.findings import Finding, ok
from core.leases import Lease
from ingest.ledger.models import MailboxCursor, Sighting
from notify.models import Delivery
from ops.invariants import checks, counts
from ops.invariants.checks import check_count, check_invariants, check_leases, check_mailboxes, check_quarantine
from ops.invariants.counts import QuarantineCounts, RowCount
from outbox.models import OutboxFact
from tests.ingest.sources.support import make_tables
from tests.ingest.support import IngestHarness, arrival, make_mail, make_row, make_workbook, workbook_arrival

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def find_violated(harness: IngestHarness, *, all_rows: bool = False) -> dict[str, Finding]:
    """Return the violated invariants, without those that only say that casemill is not running."""
    with harness.database.read() as session:
        findings = check_invariants(session, harness.settings, harness.database.now(session), all_rows=all_rows)
    assert len({one.check for one in findings}) == len(findings)
    not_running = {checks.DEAD_LEASES, checks.SILENT_MAILBOXES}
    return {one.check: one for one in findings if not one.is_ok and one.check not in not_running}


def set_moment(harness: IngestHarness, table: str, column: str, ago: timedelta, condition: str = "1 = 1") -> None:
    moment: Any = clock.now() - ago
    if harness.database.is_sqlite:
        moment = moment.replace(tzinfo=None).isoformat(" ", "microseconds")
    harness.sql(f"UPDATE {table} SET {column} = :moment WHERE {condition}", moment=moment)


def add_delivery(harness: IngestHarness, key: str, ago: timedelta, **values: Any) -> None:
    due = clock.now() - ago
    row = {"key": key, "mailing": "ticket_created", "ticket_id": 1, "recipient": "a@x.example", "domain": "x.example"}
    rest = {"outside": True, "context": {}, "due_at": due, "created_at": due}
    with harness.database.write() as session:
        session.execute(insert(Delivery), [row | rest | values])


@pytest.fixture
def settled_room(harness: IngestHarness) -> IngestHarness:
    """An installation in which a mail and a workbook have become tickets, and all notices have an outcome."""
    harness.take(arrival(make_mail(1)))
    harness.take(workbook_arrival(make_workbook(make_row(1), make_row(2))))
    harness.drain()
    harness.sql("UPDATE outbox_fact SET done_at = created_at")
    harness.sql("UPDATE ticket SET stage = 4, creation_notice = 'sent'")
    return harness


@pytest.mark.parametrize("all_rows", [False, True])
def test_all_invariants_hold_in_a_healthy_installation(settled_room: IngestHarness, all_rows: bool) -> None:
    assert len(settled_room.tickets()) == 3
    assert find_violated(settled_room, all_rows=all_rows) == {}


def test_all_invariants_hold_in_an_empty_installation(harness: IngestHarness) -> None:
    assert find_violated(harness) == {}


def test_open_fact_is_old_after_a_minute_even_when_it_is_postponed(settled_room: IngestHarness) -> None:
    now = clock.now()
    row = {"kind": "ticket.created", "payload": {}, "created_at": now - 50 * MINUTE / 60, "due_at": now}
    with settled_room.database.write() as session:
        session.execute(insert(OutboxFact), [row])
    assert find_violated(settled_room) == {}
    set_moment(settled_room, "outbox_fact", "created_at", 2 * MINUTE, "done_at IS NULL")
    set_moment(settled_room, "outbox_fact", "due_at", -5 * MINUTE, "done_at IS NULL")
    found = find_violated(settled_room)
    assert found.keys() == {"old_facts"}
    assert found["old_facts"].count == 1
    assert found["old_facts"].oldest is not None and now - found["old_facts"].oldest > MINUTE


def test_due_items_are_stuck_after_a_minute_and_lost_when_their_claim_expires(settled_room: IngestHarness) -> None:
    settled_room.accept(arrival(make_mail(2), "2"), arrival(make_mail(3), "3"))
    assert find_violated(settled_room) == {}
    set_moment(settled_room, "inbound_item", "due_at", 2 * MINUTE, "state = 'waiting'")
    assert {code: one.count for code, one in find_violated(settled_room).items()} == {"stuck_items": 2}
    settled_room.sql("UPDATE inbound_item SET state = 'claimed', claim = 'x' WHERE state = 'waiting'")
    set_moment(settled_room, "inbound_item", "claim_until", timedelta(seconds=10), "state = 'claimed'")
    assert find_violated(settled_room) == {}
    set_moment(settled_room, "inbound_item", "claim_until", timedelta(seconds=31), "state = 'claimed'")
    assert {code: one.count for code, one in find_violated(settled_room).items()} == {"lost_items": 2}


def test_due_notices_are_stuck_and_retried_or_rate_limited_ones_are_not(settled_room: IngestHarness) -> None:
    add_delivery(settled_room, "backs off", -5 * MINUTE, state="pending", reason_code="put_off")
    add_delivery(settled_room, "rate limited", 5 * MINUTE, state="pending", reason_code="total_limit")
    add_delivery(settled_room, "just due", timedelta(seconds=30), state="pending")
    add_delivery(settled_room, "sent", 50 * MINUTE, state="sent", finished_at=clock.now())
    assert find_violated(settled_room) == {}
    add_delivery(settled_room, "tried again and due", 2 * MINUTE, state="pending", reason_code="put_off")
    add_delivery(settled_room, "rate limited for too long", 20 * MINUTE, state="pending", reason_code="domain_limit")
    assert {code: one.count for code, one in find_violated(settled_room).items()} == {"stuck_deliveries": 2}


def test_claimed_notices_are_lost_when_the_claim_expires_and_ambiguous_ones_after_a_minute(settled_room: IngestHarness) -> None:
    soon = clock.now() + MINUTE
    for key, state in (("a", "claimed"), ("b", "intent")):
        add_delivery(settled_room, key, 10 * MINUTE, state=state, claim="x", claim_until=soon)
    add_delivery(settled_room, "c", -MINUTE / 2, state="ambiguous", ambiguities=1)
    add_delivery(settled_room, "d", 10 * MINUTE, state="ambiguous", ambiguities=2, finished_at=clock.now())
    assert find_violated(settled_room) == {}
    set_moment(settled_room, "delivery", "claim_until", MINUTE, "claim IS NOT NULL")
    set_moment(settled_room, "delivery", "due_at", 2 * MINUTE, "state = 'ambiguous'")
    assert {code: one.count for code, one in find_violated(settled_room).items()} == {
        "lost_deliveries": 2,
        "ambiguous_deliveries": 1,
    }


def test_ticket_in_the_first_stage_for_five_minutes_is_a_violation(settled_room: IngestHarness) -> None:
    settled_room.sql("UPDATE ticket SET stage = 1 WHERE id <= 2")
    set_moment(settled_room, "ticket", "created_at", 4 * MINUTE)
    assert find_violated(settled_room) == {}
    set_moment(settled_room, "ticket", "created_at", 6 * MINUTE)
    assert {code: one.count for code, one in find_violated(settled_room).items()} == {"submitted_tickets": 2}


def test_ticket_without_activity_is_a_violation(settled_room: IngestHarness) -> None:
    settled_room.sql("DELETE FROM attachment WHERE ticket_id = 2")
    settled_room.sql("DELETE FROM activity WHERE ticket_id = 2")
    assert {code: one.count for code, one in find_violated(settled_room).items()} == {"silent_tickets": 1}


def test_old_loss_is_found_only_when_all_rows_are_read(settled_room: IngestHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "RECENT_ROWS", 1)
    settled_room.sql("DELETE FROM activity WHERE ticket_id = 1")
    assert find_violated(settled_room) == {}
    assert find_violated(settled_room, all_rows=True).keys() == {"silent_tickets"}


def test_items_without_sighting_and_workbooks_without_rows_are_violations(settled_room: IngestHarness) -> None:
    workbook = settled_room.items(kind="workbook")[0]
    settled_room.sql("DELETE FROM sighting WHERE source = :source", source=f"workbook:{workbook.id}")
    found = find_violated(settled_room)
    assert {code: one.count for code, one in found.items()} == {"unsighted_items": 2, "childless_workbooks": 1}
    assert "reconcile" in found["childless_workbooks"].hint


def test_workbook_that_had_no_rows_is_no_violation(settled_room: IngestHarness) -> None:
    item = settled_room.take(workbook_arrival(make_workbook(), "empty.xlsx"))[0]
    assert item.disposition == "expanded"
    assert find_violated(settled_room) == {}


def test_sighting_without_item_is_a_violation(settled_room: IngestHarness) -> None:
    # A foreign key forbids this; a damaged file or a bad restore can still contain it.
    sqlite = settled_room.database.is_sqlite
    without_foreign_keys = "PRAGMA defer_foreign_keys = ON" if sqlite else "SET LOCAL session_replication_role = replica"
    row = {"source": "mailbox:support", "place": "gone", "item_id": 9_999, "seen_at": clock.now(), "first": True}
    with Session(settled_room.database.engine) as session:
        session.execute(text(without_foreign_keys))
        session.execute(insert(Sighting), [row])
        found = {one.check: one.count for one in check_invariants(session, settled_room.settings, clock.now())}
        session.rollback()
    assert found["empty_sightings"] == 1


def test_count_stops_at_its_maximum_and_says_so() -> None:
    finding = check_count("stuck_items", RowCount(counts.MAX_COUNT, NOW), "items wait", "hint")
    assert finding.text == "10,000 or more items wait"
    assert check_count("stuck_items", RowCount(), "items wait", "hint") == ok("stuck_items", "no items wait")


def cursor(*, ago: timedelta | None = None, errors: int = 0, error: str | None = None) -> MailboxCursor:
    return MailboxCursor(mailbox="a", checked_at=None if ago is None else NOW - ago, errors=errors, error=error)


@pytest.mark.parametrize(
    ("row", "poll_seconds", "text"),
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
def test_mailbox_that_is_not_read_is_a_violation(row: MailboxCursor | None, poll_seconds: int, text: str) -> None:
    rows = {} if row is None else {"a": row}
    finding = check_mailboxes(["a"], {"a": timedelta(seconds=poll_seconds)}, rows, NOW)
    assert finding.count == bool(text)
    assert not text or finding.text == f"mailbox a {text}"


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
def test_required_lease_without_heartbeat_is_a_violation(leases: list[Lease], dead: list[str]) -> None:
    finding = check_leases(["a"], {row.name: row for row in leases}, NOW)
    assert finding.count == len(dead)
    assert not dead or finding.text == f"no heartbeat from: {', '.join(dead)}"


def test_optional_lease_is_a_violation_when_its_holder_died_without_release() -> None:
    alive = {"clock": lease("clock", SECOND, -9 * SECOND)}
    assert check_leases([], alive | {"folder:in": lease("folder:in", 60 * MINUTE, None)}, NOW).is_ok
    finding = check_leases([], alive | {"folder:in": lease("folder:in", MINUTE, 45 * SECOND)}, NOW)
    assert (finding.count, finding.text) == (1, "no heartbeat from: folder:in")


@pytest.mark.parametrize(("today", "yesterday", "count"), [(0, 0, 0), (0, 5, 0), (5, 5, 0), (1, 0, 1), (6, 5, 6)])
def test_quarantine_grows_when_a_day_brings_more_than_the_day_before(today: int, yesterday: int, count: int) -> None:
    finding = check_quarantine(QuarantineCounts(today, yesterday, 40, NOW))
    assert finding.count == count
    assert "40 in all" in finding.text


def test_quarantine_is_counted_by_the_time_of_the_outcome(settled_room: IngestHarness) -> None:
    settled_room.sql("UPDATE inbound_item SET disposition = 'quarantined' WHERE kind = 'mail'")
    found = find_violated(settled_room)["growing_quarantine"]
    assert (found.count, found.text) == (1, "1 items were quarantined in the last 24 hours, 0 in the 24 hours before; 1 in all")
    set_moment(settled_room, "inbound_item", "settled_at", timedelta(hours=25))
    assert find_violated(settled_room) == {}


QUERIES: list[tuple[Callable[..., RowCount], dict[str, Any]]] = [
    (counts.count_old_facts, {"created_before": NOW}),
    (counts.count_waiting_items, {"due_before": NOW}),
    (counts.count_expired_claims, {"until_before": NOW}),
    (counts.count_due_deliveries, {"due_before": NOW, "delayed_before": NOW}),
    (counts.count_ambiguous_deliveries, {"due_before": NOW}),
    (counts.count_expired_delivery_claims, {"until_before": NOW}),
    (counts.count_submitted_tickets, {"created_before": NOW}),
    (counts.count_tickets_without_activity, {"all_rows": False}),
    (counts.count_unsighted_items, {"all_rows": False}),
    (counts.count_empty_sightings, {"all_rows": False}),
    (counts.count_workbooks_without_rows, {"all_rows": False}),
]
TABLES = {"inbound_item", "sighting", "ticket", "activity", "delivery", "outbox_fact"}


def explain(database: Database, act: Callable[[Session], object]) -> list[str]:
    """Return the steps of SQLite's query plans for everything that ``act`` reads."""
    steps: list[str] = []

    def explain_statement(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        rows = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps.extend(row[3] for row in rows)

    with database.read() as session:
        event.listen(session.connection(), "before_cursor_execute", explain_statement)
        act(session)
    return steps


@pytest.mark.parametrize(("query", "arguments"), QUERIES, ids=[query.__name__ for query, _ in QUERIES])
def test_no_query_reads_a_whole_table(tmp_path: Path, query: Callable[..., RowCount], arguments: dict[str, Any]) -> None:
    database = make_tables(f"sqlite:///{tmp_path / 'casemill.db'}")
    steps = explain(database, lambda session: query(session, **arguments))
    database.close()
    assert any(step.startswith("SEARCH") or "ix_outbox_fact_open" in step for step in steps)
    scans = [step for step in steps if step.startswith("SCAN") and step.split()[1] in TABLES]
    # The index holds only open facts, which are few.
    assert [step for step in scans if "ix_outbox_fact_open" not in step] == []
