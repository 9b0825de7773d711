"""The timeline of tickets: the only module that inserts activities and raises a ticket's version.

A page or a program that shows a ticket compares ``version`` to see whether something changed, so every entry raises it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from core.database.bulk import Row, insert_all, insert_with_ids
from core.database.in_lists import encode_list, in_list_parameter
from core.database.types import UtcDateTime
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from tickets.models import Activity, Ticket
from tickets.numbers import format_number

#: Who acted where no person did.
SYSTEM: Final = "casemill"


def lock_ticket(session: Session, ticket_id: int) -> Ticket:
    """Return the ticket, locked until the end of the transaction. Raises :class:`NotFoundError`."""
    statement = select(Ticket).where(Ticket.id == ticket_id).with_for_update(key_share=True)
    ticket = session.execute(statement).scalar_one_or_none()
    if ticket is None:
        raise NotFoundError(f"there is no ticket {format_number(ticket_id)}", hint="`casemill tickets` lists them")
    return ticket


def require_text(text: str, problem: str = "a reason is needed") -> str:
    """Return ``text`` without surrounding blanks. Raises :class:`RefusedError` with ``problem`` when nothing is left."""
    if not text.strip():
        raise RefusedError("no_reason", problem)
    return text.strip()


def entry_row(
    ticket_id: int,
    now: datetime,
    actor: str,
    kind: str,
    title: str,
    body: str,
    data: Row,
    item_id: int | None = None,
) -> Row:
    """Return one timeline entry as a row for the bulk inserts below; ``kind`` as in :class:`tickets.models.Activity`."""
    return {
        "ticket_id": ticket_id,
        "at": now,
        "kind": kind,
        "actor": actor,
        "title": title,
        "body": body,
        "data": data,
        "item_id": item_id,
    }


def add_entry(session: Session, ticket: Ticket, now: datetime, actor: str, kind: str, title: str, body: str, data: Row) -> int:
    """Add an entry to a ticket that the caller has locked and return the entry's id."""
    mark_changed(ticket, now)
    return _insert_one(session, entry_row(ticket.id, now, actor, kind, title, body, data))


def record_entry(
    session: Session,
    ticket_id: int,
    kind: str,
    title: str,
    now: datetime,
    *,
    actor: str = SYSTEM,
    body: str = "",
    reason: Reason | None = None,
    data: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry to a ticket that the caller has not loaded and return the entry's id.

    ``reason`` is stored in ``data`` and shown with the entry.
    """
    full_data = {**(data or {}), **({"reasons": [reason.as_dict()]} if reason else {})}
    changed = update(Ticket).where(Ticket.id == ticket_id).values(version=Ticket.version + 1, updated_at=now)
    session.execute(changed.execution_options(synchronize_session=False))
    return _insert_one(session, entry_row(ticket_id, now, actor, kind, title, body, full_data))


def record_entries(session: Session, rows: Sequence[Row], now: datetime) -> None:
    """Add the entries of :func:`entry_row` to tickets that the caller has not locked.

    1. Lock the tickets and raise their versions, before their activities refer to them.
    2. Insert the activities.
    """
    raise_versions(session, {row["ticket_id"] for row in rows}, now)
    insert_entries(session, rows)


def insert_entries(session: Session, rows: Sequence[Row]) -> None:
    """Insert the entries of :func:`entry_row` in bulk, for tickets whose versions the caller raises."""
    insert_all(session, Activity, rows)


def insert_entries_with_ids(session: Session, rows: Sequence[Row]) -> list[int]:
    """Insert as :func:`insert_entries` does and return the ids of the entries in the order of ``rows``."""
    return insert_with_ids(session, Activity, rows)


def mark_changed(ticket: Ticket, now: datetime) -> None:
    """Raise the version of a ticket that the caller has locked."""
    ticket.version += 1
    ticket.updated_at = now


def next_version(version: int, now: datetime) -> Row:
    """Return the columns that raise ``version``, for a bulk update of tickets that the caller has locked."""
    return {"version": version + 1, "updated_at": now}


def raise_versions(
    session: Session, ticket_ids: Collection[int], now: datetime, *, written_by_people: Collection[int] = ()
) -> None:
    """Raise the versions of many tickets. ``written_by_people`` are those of them to which a person wrote.

    1. Lock the rows in the order of their ids: an UPDATE takes them in any order, and two workers would deadlock.
    2. Update those that a person wrote to, with ``human_at``.
    3. Update the others.
    """
    if not ticket_ids:
        return
    by_people = set(written_by_people)
    connection = session.connection()
    connection.execute(_LOCK, {"values": encode_list(ticket_ids)}).all()
    for ids, statement in ((by_people, _RAISE_BY_PEOPLE), (set(ticket_ids) - by_people, _RAISE)):
        if ids:
            connection.execute(statement, {"values": encode_list(ids), "now": now})


_LOCK = select(Ticket.id).where(in_list_parameter(Ticket.id)).order_by(Ticket.id).with_for_update(key_share=True)
_NOW = bindparam("now", type_=UtcDateTime)
_RAISE = update(Ticket).where(in_list_parameter(Ticket.id)).values(version=Ticket.version + 1, updated_at=_NOW)
_RAISE_BY_PEOPLE = _RAISE.values(human_at=_NOW)


def _insert_one(session: Session, row: Row) -> int:
    activity_id: int = session.execute(insert(Activity).values(row).returning(Activity.id)).scalar_one()
    return activity_id
