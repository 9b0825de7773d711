"""Writes what intake decided: bulk inserts in a fixed order, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from accounts.matching import CompanyView, ContactView
from accounts.models import Staff
from core import blobs
from core.database.bulk import insert_all, insert_ignore, insert_with_ids, update_all
from core.database.in_lists import encode_list, in_list_parameter
from core.database.types import UtcDateTime
from core.reasons import Reason
from core.settings import Settings
from outbox.append import append_facts
from outbox.facts import Fact, TicketAssigned, TicketCreated
from tickets import routing
from tickets.deadlines import due_after
from tickets.lifecycle import reopen_by_reply
from tickets.models import Activity, Attachment, FollowUp, Ticket, TicketContact, TicketLink, TicketThread
from tickets.numbers import format_number
from tickets.routing import Assignment, Staffing
from tickets.submission import Submission, SubmittedFile, TicketSource

SYSTEM = "casemill"
TELEMEDICINE_TASK_TITLE = "Assist with telemedicine"
NO_ADDRESS = Reason("no_address", "The requester has no email address")


@dataclass(frozen=True, slots=True)
class NewLink:
    """Another ticket that a new one has to do with: ``kind`` as in :class:`tickets.models.TicketLink`."""

    target: NewTicket | int
    kind: str
    reason: Reason


@dataclass(slots=True)
class NewTicket:
    """A ticket decided on; ``ticket_id`` is known once it is stored."""

    submission: Submission
    contact: ContactView | None
    company: CompanyView | None
    company_reason: Reason
    assignment: Assignment
    telemedicine: Reason | None
    others: list[ContactView]
    links: tuple[NewLink, ...] = ()
    ticket_id: int = 0
    activity_ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class AppendedMessage:
    """A message for a ticket that exists, or for one drafted earlier in the batch."""

    submission: Submission
    contact: ContactView | None
    target: NewTicket | int
    reason: Reason
    reopens: bool = False
    activity_id: int = 0

    @property
    def ticket_id(self) -> int:
        return _id_of(self.target)


def _id_of(target: NewTicket | int) -> int:
    return target if isinstance(target, int) else target.ticket_id


def store_file_contents(session: Session, submissions: Iterable[Submission], now: datetime) -> None:
    """Store what the files contain; :func:`store` says which ticket has them."""
    blobs.put_all(session, ((file.sha256, file.content) for submission in submissions for file in submission.files), now)


def store(
    session: Session,
    drafts: Sequence[NewTicket],
    appends: Sequence[AppendedMessage],
    staffing: Staffing,
    settings: Settings,
    now: datetime,
) -> None:
    """Insert everything the batch decided and its facts; what its files contain is there already."""
    _insert_tickets(session, drafts, settings, now)
    _insert_activities(session, drafts, appends, staffing, now)
    _insert_files(session, drafts, appends)
    _insert_people(session, drafts, appends)
    insert_ignore(session, FollowUp, [_assist_row(d, staffing, settings, now) for d in drafts if d.telemedicine])
    insert_ignore(session, TicketLink, [_link_row(draft, link, now) for draft in drafts for link in draft.links])
    reopen_by_reply(session, {one.ticket_id for one in appends if one.reopens}, settings, now)
    _touch(session, drafts, appends, staffing, now)
    append_facts(session, (fact for draft in drafts for fact in _facts(draft)), now)


def _insert_tickets(session: Session, drafts: Sequence[NewTicket], settings: Settings, now: datetime) -> None:
    ids = insert_with_ids(session, Ticket, [_ticket_row(draft, settings, now) for draft in drafts])
    for draft, ticket_id in zip(drafts, ids, strict=True):
        draft.ticket_id = ticket_id


def _ticket_row(draft: NewTicket, settings: Settings, now: datetime) -> dict[str, Any]:
    submission = draft.submission
    missing = [*submission.missing, *(() if draft.company else ("the company is not known",))]
    return {
        "name": _name(draft),
        "pipeline": settings.pipelines.default,
        "type": settings.pipelines.type,
        "source": str(submission.source),
        "owner_id": draft.assignment.staff_id,
        "company_id": draft.company.id if draft.company else None,
        "requester_id": draft.contact.id if draft.contact else None,
        "description": submission.text,
        "link": submission.link,
        "category": submission.category,
        "issue": submission.issue,
        "issue_detail": submission.issue_detail,
        "preferred_contact": submission.preferred_contact,
        "missing": missing,
        "sender_verified": submission.verified,
        "human_at": None if submission.automatic else now,
        "on_company_timeline": submission.on_company_timeline,
        "opened_at": now,
        "reminder_due_at": due_after(now, settings.calendar.reminder_days, settings.calendar),
        "escalation_due_at": due_after(now, settings.calendar.escalation_days, settings.calendar),
        "created_at": now,
        "updated_at": now,
    }


def _name(draft: NewTicket) -> str:
    """The subject, or ``Support – {company}``, which tickets entered by hand always have (domain.md, Tickets)."""
    submission = draft.submission
    if submission.subject and submission.source is not TicketSource.PHONE:
        return submission.subject[:300]
    who = draft.company.name if draft.company else submission.company or submission.name or submission.email
    return f"Support – {who or 'unknown customer'}"


def _insert_activities(
    session: Session, drafts: Sequence[NewTicket], appends: Sequence[AppendedMessage], staffing: Staffing, now: datetime
) -> None:
    rows: list[dict[str, Any]] = []
    for draft in drafts:
        reasons = [draft.company_reason, *map(_told, draft.links)]
        rows.append(_message_row(draft.ticket_id, draft.submission, now, reasons))
        rows.append(_assignment_row(draft, staffing, now))
    rows += [_message_row(one.ticket_id, one.submission, now, [one.reason]) for one in appends]
    rows += [_assist_entry(draft.ticket_id, draft.telemedicine, now) for draft in drafts if draft.telemedicine]
    ids = insert_with_ids(session, Activity, rows)
    for position, draft in enumerate(drafts):
        draft.activity_ids = ids[2 * position : 2 * position + 2]
    for one, activity_id in zip(appends, ids[2 * len(drafts) :], strict=False):  # the assist entries come after them
        one.activity_id = activity_id


def _told(link: NewLink) -> Reason:
    """A link as the timeline tells it."""
    word = "Possible match" if link.kind == "possible_match" else "Goes on from"
    return Reason(link.kind, f"{word} {format_number(_id_of(link.target))}: {link.reason.text}")


def _message_row(ticket_id: int, submission: Submission, now: datetime, further: Sequence[Reason]) -> dict[str, Any]:
    codes = {reason.code for reason in submission.reasons}
    reasons = [*submission.reasons, *(reason for reason in further if reason.code not in codes)]
    data = {
        "from": submission.email,
        "name": submission.name,
        "received_at": submission.received_at.isoformat(),
        "reasons": [reason.as_dict() for reason in reasons],
        "details": [list(pair) for pair in submission.details],
        "verified": submission.verified,
        "quoted": submission.quoted,
        "signature": submission.signature,
        "key": submission.message_key,
        "message_id": submission.message_id,
    }
    return {
        "ticket_id": ticket_id,
        "at": now,
        "kind": "message_in",
        "actor": submission.email or submission.name or str(submission.source),
        "title": submission.subject[:300] or "(no subject)",
        "body": submission.text,
        "data": data,
        "item_id": submission.item_id,
    }


def _assignment_row(draft: NewTicket, staffing: Staffing, now: datetime) -> dict[str, Any]:
    owner = staffing.people.get(draft.assignment.staff_id or 0)
    return {
        "ticket_id": draft.ticket_id,
        "at": now,
        "kind": "assignment",
        "actor": SYSTEM,
        "title": f"Assigned to {owner.name}" if owner else "Unassigned",
        "body": draft.assignment.reason.text,
        "data": {"owner_id": draft.assignment.staff_id, "steps": [step.as_dict() for step in draft.assignment.steps]},
        "item_id": None,
    }


def _assist_entry(ticket_id: int, reason: Reason, now: datetime) -> dict[str, Any]:
    return {
        "ticket_id": ticket_id,
        "at": now,
        "kind": "task",
        "actor": SYSTEM,
        "title": f"Task: {TELEMEDICINE_TASK_TITLE}",
        "body": reason.text,
        "data": {"code": "task_raised", "reasons": [reason.as_dict()]},
        "item_id": None,
    }


def _insert_files(session: Session, drafts: Sequence[NewTicket], appends: Sequence[AppendedMessage]) -> None:
    placed: list[tuple[int, int, SubmittedFile]] = [
        *((draft.ticket_id, draft.activity_ids[0], file) for draft in drafts for file in draft.submission.files),
        *((one.ticket_id, one.activity_id, file) for one in appends for file in one.submission.files),
    ]
    if not placed:
        return
    insert_all(
        session,
        Attachment,
        [
            {
                "ticket_id": ticket_id,
                "activity_id": activity_id,
                "sha256": file.sha256,
                "name": file.name,
                "type": file.type,
                "sniffed": file.sniffed,
                "size": file.size,
                "inline": file.inline,
            }
            for ticket_id, activity_id, file in placed
        ],
    )


def _insert_people(session: Session, drafts: Sequence[NewTicket], appends: Sequence[AppendedMessage]) -> None:
    rows = [
        _contact_row(draft.ticket_id, draft.contact.id, "requester", draft.submission.on_contact_timeline)
        for draft in drafts
        if draft.contact
    ]
    rows += [_contact_row(draft.ticket_id, other.id, "participant", True) for draft in drafts for other in draft.others]
    rows += [_contact_row(one.ticket_id, one.contact.id, "participant", True) for one in appends if one.contact]
    insert_ignore(session, TicketContact, sorted(rows, key=lambda row: (row["ticket_id"], row["contact_id"])))
    keys: dict[str, int] = {}
    stored = [(one.submission, one.ticket_id) for one in drafts]
    for submission, ticket_id in stored + [(one.submission, one.ticket_id) for one in appends]:
        for key in (submission.thread_key, submission.message_key):
            if key:
                keys.setdefault(key, ticket_id)
    insert_ignore(session, TicketThread, [{"key": key, "ticket_id": keys[key]} for key in sorted(keys)])


def _contact_row(ticket_id: int, contact_id: int, role: str, on_timeline: bool) -> dict[str, Any]:
    return {"ticket_id": ticket_id, "contact_id": contact_id, "role": role, "on_timeline": on_timeline}


def _link_row(draft: NewTicket, link: NewLink, now: datetime) -> dict[str, Any]:
    return {
        "ticket_id": draft.ticket_id,
        "other_id": _id_of(link.target),
        "kind": link.kind,
        "code": link.reason.code,
        "reason": link.reason.text,
        "created_at": now,
    }


def _assist_row(draft: NewTicket, staffing: Staffing, settings: Settings, now: datetime) -> dict[str, Any]:
    assignee_id, team_id = routing.find_telemedicine_assignee(settings.routing, staffing)
    return {
        "key": f"telemedicine:{draft.ticket_id}",
        "ticket_id": draft.ticket_id,
        "kind": "assist",
        "title": TELEMEDICINE_TASK_TITLE,
        "reason": draft.telemedicine.text if draft.telemedicine else "",
        "assignee_id": assignee_id,
        "team_id": team_id,
        "due_at": due_after(now, settings.calendar.task_days, settings.calendar),
        "created_at": now,
    }


def _touch(
    session: Session, drafts: Sequence[NewTicket], appends: Sequence[AppendedMessage], staffing: Staffing, now: datetime
) -> None:
    owners = sorted({draft.assignment.staff_id for draft in drafts if draft.assignment.staff_id is not None})
    update_all(session, Staff, [{"id": owner, "last_assigned_at": _last_assigned(staffing, owner)} for owner in owners])
    if not appends:
        return
    added_to = {one.ticket_id for one in appends}
    by_people = {one.ticket_id for one in appends if not one.submission.automatic}
    connection = session.connection()
    # Locked in one order by every worker; an UPDATE takes them in any.
    connection.execute(_LOCK, {"listed": encode_list(added_to)}).all()
    for ids, statement in ((by_people, _TOUCH_BY_PEOPLE), (added_to - by_people, _TOUCH)):
        if ids:
            connection.execute(statement, {"listed": encode_list(ids), "now": now})


_LOCK = select(Ticket.id).where(in_list_parameter(Ticket.id)).order_by(Ticket.id).with_for_update(key_share=True)
_NOW = bindparam("now", type_=UtcDateTime)
_TOUCH = update(Ticket).where(in_list_parameter(Ticket.id)).values(version=Ticket.version + 1, updated_at=_NOW)
_TOUCH_BY_PEOPLE = _TOUCH.values(human_at=_NOW)


def _last_assigned(staffing: Staffing, owner_id: int) -> datetime | None:
    return staffing.people[owner_id].last_assigned_at


def _facts(draft: NewTicket) -> Iterable[Fact]:
    silence = draft.submission.silence or (None if draft.contact and draft.contact.email else NO_ADDRESS)
    yield TicketCreated(draft.ticket_id, silence is None, silence.code if silence else "", silence.text if silence else "")
    if draft.assignment.staff_id is not None:
        yield TicketAssigned(draft.ticket_id, draft.assignment.staff_id, draft.activity_ids[1], draft.assignment.reason.text)
