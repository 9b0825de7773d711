"""Expanded workbooks held against the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from core import clock
from core.errors import RefusedError
from ingest.ledger.models import InboundItem
from ops.reconcile.result import SourceComparison
from ops.reconcile.workbooks import WorkbookCheck
from tests.ingest.support import Room, make_row, make_workbook, workbook_arrival


def check(room: Room, *, repair: bool = False) -> WorkbookCheck:
    return WorkbookCheck(room.settings, room.database, room.pool, repair=repair)


def reconcile(room: Room, *, repair: bool = False) -> SourceComparison:
    return check(room, repair=repair).run_all(None, lambda _done, _all: None)


@pytest.fixture
def workbook(room: Room) -> InboundItem:
    """A workbook of three rows and one that repeats the first; and a second file that repeats two of them."""
    first = make_workbook(make_row(1), make_row(2), make_row(3), make_row(1))
    item = room.take(workbook_arrival(first, "first.xlsx"))[0]
    room.take(workbook_arrival(make_workbook(make_row(2), make_row(3)), "second.xlsx"))
    return item


def test_every_row_of_every_workbook_is_in_the_ledger(room: Room, workbook: InboundItem) -> None:
    balance = reconcile(room)
    assert (balance.server, balance.ledger, balance.gaps, balance.is_wrong) == (6, 6, [], False)
    assert balance.notes == ["2 workbooks read again"]


def test_a_row_without_a_sighting_is_a_gap_and_its_workbook_is_expanded_again(room: Room, workbook: InboundItem) -> None:
    row = room.items(kind="row")[1]
    room.sql("DELETE FROM activity WHERE ticket_id = :ticket", ticket=row.ticket_id)
    room.sql("DELETE FROM sighting WHERE item_id = :item", item=row.id)
    room.sql("DELETE FROM ticket_contact WHERE ticket_id = :ticket", ticket=row.ticket_id)
    room.sql("DELETE FROM inbound_item WHERE id = :item", item=row.id)
    balance = reconcile(room)
    assert [gap.code for gap in balance.gaps] == ["unknown_row", "unknown_row"]
    assert f"item {workbook.id}: Messages!3" in [gap.place for gap in balance.gaps]
    repaired = reconcile(room, repair=True)
    assert (repaired.open_gaps, repaired.is_wrong) == (0, False)
    room.drain()
    again = reconcile(room)
    assert (again.server, again.ledger, again.gaps) == (6, 6, [])
    assert sorted(item.disposition or "" for item in room.items(kind="row")) == ["ticket"] * 3
    assert {item.disposition for item in room.items(kind="workbook")} == {"expanded"}


def test_one_workbook_is_read_by_its_number(room: Room, workbook: InboundItem) -> None:
    balance = check(room).run_one(workbook.id)
    assert (balance.source, balance.server, balance.ledger) == (f"workbook:{workbook.id}", 4, 4)
    with pytest.raises(RefusedError) as refused:
        check(room).run_one(room.items(kind="row")[0].id)
    assert refused.value.code == "unknown_source"


def test_old_workbooks_are_read_only_when_they_are_asked_for(room: Room, workbook: InboundItem) -> None:
    told: list[tuple[int, int]] = []
    balance = check(room).run_all(clock.now() + timedelta(hours=1), lambda done, of: told.append((done, of)))
    assert (balance.server, told) == (0, [])
    check(room).run_all(workbook.received_at, lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]


def test_a_workbook_that_cannot_be_read_any_more_is_said(room: Room, workbook: InboundItem) -> None:
    room.sql("UPDATE blob SET content = :content WHERE sha256 = :sha256", content=b"no workbook", sha256=workbook.sha256)
    balance = check(room).run_one(workbook.id)
    assert [(gap.place, gap.code) for gap in balance.gaps] == [(f"item {workbook.id}", "unreadable_workbook")]
    assert balance.is_wrong


def test_a_row_of_the_ledger_that_is_not_in_the_file_is_told(room: Room, workbook: InboundItem) -> None:
    moved = "UPDATE sighting SET place = 'Messages!99' WHERE source = :source AND place = 'Messages!3'"
    room.sql(moved, source=f"workbook:{workbook.id}")
    balance = check(room).run_one(workbook.id)
    assert [gap.code for gap in balance.gaps] == ["unknown_row"]
    assert balance.notes == [f"item {workbook.id}: 1 rows of the ledger are not found when it is read again"]


def test_a_workbook_without_rows_has_none_to_find(make_room: Callable[..., Room]) -> None:
    room = make_room()
    room.take(workbook_arrival(make_workbook(), "empty.xlsx"))
    balance = reconcile(room)
    assert (balance.server, balance.ledger, balance.is_wrong) == (0, 0, False)
