"""What became of the files of an upload: the outcome of each item, of the rows of workbooks, and of what was refused."""

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
from ingest.sources.upload import Uploaded
from ingest.workbooks.expand import row_outcomes
from tickets.numbers import number

#: Ids of one statement's IN list.
CHUNK = 500
RECEIPT_ENDING = ".receipt.xlsx"


@dataclass(frozen=True, slots=True)
class UploadOutcome:
    """One outcome: where in which file, what became of it and why, and the number of its ticket."""

    place: str
    disposition: str
    reason: str
    ticket: str | None = None

    @property
    def is_wrong(self) -> bool:
        return self.disposition in ("quarantined", "rejected", "failed")

    def as_dict(self) -> dict[str, Any]:
        return {"path": self.place, "disposition": self.disposition, "ticket": self.ticket, "reason": self.reason}


def count_unsettled(session: Session, item_ids: AbstractSet[int]) -> int:
    """How many of the items, of workbooks that came inside them and of rows have no final outcome yet."""
    rows: list[tuple[int, int | None]] = []
    for state in ("waiting", "claimed"):  # one at a time: each has its partial index
        found = session.execute(select(InboundItem.id, InboundItem.parent_id).where(InboundItem.state == state))
        rows += [(item_id, parent) for item_id, parent in found]
    strangers = sorted({parent for _, parent in rows if parent is not None} - item_ids)
    ours = {None: False} | dict.fromkeys(item_ids, True)
    ours |= {one.id: one.parent_id in item_ids for one in _load(session, strangers)}
    return sum(item_id in item_ids or ours.get(parent, False) for item_id, parent in rows)


def read_outcomes(session: Session, uploaded: Sequence[Uploaded]) -> list[UploadOutcome]:
    """The outcomes in the order of the upload; what had been there before is a duplicate of its ticket."""
    items = {item.id: item for item in _load(session, [one.item_id for one in uploaded if one.item_id is not None])}
    fates: list[UploadOutcome] = []
    for one in uploaded:
        place = os.fsencode(one.path).decode("utf-8", "backslashreplace")
        if one.refusal is not None:
            fates.append(UploadOutcome(place, "rejected", one.refusal.text))
        elif one.item_id is not None:
            fates += _fates_of(session, place, items[one.item_id], one.known)
    return fates


def workbook_items(session: Session, uploaded: Sequence[Uploaded]) -> list[tuple[Uploaded, int]]:
    """The workbooks among the files that were expanded: (file, item)."""
    by_id = {one.item_id: one for one in uploaded if one.item_id is not None}
    items = _load(session, list(by_id))
    return [(by_id[item.id], item.id) for item in items if item.kind == "workbook" and item.disposition == "expanded"]


def receipt_path(workbook: Path) -> Path:
    """A free name beside the workbook."""
    for count in itertools.count(1):
        ending = RECEIPT_ENDING if count == 1 else RECEIPT_ENDING.replace(".xlsx", f"-{count}.xlsx")
        path = workbook.with_name(workbook.stem + ending)
        if not os.path.lexists(path):
            return path
    raise AssertionError("unreachable")


def _fates_of(session: Session, place: str, item: Any, known: bool) -> Iterator[UploadOutcome]:
    if item.kind == "workbook" and item.disposition == "expanded":
        outcomes = row_outcomes(session, item.id, repeated=known)
        for row in sorted(outcomes, key=_row_order):
            outcome = outcomes[row]
            yield UploadOutcome(f"{place}: {row}", outcome.disposition, outcome.reason or "", outcome.ticket or None)
        if outcomes:
            return
    yield _fate(place, item, known)
    if item.disposition == "expanded" and not known:
        for child in _load_children(session, item.id):
            yield from _fates_of(session, f"{place}: item {child.id}", child, known)


def _row_order(place: str) -> tuple[str, int]:
    sheet, _, number = place.rpartition("!")
    return sheet, int(number)


def _fate(place: str, item: Any, known: bool) -> UploadOutcome:
    ticket = number(item.ticket_id) if item.ticket_id else None
    if item.state != "settled" or item.disposition is None:
        return UploadOutcome(place, "failed", item.reason or "It is still to be worked on", ticket)
    if known and item.disposition not in ("quarantined", "rejected"):
        return UploadOutcome(place, "duplicate", f"It was there before, as item {item.id}", ticket)
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
    found: list[Any] = []
    for start in range(0, len(item_ids), CHUNK):
        statement = select(*_COLUMNS).where(InboundItem.id.in_(item_ids[start : start + CHUNK]))
        found += session.execute(statement.order_by(InboundItem.id)).all()
    return found


def _load_children(session: Session, parent: int) -> list[Any]:
    statement = select(*_COLUMNS).where(InboundItem.parent_id == parent).order_by(InboundItem.id)
    return list(session.execute(statement).all())
