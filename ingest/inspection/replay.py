"""Replay: what the rules in force say of items that were settled earlier. Reads only; for looking before rules are changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import blobs
from core.database.session import Database
from ingest.inspection.explain import Explainer
from ingest.ledger.models import InboundItem
from tickets.numbers import number

CHUNK_ITEMS, CHUNK_BYTES = 64, 16 * 1024 * 1024
#: Decided when an item is stored, by what was there before; the rules see a ticket.
AS_TICKET = frozenset({"appended"})
#: Decided by the first of the same content, or by people: the rules have no say.
NOT_BY_RULES = frozenset({"same_content", "discarded"})


@dataclass(frozen=True, slots=True)
class Difference:
    """An item of which the rules in force say something else than what became of it."""

    item: int
    received_at: datetime
    source: str
    kind: str
    ticket: str | None
    was: str
    was_because: str
    would_be: str
    because: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "item": self.item,
            "received_at": self.received_at.isoformat(timespec="seconds"),
            "source": self.source,
            "kind": self.kind,
            "ticket": self.ticket,
            "was": self.was,
            "was_because": self.was_because,
            "would_be": self.would_be,
            "because": self.because,
        }


@dataclass(slots=True)
class ReplayCounts:
    """How many items were looked at, and how many could not be because their originals are gone."""

    looked_at: int = 0
    gone: int = 0


def replay(database: Database, explainer: Explainer, since: datetime, tally: ReplayCounts) -> Iterator[Difference]:
    """The differences among items received at or after ``since``, the oldest first; a few dozen are in memory at a time."""
    statement = select(InboundItem.id).where(InboundItem.received_at >= since, InboundItem.state == "settled")
    with database.read() as session:
        ids = list(session.execute(statement.order_by(InboundItem.received_at, InboundItem.id)).scalars())
    for start in range(0, len(ids), CHUNK_ITEMS):
        with database.read() as session:
            chunk = _load(session, ids[start : start + CHUNK_ITEMS])
            content = blobs.get_all(session, {item.sha256 for item in chunk})
        here = [item for item in chunk if item.sha256 in content]
        tally.looked_at += len(here)
        tally.gone += len(chunk) - len(here)
        for batch in _by_size(here):
            yield from _compare(explainer, batch, content)


def _load(session: Session, ids: Sequence[int]) -> list[InboundItem]:
    statement = select(InboundItem).where(InboundItem.id.in_(ids)).order_by(InboundItem.received_at, InboundItem.id)
    return [row for row in session.execute(statement).scalars() if row.reason_code not in NOT_BY_RULES]


def _by_size(items: Sequence[InboundItem]) -> Iterator[list[InboundItem]]:
    batch: list[InboundItem] = []
    for item in items:
        if batch and sum(one.size for one in batch) + item.size > CHUNK_BYTES:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _compare(explainer: Explainer, items: Sequence[InboundItem], content: dict[str, bytes]) -> Iterator[Difference]:
    raws = [content[item.sha256] for item in items]
    for item, plan in zip(items, explainer.decide_all([explainer.claimed(item) for item in items], raws), strict=True):
        was = "ticket" if item.disposition in AS_TICKET else str(item.disposition)
        if plan.disposition == was and (was != "quarantined" or plan.reason.code == item.reason_code):
            continue
        yield Difference(
            item.id, item.received_at, item.source, item.kind, number(item.ticket_id) if item.ticket_id else None,
            str(item.disposition), item.reason or "", plan.disposition, plan.reason.text,
        )  # fmt: skip
