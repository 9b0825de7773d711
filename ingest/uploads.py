"""Outcomes of an upload: of each item, of the rows of workbooks, and of refused files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ingest.ledger.models import InboundItem
from ingest.sources.upload import UploadResult
from ingest.workbooks.expand import row_outcomes
from tickets.numbers import format_number

#: Ids of one statement's IN list.
QUERY_CHUNK_IDS = 500
RECEIPT_SUFFIX = ".receipt.xlsx"


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """The outcome of one item, row or refused file: its place, disposition, reason and ticket number."""

    place: str
    disposition: str
    reason: str
    ticket: str | None = None

    @property
    def is_failure(self) -> bool:
        """Whether it needs a person: quarantined, rejected or still failing."""
        return self.disposition in ("quarantined", "rejected", "failed")

    def as_dict(self) -> dict[str, Any]:
        """Return the keys of the JSON output."""
        return {"path": self.place, "disposition": self.disposition, "ticket": self.ticket, "reason": self.reason}


def count_unsettled(session: Session, item_ids: AbstractSet[int]) -> int:
    """Return how many of the items, of the workbooks attached to them and of their rows are not settled yet."""
    rows: list[tuple[int, int | None]] = []
    # One query a state: each state has its own partial index.
    for state in ("waiting", "claimed"):
        found = session.execute(select(InboundItem.id, InboundItem.parent_id).where(InboundItem.state == state))
        rows += [(item_id, parent) for item_id, parent in found]
    other_parents = sorted({parent for _, parent in rows if parent is not None} - item_ids)
    belongs = {None: False} | dict.fromkeys(item_ids, True)
    belongs |= {one.id: one.parent_id in item_ids for one in _load(session, other_parents)}
    return sum(item_id in item_ids or belongs.get(parent, False) for item_id, parent in rows)


def read_outcomes(session: Session, uploaded: Sequence[UploadResult]) -> list[UploadOutcome]:
    """Return the outcomes in the order of the upload; a file the ledger had before is a duplicate of its ticket."""
    items = {item.id: item for item in _load(session, [one.item_id for one in uploaded if one.item_id is not None])}
    outcomes: list[UploadOutcome] = []
    for one in uploaded:
        place = os.fsencode(one.path).decode("utf-8", "backslashreplace")
        if one.refusal is not None:
            outcomes.append(UploadOutcome(place, "rejected", one.refusal.text))
        elif one.item_id is not None:
            outcomes += _item_outcomes(session, place, items[one.item_id], one.is_known)
    return outcomes


def find_expanded_workbooks(session: Session, uploaded: Sequence[UploadResult]) -> list[tuple[UploadResult, int]]:
    """Return the expanded workbooks among the uploaded files, as (file, item id)."""
    by_id = {one.item_id: one for one in uploaded if one.item_id is not None}
    items = _load(session, list(by_id))
    return [(by_id[item.id], item.id) for item in items if item.kind == "workbook" and item.disposition == "expanded"]


def choose_receipt_path(workbook: Path) -> Path:
    """Return a path for the receipt beside the workbook that no file has yet."""
    for count in itertools.count(1):
        ending = RECEIPT_SUFFIX if count == 1 else RECEIPT_SUFFIX.replace(".xlsx", f"-{count}.xlsx")
        path = workbook.with_name(workbook.stem + ending)
        if not os.path.lexists(path):
            return path
    raise AssertionError("unreachable")


def _item_outcomes(session: Session, place: str, item: Any, known: bool) -> Iterator[UploadOutcome]:
    if item.kind == "workbook" and item.disposition == "expanded":
        outcomes = row_outcomes(session, item.id, repeated=known)
        for row in sorted(outcomes, key=_sheet_and_number):
            outcome = outcomes[row]
            yield UploadOutcome(f"{place}: {row}", outcome.disposition, outcome.reason or "", outcome.ticket or None)
        if outcomes:
            return
    yield _outcome_of(place, item, known)
    if item.disposition == "expanded" and not known:
        for attached in _load_attached(session, item.id):
            yield from _item_outcomes(session, f"{place}: item {attached.id}", attached, known)


def _sheet_and_number(place: str) -> tuple[str, int]:
    sheet, _, number = place.rpartition("!")
    return sheet, int(number)


def _outcome_of(place: str, item: Any, known: bool) -> UploadOutcome:
    ticket = format_number(item.ticket_id) if item.ticket_id else None
    if item.state != "settled" or item.disposition is None:
        return UploadOutcome(place, "failed", item.reason or "It is not processed yet", ticket)
    if known and item.disposition not in ("quarantined", "rejected"):
        return UploadOutcome(place, "duplicate", f"It arrived before, as item {item.id}", ticket)
    return UploadOutcome(place, item.disposition, item.reason or "", ticket)


_COLUMNS = (
    InboundItem.id,
    InboundItem.parent_id,
    InboundItem.kind,
    InboundItem.state,
    InboundItem.disposition,
    InboundItem.reason,
    InboundItem.ticket_id,
)


def _load(session: Session, item_ids: Sequence[int]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(item_ids), QUERY_CHUNK_IDS):
        statement = select(*_COLUMNS).where(InboundItem.id.in_(item_ids[start : start + QUERY_CHUNK_IDS]))
        rows += session.execute(statement.order_by(InboundItem.id)).all()
    return rows


def _load_attached(session: Session, parent: int) -> list[Any]:
    statement = select(*_COLUMNS).where(InboundItem.parent_id == parent).order_by(InboundItem.id)
    return list(session.execute(statement).all())
