"""Intake: a fold over a batch of submissions. Each decision sees the contacts, loads and threads of those before it.

Runs inside the caller's transaction: ticket, activity, owner, due times and facts exist together or not at all.
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
    """What became of a submission: its ticket, and whether it was added to one that was there."""

    ticket_id: int
    appended: bool
    reason: Reason


@dataclass(slots=True)
class _Batch:
    settings: Settings
    now: datetime
    directory: SenderDirectory
    staffing: Staffing
    nameless: dict[int, ContactView]
    threads: ThreadIndex
    drafts: list[NewTicket] = field(default_factory=list)
    appends: list[AppendedMessage] = field(default_factory=list)


def receive(session: Session, submissions: Sequence[Submission], settings: Settings, now: datetime) -> list[Received]:
    """Turn submissions into tickets, or add them to theirs; answers in the order given."""
    if not submissions:
        return []
    submissions = [sanitise(submission) for submission in forwards.resolve_forwards(session, submissions)]
    # Before the rows of contacts and staff are held, for which other batches wait.
    store_file_contents(session, submissions, now)
    claims = [identify_sender(submission) for submission in submissions]
    others = [_claim_of_address(email) for submission in submissions for email in submission.contacts]
    directory = matching.load(session, [*claims, *others])
    nameless = contacts.ensure(session, directory, [*claims, *others], _public(settings), now)
    known = threads.load(session, submissions, settings, now)
    batch = _Batch(settings, now, directory, staffing.load(session, now), nameless, known)
    results = [_take(batch, number, submission, claims[number]) for number, submission in enumerate(submissions)]
    store(session, batch.drafts, batch.appends, batch.staffing, settings, now)
    return [Received(draft.ticket_id, appended, reason) for draft, appended, reason in results]


def add(session: Session, submissions: Sequence[Submission], settings: Settings, now: datetime) -> list[Received | None]:
    """Add submissions to the tickets they belong to; None for each that belongs to none. Makes no ticket and no contact."""
    submissions = [sanitise(submission) for submission in submissions]
    directory = matching.load(session, map(identify_sender, submissions))
    known = threads.load(session, submissions, settings, now)
    added: list[AppendedMessage | None] = []
    for submission in submissions:
        contact = directory.contacts.get(submission.email or "")
        added.append(_append(submission, known.match(submission, contact, None), contact))
    joined = [one for one in added if one is not None]
    store_file_contents(session, [one.submission for one in joined], now)
    store(session, [], joined, Staffing(), settings, now)
    return [None if one is None else Received(one.ticket_id, True, one.reason) for one in added]


def identify_sender(submission: Submission) -> SenderIdentity:
    """What a submission says of its sender; a secure message names its practice on the software's authority."""
    return SenderIdentity(
        submission.email,
        submission.name,
        submission.phone,
        submission.company,
        submission.account_number,
        trusted=submission.source in (TicketSource.SECURE_MESSAGE, TicketSource.PHONE, TicketSource.PORTAL),
    )


def _claim_of_address(email: str) -> SenderIdentity:
    return SenderIdentity(email, name="", phone="", company="", account_number="", trusted=False)


def _take(
    batch: _Batch, number: int, submission: Submission, claim: SenderIdentity
) -> tuple[NewTicket | AppendedMessage, bool, Reason]:
    contact = batch.directory.contacts.get(submission.email or "") or batch.nameless.get(number)
    company, company_reason = batch.directory.find_company(claim, _public(batch.settings))
    found = batch.threads.match(submission, contact, company)
    appended = _append(submission, found, contact)
    if appended is not None:
        batch.appends.append(appended)
        batch.threads.remember(submission, appended.target)
        return appended, True, appended.reason
    draft = _draft(batch, submission, contact, company, company_reason)
    draft.links = found.links
    batch.drafts.append(draft)
    batch.threads.remember(submission, draft)
    reason = submission.reasons[-1] if submission.reasons else Reason("new_matter", "A new matter")
    return draft, False, reason


def _append(submission: Submission, found: ThreadMatch, contact: ContactView | None) -> AppendedMessage | None:
    """What is added to the ticket that was found, if one was; its sender is one of the ticket's people from then on."""
    if found.target is None or found.reason is None:
        return None
    return AppendedMessage(submission, None if found.is_quiet else contact, found.target, found.reason, found.reopens)


def _draft(
    batch: _Batch, submission: Submission, contact: ContactView | None, company: CompanyView | None, company_reason: Reason
) -> NewTicket:
    matter = RoutingInput(
        source=submission.source,
        category=submission.category,
        text=f"{submission.subject}\n{submission.text}",
        sender_domain=matching.domain_of(submission.email),
        company_name=company.name if company else "",
        consultant_id=company.consultant_id if company else None,
        telemedicine=bool(company and company.telemedicine),
    )
    assignment = _assign(batch, submission, matter)
    if assignment.staff_id is not None:
        batch.staffing.count_assignment(assignment.staff_id, batch.now)
    return NewTicket(
        submission=submission,
        contact=contact,
        company=company,
        company_reason=company_reason,
        assignment=assignment,
        telemedicine=routing.find_telemedicine_reason(matter, batch.settings.routing.telemedicine),
        others=[batch.directory.contacts[email] for email in submission.contacts],
    )


def _assign(batch: _Batch, submission: Submission, matter: RoutingInput) -> Assignment:
    if submission.owner_email is not None:
        person = batch.staffing.find_by_email(submission.owner_email)
        if person is not None:
            return Assignment(person.id, (Reason("created_by_hand", f"{person.name} created the ticket by hand"),))
    return routing.assign(matter, batch.staffing, batch.settings.routing.rules, batch.now)


def _public(settings: Settings) -> frozenset[str]:
    return PUBLIC_DOMAINS | frozenset(settings.routing.public_domains)
