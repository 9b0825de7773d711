"""What every verb of a ticket needs: the ticket locked, a reason that says something, and an entry on the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from tickets.models import Activity, Ticket
from tickets.numbers import format_number


def lock_ticket(session: Session, ticket_id: int) -> Ticket:
    """The ticket, held until the end of the unit. Raises :class:`NotFoundError`."""
    statement = select(Ticket).where(Ticket.id == ticket_id).with_for_update(key_share=True)
    ticket = session.execute(statement).scalar_one_or_none()
    if ticket is None:
        raise NotFoundError(f"there is no ticket {format_number(ticket_id)}", hint="`casemill tickets` lists them")
    return ticket


def require_text(text: str, problem: str = "a reason is needed") -> str:
    """``text`` without blanks around it. Raises :class:`RefusedError` when nothing is left."""
    if not text.strip():
        raise RefusedError("no_reason", problem)
    return text.strip()


def add_entry(
    session: Session, ticket: Ticket, now: datetime, actor: str, kind: str, title: str, body: str, data: dict[str, Any]
) -> int:
    """An entry on the timeline of a locked ticket; returns its id."""
    ticket.version += 1
    ticket.updated_at = now
    row = {"ticket_id": ticket.id, "at": now, "kind": kind, "actor": actor, "title": title, "body": body, "data": data}
    return session.execute(insert(Activity).values(row).returning(Activity.id)).scalar_one()


def record_entry(
    session: Session,
    ticket_id: int,
    kind: str,
    title: str,
    now: datetime,
    *,
    actor: str = "casemill",
    body: str = "",
    reason: Reason | None = None,
    data: Mapping[str, Any] | None = None,
) -> int:
    """An entry by another room, which has not loaded the ticket; returns its id. ``reason`` says why and is shown with it."""
    kept = {**(data or {}), **({"reasons": [reason.as_dict()]} if reason else {})}
    row = {"ticket_id": ticket_id, "at": now, "kind": kind, "actor": actor, "title": title, "body": body, "data": kept}
    changed = update(Ticket).where(Ticket.id == ticket_id).values(version=Ticket.version + 1, updated_at=now)
    session.execute(changed.execution_options(synchronize_session=False))
    made: int = session.execute(insert(Activity).values(row).returning(Activity.id)).scalar_one()
    return made
