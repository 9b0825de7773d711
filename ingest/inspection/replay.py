"""Replay: find the settled items for which the current rules would decide otherwise. Reads only."""

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
from tickets.numbers import format_number

#: Originals that are in memory at a time.
REPLAY_CHUNK_ITEMS, REPLAY_CHUNK_BYTES = 64, 16 * 1024 * 1024
#: Dispositions decided when an item is stored, by the tickets that existed then; for the rules they are tickets.
COUNTED_AS_TICKET = frozenset({"appended"})
#: Reason codes of outcomes that the rules do not decide: duplicates, and items discarded by a person.
NOT_DECIDED_BY_RULES = frozenset({"same_content", "discarded"})


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """An item whose outcome by the current rules differs from its recorded one."""

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
        """Return the keys of the JSON output."""
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
    """How many items were checked, and how many could not be because their originals are no longer stored."""

    checked: int = 0
    missing: int = 0


def replay(database: Database, explainer: Explainer, since: datetime, counts: ReplayCounts) -> Iterator[ReplayDifference]:
    """Yield the differences among items received at or after ``since``, the oldest first, and add to ``counts``."""
    statement = select(InboundItem.id).where(InboundItem.received_at >= since, InboundItem.state == "settled")
    with database.read() as session:
        ids = list(session.execute(statement.order_by(InboundItem.received_at, InboundItem.id)).scalars())
    for start in range(0, len(ids), REPLAY_CHUNK_ITEMS):
        with database.read() as session:
            chunk = _load(session, ids[start : start + REPLAY_CHUNK_ITEMS])
            content = blobs.get_all(session, {item.sha256 for item in chunk})
        stored = [item for item in chunk if item.sha256 in content]
        counts.checked += len(stored)
        counts.missing += len(chunk) - len(stored)
        for batch in _split_by_size(stored):
            yield from _compare(explainer, batch, content)


def _load(session: Session, ids: Sequence[int]) -> list[InboundItem]:
    statement = select(InboundItem).where(InboundItem.id.in_(ids)).order_by(InboundItem.received_at, InboundItem.id)
    return [row for row in session.execute(statement).scalars() if row.reason_code not in NOT_DECIDED_BY_RULES]


def _split_by_size(items: Sequence[InboundItem]) -> Iterator[list[InboundItem]]:
    batch: list[InboundItem] = []
    for item in items:
        if batch and sum(one.size for one in batch) + item.size > REPLAY_CHUNK_BYTES:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _compare(explainer: Explainer, items: Sequence[InboundItem], content: dict[str, bytes]) -> Iterator[ReplayDifference]:
    raws = [content[item.sha256] for item in items]
    for item, plan in zip(items, explainer.plan_all([explainer.as_claimed(item) for item in items], raws), strict=True):
        was = "ticket" if item.disposition in COUNTED_AS_TICKET else str(item.disposition)
        if plan.disposition == was and (was != "quarantined" or plan.reason.code == item.reason_code):
            continue
        yield ReplayDifference(
            item.id, item.received_at, item.source, item.kind, format_number(item.ticket_id) if item.ticket_id else None,
            str(item.disposition), item.reason or "", plan.disposition, plan.reason.text,
        )  # fmt: skip
