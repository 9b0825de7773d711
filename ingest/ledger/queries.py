"""Inbound items as plain dicts, for the API and the command line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import NotFoundError
from ingest.ledger.models import InboundItem, Sighting
from tickets.numbers import format_number


def list_items(
    session: Session,
    *,
    state: str | None = None,
    disposition: str | None = None,
    source: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Return up to ``limit`` items, the newest id first, filtered by the given columns.

    ``before`` continues a list: only items with a smaller id are returned.
    """
    statement = select(InboundItem)
    for column, value in (
        (InboundItem.state, state), (InboundItem.disposition, disposition), (InboundItem.source, source),
    ):  # fmt: skip
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(InboundItem.id < before)
    return [item_dict(item) for item in session.execute(statement.order_by(InboundItem.id.desc()).limit(limit)).scalars()]


def show_item(session: Session, item_id: int) -> dict[str, Any]:
    """Return one item with its sightings. Raises :class:`NotFoundError` when there is none with this id."""
    item = session.get(InboundItem, item_id)
    if item is None:
        raise NotFoundError(f"there is no item {item_id}", hint="see `casemill quarantine list`")
    sightings = session.execute(select(Sighting).where(Sighting.item_id == item_id).order_by(Sighting.id)).scalars()
    return {
        **item_dict(item),
        "sha256": item.sha256,
        "seen": [{"source": one.source, "place": one.place, "at": one.seen_at.isoformat()} for one in sightings],
    }


def item_dict(item: InboundItem) -> dict[str, Any]:
    """Return an item with its keys of the API."""
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
        "ticket": format_number(item.ticket_id) if item.ticket_id else None,
        "parent": item.parent_id,
        "settled_at": _iso_seconds(item.settled_at),
    }


def _iso_seconds(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None
