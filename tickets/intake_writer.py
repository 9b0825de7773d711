"""Write what intake decided: bulk inserts in a fixed order, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from accounts.matching import CompanyView, ContactView
from accounts.models import Staff
from core import blobs
from core.database.bulk import Row, insert_all, insert_ignore, insert_with_ids, update_all
from core.reasons import Reason
from core.settings import Settings
from outbox.append import append_facts
from outbox.facts import Fact, TicketAssigned, TicketCreated
from tickets import follow_ups, routing, timeline
from tickets.deadlines import due_after
from tickets.lifecycle import reopen_by_reply
from tickets.models import Attachment, Ticket, TicketContact, TicketLink, TicketThread
from tickets.numbers import format_number
from tickets.routing import Assignment, Staffing
from tickets.submission import Submission, SubmittedFile, TicketSource
from tickets.timeline import SYSTEM, entry_row

TELEMEDICINE_TASK_TITLE: Final = "Assist with telemedicine"
NO_ADDRESS: Final = Reason("no_address", "The requester has no email address")
#: Longest name of a ticket and title of an entry, in characters.
MAX_TITLE_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class NewLink:
    """Another ticket that a new one is related to: ``kind`` as in :class:`tickets.models.TicketLink`."""

    target: NewTicket | int
    kind: str
    reason: Reason


@dataclass(slots=True)
class NewTicket:
    """A ticket that intake decided to make; ``ticket_id`` is known once it is stored."""

    submission: Submission
    contact: ContactView | None
    company: CompanyView | None
    company_reason: Reason
    assignment: Assignment
    telemedicine: Reason | None
    participants: list[ContactView]
    links: tuple[NewLink, ...] = ()
    ticket_id: int = 0
    activity_ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class AppendedMessage:
    """A message for a ticket that exists, or for one that the same batch makes."""

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
    """Store the bytes of all files; :func:`store` says which ticket has them."""
    blobs.put_all(session, ((file.sha256, file.content) for submission in submissions for file in submission.files), now)


def store(
    session: Session,
    drafts: Sequence[NewTicket],
    appends: Sequence[AppendedMessage],
    staffing: Staffing,
    settings: Settings,
    now: datetime,
) -> None:
    """Insert what the batch decided; the bytes of its files are stored already. The order:

    1. Tickets, whose ids every other row needs.
    2. Timeline entries, whose ids the files and the facts need; then files, people and thread keys.
    3. Tasks and links.
    4. Tickets to be reopened are locked and reopened.
    5. Owners, then the versions of tickets that got a message: rows that other batches wait for are locked last.
    6. Facts, which name the rows above.
    """
    _insert_tickets(session, drafts, settings, now)
    _insert_entries(session, drafts, appends, staffing, now)
    _insert_files(session, drafts, appends)
    _insert_people(session, drafts, appends)
    follow_ups.insert_tasks(session, [_telemedicine_task(d, staffing, settings, now) for d in drafts if d.telemedicine])
    insert_ignore(session, TicketLink, [_link_row(draft, link, now) for draft in drafts for link in draft.links])
    reopen_by_reply(session, {one.ticket_id for one in appends if one.reopens}, settings, now)
    _update_owners(session, drafts, staffing)
    written_by_people = {one.ticket_id for one in appends if not one.submission.automatic}
    timeline.raise_versions(session, {one.ticket_id for one in appends}, now, written_by_people=written_by_people)
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
        return submission.subject[:MAX_TITLE_CHARACTERS]
    customer = draft.company.name if draft.company else submission.company or submission.name or submission.email
    return f"Support – {customer or 'unknown customer'}"


def _insert_entries(
    session: Session, drafts: Sequence[NewTicket], appends: Sequence[AppendedMessage], staffing: Staffing, now: datetime
) -> None:
    rows: list[Row] = []
    for draft in drafts:
        reasons = [draft.company_reason, *map(_link_reason, draft.links)]
        rows.append(_message_entry(draft.ticket_id, draft.submission, now, reasons))
        rows.append(_assignment_entry(draft, staffing, now))
    rows += [_message_entry(one.ticket_id, one.submission, now, [one.reason]) for one in appends]
    rows += [_telemedicine_entry(draft.ticket_id, draft.telemedicine, now) for draft in drafts if draft.telemedicine]
    ids = timeline.insert_entries_with_ids(session, rows)
    for position, draft in enumerate(drafts):
        draft.activity_ids = ids[2 * position : 2 * position + 2]
    # Not strict: the telemedicine entries come after those of the appended messages.
    for one, activity_id in zip(appends, ids[2 * len(drafts) :], strict=False):
        one.activity_id = activity_id


def _link_reason(link: NewLink) -> Reason:
    """The link as the timeline shows it."""
    title = "Possible duplicate of" if link.kind == "possible_match" else "Follows"
    return Reason(link.kind, f"{title} {format_number(_id_of(link.target))}: {link.reason.text}")


def _message_entry(ticket_id: int, submission: Submission, now: datetime, further: Sequence[Reason]) -> Row:
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
    sender = submission.email or submission.name or str(submission.source)
    title = submission.subject[:MAX_TITLE_CHARACTERS] or "(no subject)"
    return entry_row(ticket_id, now, sender, "message_in", title, submission.text, data, submission.item_id)


def _assignment_entry(draft: NewTicket, staffing: Staffing, now: datetime) -> Row:
    owner = staffing.people.get(draft.assignment.staff_id or 0)
    title = f"Assigned to {owner.name}" if owner else "Unassigned"
    data = {"owner_id": draft.assignment.staff_id, "steps": [step.as_dict() for step in draft.assignment.steps]}
    return entry_row(draft.ticket_id, now, SYSTEM, "assignment", title, draft.assignment.reason.text, data)


def _telemedicine_entry(ticket_id: int, reason: Reason, now: datetime) -> Row:
    data = {"code": "task_raised", "reasons": [reason.as_dict()]}
    return entry_row(ticket_id, now, SYSTEM, "task", f"Task: {TELEMEDICINE_TASK_TITLE}", reason.text, data)


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
    rows += [_contact_row(draft.ticket_id, other.id, "participant", True) for draft in drafts for other in draft.participants]
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


def _telemedicine_task(draft: NewTicket, staffing: Staffing, settings: Settings, now: datetime) -> Row:
    assignee_id, team_id = routing.find_telemedicine_assignee(settings.routing, staffing)
    due_at = due_after(now, settings.calendar.task_days, settings.calendar)
    return follow_ups.task_row(
        f"telemedicine:{draft.ticket_id}",
        draft.ticket_id,
        "assist",
        TELEMEDICINE_TASK_TITLE,
        draft.telemedicine.text if draft.telemedicine else "",
        due_at,
        now,
        assignee_id=assignee_id,
        team_id=team_id,
    )


def _update_owners(session: Session, drafts: Sequence[NewTicket], staffing: Staffing) -> None:
    """Note when each owner last got a ticket, by which ties in routing are decided."""
    owners = sorted({draft.assignment.staff_id for draft in drafts if draft.assignment.staff_id is not None})
    rows = [{"id": owner, "last_assigned_at": staffing.people[owner].last_assigned_at} for owner in owners]
    update_all(session, Staff, rows)


def _facts(draft: NewTicket) -> Iterable[Fact]:
    silence = draft.submission.silence or (None if draft.contact and draft.contact.email else NO_ADDRESS)
    yield TicketCreated(draft.ticket_id, silence is None, silence.code if silence else "", silence.text if silence else "")
    if draft.assignment.staff_id is not None:
        yield TicketAssigned(draft.ticket_id, draft.assignment.staff_id, draft.activity_ids[1], draft.assignment.reason.text)
