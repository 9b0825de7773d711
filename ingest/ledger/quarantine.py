"""The items that were set aside: what they are and why, another try, or given up for good. Every act leaves a trace."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from core import blobs
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from ingest.ledger import queries
from ingest.ledger.models import InboundItem
from tickets.models import Activity, Ticket

SET_ASIDE = (InboundItem.state == "settled", InboundItem.disposition == "quarantined")
#: What a list of them shows of each, after its number.
SHOWN = ("received_at", "kind", "source", "reason_code", "reason", "attempts", "size", "ticket")
#: Rows of one statement's IN list.
CHUNK = 500
__all__ = ["count", "discard", "list_items", "read_source", "retry", "retry_all", "show"]


def list_items(session: Session, limit: int | None = None) -> list[dict[str, Any]]:
    """The set-aside items, the newest first: item, received_at, kind, source, reason_code, reason, attempts, size, ticket."""
    statement = select(InboundItem).where(*SET_ASIDE).order_by(InboundItem.received_at.desc(), InboundItem.id.desc())
    return [_row(item) for item in session.execute(statement.limit(limit)).scalars()]


def count(session: Session) -> int:
    """How many items are set aside."""
    return session.execute(select(func.count()).select_from(InboundItem).where(*SET_ASIDE)).scalar_one()


def show(session: Session, item_id: int) -> dict[str, Any]:
    """One item whole, with where it was seen. Raises :class:`NotFoundError`."""
    shown = queries.show_item(session, item_id)
    return {"item": shown.pop("id"), **shown}


def read_source(session: Session, item_id: int) -> bytes:
    """The bytes of an item as they came. Raises :class:`NotFoundError`."""
    return blobs.get(session, _get(session, item_id).sha256)


def retry(session: Session, item_id: int, who: str, now: datetime) -> None:
    """Let an item be tried again, by itself and with all its attempts. Raises :class:`NotFoundError`, :class:`RefusedError`."""
    if not _put_back(session, [item_id], who, now):
        raise _refusal(session, item_id)


def retry_all(session: Session, who: str, now: datetime) -> list[int]:
    """Let every set-aside item be tried again; answers which."""
    ids = list(session.execute(select(InboundItem.id).where(*SET_ASIDE).order_by(InboundItem.id)).scalars())
    retried: list[int] = []
    for start in range(0, len(ids), CHUNK):
        retried += _put_back(session, ids[start : start + CHUNK], who, now)
    return retried


def discard(session: Session, item_id: int, text: str, who: str, now: datetime) -> None:
    """Give an item up for good: ``rejected``, by whom and why. Raises :class:`NotFoundError`, :class:`RefusedError`."""
    reason = Reason("discarded", f"Set aside, then discarded by {who}: {text}")
    values = {"disposition": "rejected", "reason_code": reason.code, "reason": reason.text, "settled_at": now}
    statement = update(InboundItem).where(InboundItem.id == item_id, *SET_ASIDE).values(values)
    found = session.execute(statement.returning(InboundItem.id, InboundItem.ticket_id)).all()
    if not found:
        raise _refusal(session, item_id)
    _tell(session, [(row.id, row.ticket_id) for row in found], "The item that could not be read was discarded", reason, who, now)


def _put_back(session: Session, item_ids: Sequence[int], who: str, now: datetime) -> list[int]:
    values = {"state": "waiting", "due_at": now, "alone": True, "attempts": 0, "losses": 0, "claim": None, "claim_until": None}
    fresh = {"disposition": None, "reason_code": None, "reason": None, "settled_at": None}
    statement = update(InboundItem).where(InboundItem.id.in_(list(item_ids)), *SET_ASIDE).values(**values, **fresh)
    found = session.execute(statement.returning(InboundItem.id, InboundItem.ticket_id)).all()
    reason = Reason("quarantine_retry", f"{who} had the item read again; what comes of it is a ticket of its own")
    _tell(session, [(row.id, row.ticket_id) for row in found], "The item that could not be read is tried again", reason, who, now)
    return sorted(row.id for row in found)


def _tell(session: Session, items: Sequence[tuple[int, int | None]], title: str, reason: Reason, who: str, now: datetime) -> None:
    """A note on the ticket that said that an item could not be read."""
    rows: list[dict[str, Any]] = [
        {
            "ticket_id": ticket_id,
            "at": now,
            "kind": "note",
            "actor": who,
            "title": title,
            "body": reason.text,
            "data": {"reasons": [reason.as_dict()]},
            "item_id": item_id,
        }
        for item_id, ticket_id in sorted(items)
        if ticket_id is not None
    ]
    if rows:
        session.execute(insert(Activity), rows)
        touched = {row["ticket_id"] for row in rows}
        session.execute(update(Ticket).where(Ticket.id.in_(touched)).values(version=Ticket.version + 1, updated_at=now))


def _get(session: Session, item_id: int) -> InboundItem:
    item = session.get(InboundItem, item_id)
    if item is None:
        raise NotFoundError(f"there is no item {item_id}", hint="see `casemill quarantine list`")
    return item


def _refusal(session: Session, item_id: int) -> Exception:
    item = _get(session, item_id)
    state = item.disposition if item.state == "settled" else "still to be worked on"
    return RefusedError("not_set_aside", f"item {item_id} is not set aside: it is {state}", hint="see `casemill quarantine list`")


def _row(item: InboundItem) -> dict[str, Any]:
    listed = queries.row(item)
    return {"item": listed.pop("id"), **{name: listed[name] for name in SHOWN}}
