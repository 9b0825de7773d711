"""What people and programs read of tickets: lists by view, and one ticket with its timeline and the reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, or_, select
from sqlalchemy.orm import Session

from accounts.models import Company, Contact, Staff
from tickets.models import Activity, Attachment, FollowUp, Ticket, TicketContact, TicketLink
from tickets.numbers import number
from tickets.stages import AUDIT, COMPLETED, STAGE_NAMES

View = Callable[[datetime], ColumnElement[bool]]

#: Saved views everybody has (domain.md, Saved views), by the name given on the command line.
VIEWS: dict[str, tuple[str, View]] = {
    "unassigned": (
        "PMB Support Unassigned/Open Tickets",
        lambda now: or_(Ticket.owner_id.is_(None), Ticket.stage < COMPLETED),
    ),
    "open": ("Open tickets", lambda now: Ticket.stage < COMPLETED),
    "audit": ("Awaiting audit", lambda now: Ticket.stage == AUDIT),
    "overdue": ("Overdue", lambda now: (Ticket.stage < COMPLETED) & (Ticket.escalation_due_at <= now)),
    "matches": (
        "Possible matches",
        lambda now: (Ticket.stage < COMPLETED)
        & exists().where(
            TicketLink.ticket_id == Ticket.id, TicketLink.kind == "possible_match", TicketLink.settled_at.is_(None)
        ),
    ),
    "completed": ("Completed", lambda now: Ticket.stage == COMPLETED),
    "all": ("All tickets", lambda now: Ticket.id > 0),
}


def list_tickets(
    session: Session, view: str, now: datetime, *, limit: int = 50, source: str | None = None
) -> list[dict[str, Any]]:
    """The newest tickets of a view; raises KeyError for an unknown one. Rows as in ``interfaces.md``."""
    statement = _listed().where(VIEWS[view][1](now))
    if source is not None:
        statement = statement.where(Ticket.source == source)
    rows = session.execute(statement.order_by(Ticket.id.desc()).limit(limit))
    return [_row(*row) for row in rows]


def show(session: Session, ticket_id: int) -> dict[str, Any] | None:
    """One ticket whole, or None: fields, people, timeline with reasons, files, tasks."""
    found = session.execute(_listed().where(Ticket.id == ticket_id)).first()
    if found is None:
        return None
    ticket: Ticket = found[0]
    return {
        **_row(*found),
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
        "merged_into": number(ticket.merged_into) if ticket.merged_into else None,
        "links": _links(session, ticket_id),
        "contacts": _contacts(session, ticket_id),
        "timeline": _timeline(session, ticket_id),
        "attachments": _attachments(session, ticket_id),
        "tasks": _tasks(session, ticket_id),
    }


def _listed() -> Select[*tuple[Any, ...]]:
    return (
        select(Ticket, Staff.name, Company.name, Contact.email, Contact.name)
        .outerjoin(Staff, Staff.id == Ticket.owner_id)
        .outerjoin(Company, Company.id == Ticket.company_id)
        .outerjoin(Contact, Contact.id == Ticket.requester_id)
    )


def _row(ticket: Ticket, owner: str | None, company: str | None, email: str | None, name: str | None) -> dict[str, Any]:
    return {
        "number": number(ticket.id),
        "source": ticket.source,
        "stage": STAGE_NAMES[ticket.stage],
        "owner": owner,
        "company": company,
        "requester": email or name or None,
        "created_at": _moment(ticket.created_at),
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
            "number": number(row.other_id if row.ticket_id == ticket_id else row.ticket_id),
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
            "title": task.title,
            "kind": task.kind,
            "reason": task.reason,
            "assignee": assignee,
            "due_at": _moment(task.due_at),
            "done_at": _moment(task.done_at),
        }
        for task, assignee in rows
    ]
