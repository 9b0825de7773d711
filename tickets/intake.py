"""Intake: turn a batch of submissions into tickets and messages, inside the caller's transaction.

Each decision sees the contacts, loads and threads of those before it in the batch. Ticket, activities, owner, due times and facts
are stored together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from accounts import matching
from accounts.matching import CompanyView, ContactView, SenderDirectory, SenderIdentity
from accounts.public_domains import PUBLIC_DOMAINS
from core.reasons import Reason
from core.settings import Settings
from tickets import contacts, forwards, routing, staffing, threads
from tickets.intake_writer import AppendedMessage, NewTicket, store, store_file_contents
from tickets.routing import Assignment, RoutingInput, Staffing
from tickets.sanitise import sanitise
from tickets.submission import Submission, TicketSource
from tickets.threads import ThreadIndex, ThreadMatch

__all__ = ["Received", "add", "identify_sender", "receive"]


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a submission: its ticket, and whether it was added to one that existed."""

    ticket_id: int
    appended: bool
    reason: Reason


@dataclass(slots=True)
class _BatchState:
    settings: Settings
    now: datetime
    directory: SenderDirectory
    staffing: Staffing
    contacts_without_address: dict[int, ContactView]
    threads: ThreadIndex
    drafts: list[NewTicket] = field(default_factory=list)
    appends: list[AppendedMessage] = field(default_factory=list)


def receive(session: Session, submissions: Sequence[Submission], settings: Settings, now: datetime) -> list[Received]:
    """Make tickets of submissions, or add them to theirs; return one result for each, in the order given.

    1. Replace forwards by staff with the original message, and sanitise what the database cannot store.
    2. Store the bytes of files, before rows are locked for which other batches wait.
    3. Load the senders' contacts and companies, and insert new contacts.
    4. Load threads, then staff, whose rows stay locked on PostgreSQL, so that two batches do not overload one person.
    5. Decide one submission after the other; nothing is written here.
    6. Store everything that was decided, in the order of :func:`tickets.intake_writer.store`.
    """
    if not submissions:
        return []
    submissions = [sanitise(submission) for submission in forwards.resolve_forwards(session, submissions)]
    store_file_contents(session, submissions, now)
    senders = [identify_sender(submission) for submission in submissions]
    participants = [_identify_address(email) for submission in submissions for email in submission.contacts]
    directory = matching.load(session, [*senders, *participants])
    without_address = contacts.ensure(session, directory, [*senders, *participants], _public_domains(settings), now)
    thread_index = threads.load(session, submissions, settings, now)
    batch = _BatchState(settings, now, directory, staffing.load(session, now), without_address, thread_index)
    results = [_decide(batch, position, submission, senders[position]) for position, submission in enumerate(submissions)]
    store(session, batch.drafts, batch.appends, batch.staffing, settings, now)
    return [Received(decided.ticket_id, appended, reason) for decided, appended, reason in results]


def add(session: Session, submissions: Sequence[Submission], settings: Settings, now: datetime) -> list[Received | None]:
    """Add submissions to the tickets they belong to; None for each that belongs to none. Makes no ticket and no contact."""
    submissions = [sanitise(submission) for submission in submissions]
    directory = matching.load(session, map(identify_sender, submissions))
    thread_index = threads.load(session, submissions, settings, now)
    added: list[AppendedMessage | None] = []
    for submission in submissions:
        contact = directory.contacts.get(submission.email or "")
        added.append(_append(submission, thread_index.match(submission, contact, None), contact))
    appends = [one for one in added if one is not None]
    store_file_contents(session, [one.submission for one in appends], now)
    store(session, [], appends, Staffing(), settings, now)
    return [None if one is None else Received(one.ticket_id, True, one.reason) for one in added]


def identify_sender(submission: Submission) -> SenderIdentity:
    """Return what a submission says of its sender; sources that only known software or staff can use are trusted."""
    return SenderIdentity(
        submission.email,
        submission.name,
        submission.phone,
        submission.company,
        submission.account_number,
        trusted=submission.source in (TicketSource.SECURE_MESSAGE, TicketSource.PHONE, TicketSource.PORTAL),
    )


def _identify_address(email: str) -> SenderIdentity:
    return SenderIdentity(email, name="", phone="", company="", account_number="", trusted=False)


def _decide(
    batch: _BatchState, position: int, submission: Submission, sender: SenderIdentity
) -> tuple[NewTicket | AppendedMessage, bool, Reason]:
    """Add the submission to its ticket, or draft a new one; and let later submissions of the batch find it."""
    contact = batch.directory.contacts.get(submission.email or "") or batch.contacts_without_address.get(position)
    company, company_reason = batch.directory.find_company(sender, _public_domains(batch.settings))
    match = batch.threads.match(submission, contact, company)
    appended = _append(submission, match, contact)
    if appended is not None:
        batch.appends.append(appended)
        batch.threads.remember(submission, appended.target)
        return appended, True, appended.reason
    draft = _draft(batch, submission, contact, company, company_reason)
    draft.links = match.links
    batch.drafts.append(draft)
    batch.threads.remember(submission, draft)
    reason = submission.reasons[-1] if submission.reasons else Reason("new_matter", "It belongs to no ticket")
    return draft, False, reason


def _append(submission: Submission, match: ThreadMatch, contact: ContactView | None) -> AppendedMessage | None:
    """The message for the ticket that was matched, if one was; its sender becomes one of the ticket's people."""
    if match.target is None or match.reason is None:
        return None
    return AppendedMessage(submission, None if match.is_quiet else contact, match.target, match.reason, match.reopens)


def _draft(
    batch: _BatchState, submission: Submission, contact: ContactView | None, company: CompanyView | None, company_reason: Reason
) -> NewTicket:
    routing_input = RoutingInput(
        source=submission.source,
        category=submission.category,
        text=f"{submission.subject}\n{submission.text}",
        sender_domain=matching.domain_of(submission.email),
        company_name=company.name if company else "",
        consultant_id=company.consultant_id if company else None,
        telemedicine=bool(company and company.telemedicine),
    )
    assignment = _assign(batch, submission, routing_input)
    if assignment.staff_id is not None:
        batch.staffing.count_assignment(assignment.staff_id, batch.now)
    return NewTicket(
        submission=submission,
        contact=contact,
        company=company,
        company_reason=company_reason,
        assignment=assignment,
        telemedicine=routing.find_telemedicine_reason(routing_input, batch.settings.routing.telemedicine),
        participants=[batch.directory.contacts[email] for email in submission.contacts],
    )


def _assign(batch: _BatchState, submission: Submission, routing_input: RoutingInput) -> Assignment:
    if submission.owner_email is not None:
        person = batch.staffing.find_by_email(submission.owner_email)
        if person is not None:
            return Assignment(person.id, (Reason("created_by_hand", f"{person.name} created the ticket by hand"),))
    return routing.assign(routing_input, batch.staffing, batch.settings.routing.rules, batch.now)


def _public_domains(settings: Settings) -> frozenset[str]:
    return PUBLIC_DOMAINS | frozenset(settings.routing.public_domains)
