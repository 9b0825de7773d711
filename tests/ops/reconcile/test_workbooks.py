"""Comparison of expanded workbooks with the ledger."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from core import clock
from core.errors import RefusedError
from ingest.ledger.models import InboundItem
from ops.reconcile.result import SourceComparison
from ops.reconcile.workbooks import WorkbookComparison
from tests.ingest.support import IngestHarness, make_row, make_workbook, workbook_arrival


def make_comparison(harness: IngestHarness, *, repair: bool = False) -> WorkbookComparison:
    return WorkbookComparison(harness.settings, harness.database, harness.pool, repair=repair)


def reconcile(harness: IngestHarness, *, repair: bool = False) -> SourceComparison:
    return make_comparison(harness, repair=repair).run_all(None, lambda _done, _all: None)


@pytest.fixture
def workbook(harness: IngestHarness) -> InboundItem:
    """A workbook of three rows and a repetition of the first; a second file repeats two of them."""
    first = make_workbook(make_row(1), make_row(2), make_row(3), make_row(1))
    item = harness.take(workbook_arrival(first, "first.xlsx"))[0]
    harness.take(workbook_arrival(make_workbook(make_row(2), make_row(3)), "second.xlsx"))
    return item


def test_every_row_of_every_workbook_is_in_the_ledger(harness: IngestHarness, workbook: InboundItem) -> None:
    comparison = reconcile(harness)
    assert (comparison.server, comparison.ledger, comparison.gaps, comparison.has_problem) == (6, 6, [], False)
    assert comparison.notes == ["2 workbooks read again"]


def test_row_without_sighting_is_a_gap_and_its_workbook_is_expanded_again(harness: IngestHarness, workbook: InboundItem) -> None:
    row = harness.items(kind="row")[1]
    harness.sql("DELETE FROM activity WHERE ticket_id = :ticket", ticket=row.ticket_id)
    harness.sql("DELETE FROM sighting WHERE item_id = :item", item=row.id)
    harness.sql("DELETE FROM ticket_contact WHERE ticket_id = :ticket", ticket=row.ticket_id)
    harness.sql("DELETE FROM inbound_item WHERE id = :item", item=row.id)
    comparison = reconcile(harness)
    assert [gap.code for gap in comparison.gaps] == ["unknown_row", "unknown_row"]
    assert f"item {workbook.id}: Messages!3" in [gap.place for gap in comparison.gaps]
    repaired = reconcile(harness, repair=True)
    assert (repaired.open_gaps, repaired.has_problem) == (0, False)
    harness.drain()
    again = reconcile(harness)
    assert (again.server, again.ledger, again.gaps) == (6, 6, [])
    assert sorted(item.disposition or "" for item in harness.items(kind="row")) == ["ticket"] * 3
    assert {item.disposition for item in harness.items(kind="workbook")} == {"expanded"}


def test_one_workbook_is_compared_by_its_item_number(harness: IngestHarness, workbook: InboundItem) -> None:
    comparison = make_comparison(harness).run_one(workbook.id)
    assert (comparison.source, comparison.server, comparison.ledger) == (f"workbook:{workbook.id}", 4, 4)
    with pytest.raises(RefusedError) as refused:
        make_comparison(harness).run_one(harness.items(kind="row")[0].id)
    assert refused.value.code == "unknown_source"


def test_workbooks_older_than_since_are_left_out(harness: IngestHarness, workbook: InboundItem) -> None:
    calls: list[tuple[int, int]] = []
    comparison = make_comparison(harness).run_all(clock.now() + timedelta(hours=1), lambda done, of: calls.append((done, of)))
    assert (comparison.server, calls) == (0, [])
    make_comparison(harness).run_all(workbook.received_at, lambda done, of: calls.append((done, of)))
    assert calls == [(1, 2), (2, 2)]


def test_workbook_that_can_no_longer_be_read_is_a_gap(harness: IngestHarness, workbook: InboundItem) -> None:
    harness.sql("UPDATE blob SET content = :content WHERE sha256 = :sha256", content=b"no workbook", sha256=workbook.sha256)
    comparison = make_comparison(harness).run_one(workbook.id)
    assert [(gap.place, gap.code) for gap in comparison.gaps] == [(f"item {workbook.id}", "unreadable_workbook")]
    assert comparison.has_problem


def test_row_in_the_ledger_that_the_file_lacks_is_a_note(harness: IngestHarness, workbook: InboundItem) -> None:
    moved = "UPDATE sighting SET place = 'Messages!99' WHERE source = :source AND place = 'Messages!3'"
    harness.sql(moved, source=f"workbook:{workbook.id}")
    comparison = make_comparison(harness).run_one(workbook.id)
    assert [gap.code for gap in comparison.gaps] == ["unknown_row"]
    assert comparison.notes == [f"item {workbook.id}: 1 rows in the ledger are missing when the workbook is read again"]


def test_workbook_without_rows_has_no_gap(make_harness: Callable[..., IngestHarness]) -> None:
    harness = make_harness()
    harness.take(workbook_arrival(make_workbook(), "empty.xlsx"))
    comparison = reconcile(harness)
    assert (comparison.server, comparison.ledger, comparison.has_problem) == (0, 0, False)
