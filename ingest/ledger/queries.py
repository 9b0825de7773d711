"""Inbound items as programs read them: what arrived, what became of it, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from ingest.ledger.models import InboundItem, Sighting
from tickets.numbers import number


def list_items(
    session: Session,
    *,
    state: str | None = None,
    disposition: str | None = None,
    source: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Items in the order in which they were accepted, the last first; ``before`` is the id from which a list goes on."""
    statement = select(InboundItem)
    for column, wanted in (
        (InboundItem.state, state), (InboundItem.disposition, disposition), (InboundItem.source, source),
    ):  # fmt: skip
        if wanted is not None:
            statement = statement.where(column == wanted)
    if before is not None:
        statement = statement.where(InboundItem.id < before)
    return [row(item) for item in session.execute(statement.order_by(InboundItem.id.desc()).limit(limit)).scalars()]


def show_item(session: Session, item_id: int) -> dict[str, Any]:
    """One item with where it was seen. Raises :class:`NotFoundError`."""
    item = session.get(InboundItem, item_id)
    if item is None:
        raise NotFoundError(f"there is no item {item_id}", hint="see `casemill quarantine list`")
    seen = session.execute(select(Sighting).where(Sighting.item_id == item_id).order_by(Sighting.id)).scalars()
    return {
        **row(item),
        "sha256": item.sha256,
        "seen": [{"source": one.source, "place": one.place, "at": one.seen_at.isoformat()} for one in seen],
    }


def row(item: InboundItem) -> dict[str, Any]:
    """An item as it is listed."""
    return {
        "id": item.id,
        "kind": item.kind,
        "source": item.source,
        "received_at": item.received_at.isoformat(timespec="seconds"),
        "size": item.size,
        "state": item.state,
        "disposition": item.disposition,
        "reason_code": item.reason_code,
        "reason": item.reason,
        "attempts": item.attempts,
        "losses": item.losses,
        "ticket": number(item.ticket_id) if item.ticket_id else None,
        "parent": item.parent_id,
        "settled_at": _moment(item.settled_at),
    }


def _moment(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None
