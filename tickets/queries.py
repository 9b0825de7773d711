"""Read tickets for people and programs: lists by view, and one ticket with its timeline and the reasons."""

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

#: Spelled as in the index, which SQLite uses only then; every view of open tickets has this condition.
WAITING: ColumnElement[bool] = literal_column("(ticket.owner_id IS NULL OR ticket.stage < 6)", Boolean)


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """When a view is requested, when that day ends, and for which member of staff (None: no ticket is "mine")."""

    now: datetime
    day_ends: datetime
    person_id: int | None


View = Callable[[ViewRequest], ColumnElement[bool]]


def _with_tasks(due: ColumnElement[bool]) -> ColumnElement[bool]:
    return Ticket.id.in_(select(FollowUp.ticket_id).where(OPEN, due))


def _timers_until(moment: datetime) -> ColumnElement[bool]:
    due = [select(Ticket.id).where(column < moment) for column in (Ticket.reminder_due_at, Ticket.escalation_due_at)]
    return Ticket.id.in_(union_all(*due))


#: Saved views of all staff (domain.md, Saved views), by their name on the command line. A ticket is overdue while a timer has run
#: out, or while a task is past its due time or was raised because a timer had run out.
VIEWS: dict[str, tuple[str, View]] = {
    "unassigned": ("PMB Support Unassigned/Open Tickets", lambda request: WAITING),
    "open": ("Open tickets", lambda request: and_(WAITING, Ticket.stage < COMPLETED)),
    "mine": ("My open tickets", lambda request: and_(Ticket.owner_id == request.person_id, Ticket.stage < COMPLETED)),
    "today": (
        "Due today",
        lambda request: and_(
            WAITING, Ticket.stage < COMPLETED,
            or_(_with_tasks(FollowUp.due_at < request.day_ends), _timers_until(request.day_ends)),
        ),
    ),
    "overdue": (
        "Overdue",
        lambda request: and_(
            WAITING, Ticket.stage < COMPLETED,
            or_(
                _with_tasks(or_(FollowUp.due_at < request.now, FollowUp.kind.in_(RULES))),
                _timers_until(request.now + timedelta.resolution),
            ),
        ),
    ),
    "audit": ("Awaiting audit", lambda request: and_(WAITING, Ticket.stage == AUDIT)),
    "matches": (
        "Possible duplicates",
        lambda request: and_(
            WAITING, Ticket.stage < COMPLETED,
            exists().where(
                TicketLink.ticket_id == Ticket.id, TicketLink.kind == "possible_match", TicketLink.settled_at.is_(None)
            ),
        ),
    ),
    "completed": ("Completed", lambda request: Ticket.stage == COMPLETED),
    "all": ("All tickets", lambda request: Ticket.id > 0),
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
    """List the newest tickets of a view, as rows of ``interfaces.md``. Raises KeyError for an unknown view.

    ``day_ends`` is the end of "today" (by default a day from ``now``), ``person_id`` whose tickets are "mine". ``before`` is the
    lowest ticket id of the page before.
    """
    request = ViewRequest(now, day_ends or now + timedelta(days=1), person_id)
    statement = _select_tickets(now).where(VIEWS[view][1](request))
    if source is not None:
        statement = statement.where(Ticket.source == source)
    if company_id is not None:
        statement = statement.where(Ticket.company_id == company_id)
    if before is not None:
        statement = statement.where(Ticket.id < before)
    rows = session.execute(statement.order_by(Ticket.id.desc()).limit(limit))
    return [_row(*row) for row in rows]


def show(session: Session, ticket_id: int) -> dict[str, Any] | None:
    """Return one ticket with fields, people, timeline with reasons, files and tasks; None when there is no such ticket."""
    found = session.execute(_select_tickets(clock.now()).where(Ticket.id == ticket_id)).first()
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
        "follow_up_sent": _milestone(ticket.follow_up_sent_at, ticket.follow_up_sent_by),
        "resolution": _milestone(ticket.resolution_at, ticket.resolution_by),
        "recap_sent": _milestone(ticket.recap_sent_at, ticket.recap_sent_by),
        "reminder_due_at": _format_time(ticket.reminder_due_at),
        "escalation_due_at": _format_time(ticket.escalation_due_at),
        "merged_into": format_number(ticket.merged_into) if ticket.merged_into else None,
        "links": _links(session, ticket_id),
        "contacts": _contacts(session, ticket_id),
        "timeline": _timeline(session, ticket_id),
        "attachments": _attachments(session, ticket_id),
        "tasks": _tasks(session, ticket_id),
    }


def _select_tickets(now: datetime) -> Select[*tuple[Any, ...]]:
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
        "created_at": _format_time(ticket.created_at),
        "owner_away": bool(owner and away),
    }


def _format_time(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None


def _milestone(at: datetime | None, by: str | None) -> dict[str, Any] | None:
    return {"at": _format_time(at), "by": by} if at else None


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
    """Related tickets, in both directions."""
    mine = select(TicketLink).where(or_(TicketLink.ticket_id == ticket_id, TicketLink.other_id == ticket_id))
    return [
        {
            "number": format_number(row.other_id if row.ticket_id == ticket_id else row.ticket_id),
            "kind": row.kind,
            "from_here": row.ticket_id == ticket_id,
            "reason": row.reason,
            "settled_at": _format_time(row.settled_at),
        }
        for row in session.execute(mine.order_by(TicketLink.id)).scalars()
    ]


def _with_merged(ticket_id: int) -> Select[int]:
    """The ids of the ticket and of those that were merged into it."""
    return select(Ticket.id).where(or_(Ticket.id == ticket_id, Ticket.merged_into == ticket_id))


def _timeline(session: Session, ticket_id: int) -> list[dict[str, Any]]:
    """The entries of the ticket and of those that were merged into it."""
    mine = select(Activity).where(Activity.ticket_id.in_(_with_merged(ticket_id)))
    rows = session.execute(mine.order_by(Activity.id)).scalars()
    return [
        {
            "id": row.id,
            "at": _format_time(row.at),
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
    mine = select(Attachment).where(Attachment.ticket_id.in_(_with_merged(ticket_id)))
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
            "due_at": _format_time(task.due_at),
            "done_at": _format_time(task.done_at),
        }
        for task, assignee in rows
    ]
