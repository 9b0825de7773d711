"""Quarantine: list, show, retry and discard the items that could not be read or stored.

A retry or a discard writes a note on the ticket that reported the item.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import blobs
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from ingest.ledger import queries
from ingest.ledger.models import InboundItem
from tickets.timeline import entry_row, record_entries

QUARANTINED = (InboundItem.state == "settled", InboundItem.disposition == "quarantined")
#: Keys of an item in a list, after its number.
LISTED_FIELDS = ("received_at", "kind", "source", "reason_code", "reason", "attempts", "size", "ticket")
#: Items of one statement's IN list.
RETRY_CHUNK_ITEMS = 500
__all__ = ["count", "discard", "list_items", "read_source", "retry", "retry_all", "show"]


def list_items(session: Session, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the quarantined items, the newest first, each with its number (``item``) and :data:`LISTED_FIELDS`."""
    statement = select(InboundItem).where(*QUARANTINED).order_by(InboundItem.received_at.desc(), InboundItem.id.desc())
    return [_row(item) for item in session.execute(statement.limit(limit)).scalars()]


def count(session: Session) -> int:
    """Return how many items are in quarantine."""
    return session.execute(select(func.count()).select_from(InboundItem).where(*QUARANTINED)).scalar_one()


def show(session: Session, item_id: int) -> dict[str, Any]:
    """Return one item with all keys and its sightings. Raises :class:`NotFoundError`."""
    shown = queries.show_item(session, item_id)
    return {"item": shown.pop("id"), **shown}


def read_source(session: Session, item_id: int) -> bytes:
    """Return the original bytes of an item. Raises :class:`NotFoundError`."""
    return blobs.get(session, _get(session, item_id).sha256)


def retry(session: Session, item_id: int, who: str, now: datetime) -> None:
    """Return a quarantined item to waiting, in a batch of its own and with its attempts reset.

    Raises :class:`NotFoundError` for no such item, :class:`RefusedError` when it is not in quarantine.
    """
    if not _return_to_waiting(session, [item_id], who, now):
        raise _refusal(session, item_id)


def retry_all(session: Session, who: str, now: datetime) -> list[int]:
    """Retry every quarantined item and return the ids."""
    ids = list(session.execute(select(InboundItem.id).where(*QUARANTINED).order_by(InboundItem.id)).scalars())
    retried: list[int] = []
    for start in range(0, len(ids), RETRY_CHUNK_ITEMS):
        retried += _return_to_waiting(session, ids[start : start + RETRY_CHUNK_ITEMS], who, now)
    return retried


def discard(session: Session, item_id: int, text: str, who: str, now: datetime) -> None:
    """Reject a quarantined item permanently; its reason names ``who`` and repeats ``text``.

    Raises :class:`NotFoundError` for no such item, :class:`RefusedError` when it is not in quarantine.
    """
    reason = Reason("discarded", f"Quarantined, then discarded by {who}: {text}")
    values = {"disposition": "rejected", "reason_code": reason.code, "reason": reason.text, "settled_at": now}
    statement = update(InboundItem).where(InboundItem.id == item_id, *QUARANTINED).values(values)
    found = session.execute(statement.returning(InboundItem.id, InboundItem.ticket_id)).all()
    if not found:
        raise _refusal(session, item_id)
    _add_notes(
        session, [(row.id, row.ticket_id) for row in found], "The item that could not be read was discarded", reason, who, now
    )


def _return_to_waiting(session: Session, item_ids: Sequence[int], who: str, now: datetime) -> list[int]:
    values = {"state": "waiting", "due_at": now, "alone": True, "attempts": 0, "losses": 0, "claim": None, "claim_until": None}
    cleared = {"disposition": None, "reason_code": None, "reason": None, "settled_at": None}
    statement = update(InboundItem).where(InboundItem.id.in_(list(item_ids)), *QUARANTINED).values(**values, **cleared)
    found = session.execute(statement.returning(InboundItem.id, InboundItem.ticket_id)).all()
    reason = Reason("quarantine_retry", f"{who} had the item read again; if it can be read now, it becomes a ticket of its own")
    _add_notes(
        session, [(row.id, row.ticket_id) for row in found], "The item that could not be read is retried", reason, who, now
    )
    return sorted(row.id for row in found)


def _add_notes(
    session: Session, items: Sequence[tuple[int, int | None]], title: str, reason: Reason, who: str, now: datetime
) -> None:
    """Write a note on the tickets that reported the items as unreadable."""
    data = {"reasons": [reason.as_dict()]}
    rows = [
        entry_row(ticket_id, now, who, "note", title, reason.text, data, item_id)
        for item_id, ticket_id in sorted(items)
        if ticket_id is not None
    ]
    record_entries(session, rows, now)


def _get(session: Session, item_id: int) -> InboundItem:
    item = session.get(InboundItem, item_id)
    if item is None:
        raise NotFoundError(f"there is no item {item_id}", hint="see `casemill quarantine list`")
    return item


def _refusal(session: Session, item_id: int) -> Exception:
    item = _get(session, item_id)
    state = item.disposition if item.state == "settled" else "not processed yet"
    return RefusedError(
        "not_set_aside", f"item {item_id} is not in quarantine: it is {state}", hint="see `casemill quarantine list`"
    )


def _row(item: InboundItem) -> dict[str, Any]:
    listed = queries.item_dict(item)
    return {"item": listed.pop("id"), **{name: listed[name] for name in LISTED_FIELDS}}
