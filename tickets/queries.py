"""What people and programs read of tickets: lists by view, and one ticket with its timeline and the reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Select, and_, exists, literal_column, or_, select, union_all
from sqlalchemy.orm import Session

from accounts.models import Absence, Company, Contact, Staff
from core import clock
from tickets.follow_ups import RULES
from tickets.models import Activity, Attachment, FollowUp, Ticket, TicketContact, TicketLink
from tickets.numbers import format_number
from tickets.stages import AUDIT, COMPLETED, STAGE_NAMES
from tickets.tasks import OPEN

#: Written out as in the index, for SQLite; every view of open tickets names it, and so goes by it.
WAITING: ColumnElement[bool] = literal_column("(ticket.owner_id IS NULL OR ticket.stage < 6)", Boolean)


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """When a view is asked for, when that day ends, and by whom (a staff id; None shows nobody's own)."""

    now: datetime
    day_ends: datetime
    person_id: int | None


View = Callable[[ViewRequest], ColumnElement[bool]]


def _with_tasks(due: ColumnElement[bool]) -> ColumnElement[bool]:
    return Ticket.id.in_(select(FollowUp.ticket_id).where(OPEN, due))


def _timers_until(moment: datetime) -> ColumnElement[bool]:
    due = [select(Ticket.id).where(column < moment) for column in (Ticket.reminder_due_at, Ticket.escalation_due_at)]
    return Ticket.id.in_(union_all(*due))


#: Saved views everybody has (domain.md, Saved views), by the name given on the command line.
#: A ticket is overdue while a timer has run out, or a task is past its time or was raised because a timer had.
VIEWS: dict[str, tuple[str, View]] = {
    "unassigned": ("PMB Support Unassigned/Open Tickets", lambda asked: WAITING),
    "open": ("Open tickets", lambda asked: and_(WAITING, Ticket.stage < COMPLETED)),
    "mine": ("My open tickets", lambda asked: and_(Ticket.owner_id == asked.person_id, Ticket.stage < COMPLETED)),
    "today": (
        "Due today",
        lambda asked: and_(
            WAITING, Ticket.stage < COMPLETED,
            or_(_with_tasks(FollowUp.due_at < asked.day_ends), _timers_until(asked.day_ends)),
        ),
    ),
    "overdue": (
        "Overdue",
        lambda asked: and_(
            WAITING, Ticket.stage < COMPLETED,
            or_(
                _with_tasks(or_(FollowUp.due_at < asked.now, FollowUp.kind.in_(RULES))),
                _timers_until(asked.now + timedelta.resolution),
            ),
        ),
    ),
    "audit": ("Awaiting audit", lambda asked: and_(WAITING, Ticket.stage == AUDIT)),
    "matches": (
        "Possible matches",
        lambda asked: and_(
            WAITING, Ticket.stage < COMPLETED,
            exists().where(
                TicketLink.ticket_id == Ticket.id, TicketLink.kind == "possible_match", TicketLink.settled_at.is_(None)
            ),
        ),
    ),
    "completed": ("Completed", lambda asked: Ticket.stage == COMPLETED),
    "all": ("All tickets", lambda asked: Ticket.id > 0),
}  # fmt: skip


def list_tickets(
    session: Session,
    view: str,
    now: datetime,
    *,
    limit: int = 50,
    source: str | None = None,
    company_id: int | None = None,
    before: int | None = None,
    day_ends: datetime | None = None,
    person_id: int | None = None,
) -> list[dict[str, Any]]:
    """The newest tickets of a view; raises KeyError for an unknown one. Rows as in ``interfaces.md``.

    ``day_ends`` is when "today" does (a day from ``now``, when left out), ``person_id`` whose tickets are "mine". ``before`` is
    the id from which a list goes on: those below it.
    """
    asked = ViewRequest(now, day_ends or now + timedelta(days=1), person_id)
    statement = _listed(now).where(VIEWS[view][1](asked))
    if source is not None:
        statement = statement.where(Ticket.source == source)
    if company_id is not None:
        statement = statement.where(Ticket.company_id == company_id)
    if before is not None:
        statement = statement.where(Ticket.id < before)
    rows = session.execute(statement.order_by(Ticket.id.desc()).limit(limit))
    return [_row(*row) for row in rows]


def show(session: Session, ticket_id: int) -> dict[str, Any] | None:
    """One ticket whole, or None: fields, people, timeline with reasons, files, tasks."""
    found = session.execute(_listed(clock.now()).where(Ticket.id == ticket_id)).first()
    if found is None:
        return None
    ticket: Ticket = found[0]
    return {
        **_row(*found),
        "version": ticket.version,
        "name": ticket.name,
        "pipeline": ticket.pipeline,
        "type": ticket.type,
        "category": ticket.category,
        "issue": ticket.issue,
        "issue_detail": ticket.issue_detail,
        "preferred_contact": ticket.preferred_contact,
        "description": ticket.description,
        "link": ticket.link,
        "missing": ticket.missing,
        "sender_verified": ticket.sender_verified,
        "creation_notice": ticket.creation_notice,
        "follow_up_sent": _mark(ticket.follow_up_sent_at, ticket.follow_up_sent_by),
        "resolution": _mark(ticket.resolution_at, ticket.resolution_by),
        "recap_sent": _mark(ticket.recap_sent_at, ticket.recap_sent_by),
        "reminder_due_at": _moment(ticket.reminder_due_at),
        "escalation_due_at": _moment(ticket.escalation_due_at),
        "merged_into": format_number(ticket.merged_into) if ticket.merged_into else None,
        "links": _links(session, ticket_id),
        "contacts": _contacts(session, ticket_id),
        "timeline": _timeline(session, ticket_id),
        "attachments": _attachments(session, ticket_id),
        "tasks": _tasks(session, ticket_id),
    }


def _listed(now: datetime) -> Select[*tuple[Any, ...]]:
    away = select(Absence.id).where(Absence.staff_id == Ticket.owner_id, Absence.starts_at <= now, Absence.ends_at > now)
    return (
        select(Ticket, Staff.name, Company.name, Contact.email, Contact.name, or_(exists(away), Staff.active.is_(False)))
        .outerjoin(Staff, Staff.id == Ticket.owner_id)
        .outerjoin(Company, Company.id == Ticket.company_id)
        .outerjoin(Contact, Contact.id == Ticket.requester_id)
    )


def _row(
    ticket: Ticket, owner: str | None, company: str | None, email: str | None, name: str | None, away: bool | None
) -> dict[str, Any]:
    return {
        "number": format_number(ticket.id),
        "source": ticket.source,
        "stage": STAGE_NAMES[ticket.stage],
        "owner": owner,
        "company": company,
        "requester": email or name or None,
        "created_at": _moment(ticket.created_at),
        "owner_away": bool(owner and away),
    }


def _moment(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None


def _mark(at: datetime | None, by: str | None) -> dict[str, Any] | None:
    return {"at": _moment(at), "by": by} if at else None


def _contacts(session: Session, ticket_id: int) -> list[dict[str, Any]]:
    statement = select(Contact, TicketContact.role, TicketContact.on_timeline).join(
        TicketContact, TicketContact.contact_id == Contact.id
    )
    rows = session.execute(statement.where(TicketContact.ticket_id == ticket_id).order_by(Contact.id))
    return [
        {"email": contact.email, "name": contact.name, "phone": contact.phone, "role": role, "on_timeline": shown}
        for contact, role, shown in rows
    ]


def _links(session: Session, ticket_id: int) -> list[dict[str, Any]]:
    """Tickets that have to do with it, from both sides."""
    mine = select(TicketLink).where(or_(TicketLink.ticket_id == ticket_id, TicketLink.other_id == ticket_id))
    return [
        {
            "number": format_number(row.other_id if row.ticket_id == ticket_id else row.ticket_id),
            "kind": row.kind,
            "from_here": row.ticket_id == ticket_id,
            "reason": row.reason,
            "settled_at": _moment(row.settled_at),
        }
        for row in session.execute(mine.order_by(TicketLink.id)).scalars()
    ]


def _whole(ticket_id: int) -> Select[int]:
    """The ticket, and those that were merged into it."""
    return select(Ticket.id).where(or_(Ticket.id == ticket_id, Ticket.merged_into == ticket_id))


def _timeline(session: Session, ticket_id: int) -> list[dict[str, Any]]:
    """With what those have that were merged into it."""
    mine = select(Activity).where(Activity.ticket_id.in_(_whole(ticket_id)))
    rows = session.execute(mine.order_by(Activity.id)).scalars()
    return [
        {
            "id": row.id,
            "at": _moment(row.at),
            "kind": row.kind,
            "actor": row.actor,
            "title": row.title,
            "body": row.body,
            "quoted": row.data.get("quoted", ""),
            "signature": row.data.get("signature", ""),
            "reasons": _reasons(row.data),
            "item": row.item_id,
        }
        for row in rows
    ]


def _reasons(data: dict[str, Any]) -> Sequence[dict[str, str]]:
    reasons: Sequence[dict[str, str]] = data.get("reasons") or data.get("steps") or []
    return reasons


def _attachments(session: Session, ticket_id: int) -> list[dict[str, Any]]:
    mine = select(Attachment).where(Attachment.ticket_id.in_(_whole(ticket_id)))
    rows = session.execute(mine.order_by(Attachment.id)).scalars()
    return [
        {"name": row.name, "type": row.sniffed or row.type, "size": row.size, "sha256": row.sha256, "inline": row.inline}
        for row in rows
    ]


def _tasks(session: Session, ticket_id: int) -> list[dict[str, Any]]:
    statement = select(FollowUp, Staff.name).outerjoin(Staff, Staff.id == FollowUp.assignee_id)
    rows = session.execute(statement.where(FollowUp.ticket_id == ticket_id).order_by(FollowUp.id))
    return [
        {
            "id": task.id,
            "title": task.title,
            "kind": task.kind,
            "reason": task.reason,
            "assignee": assignee,
            "due_at": _moment(task.due_at),
            "done_at": _moment(task.done_at),
        }
        for task, assignee in rows
    ]
