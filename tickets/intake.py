"""Intake: a fold over a batch of submissions. Each decision sees the contacts, loads and threads of those before it.

Runs inside the caller's transaction: ticket, activity, owner, due times and facts exist together or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts import matching
from accounts.matching import Claim, CompanyView, ContactView, Directory
from accounts.public_domains import PUBLIC_DOMAINS
from core.reasons import Reason
from core.settings import Settings
from tickets import contacts, routing, staffing
from tickets.intake_store import Appended, Draft, store
from tickets.models import Ticket, TicketContact, TicketThread
from tickets.routing import Assignment, Matter, Staffing
from tickets.submission import Source, Submission

__all__ = ["Received", "claim_of", "receive"]


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
    directory: Directory
    staffing: Staffing
    nameless: dict[int, ContactView]
    threads: dict[str, Draft | int]
    companies_of: dict[int, int | None]
    participants: dict[int, set[int]]
    drafts: list[Draft] = field(default_factory=list)
    appends: list[Appended] = field(default_factory=list)


def receive(session: Session, submissions: Sequence[Submission], settings: Settings, now: datetime) -> list[Received]:
    """Turn submissions into tickets, or add them to theirs; answers in the order given."""
    if not submissions:
        return []
    claims = [claim_of(submission) for submission in submissions]
    others = [_claim_of_address(email) for submission in submissions for email in submission.contacts]
    directory = matching.load(session, [*claims, *others])
    nameless = contacts.ensure(session, directory, [*claims, *others], now)
    threads = _known_threads(session, submissions)
    existing = {ticket for ticket in threads.values() if isinstance(ticket, int)}
    batch = _Batch(
        settings,
        now,
        directory,
        staffing.load(session, now),
        nameless,
        threads,
        _companies_of(session, existing),
        _participants(session, existing),
    )
    results = [_take(batch, number, submission, claims[number]) for number, submission in enumerate(submissions)]
    store(session, batch.drafts, batch.appends, batch.staffing, settings, now)
    return [Received(draft.ticket_id, appended, reason) for draft, appended, reason in results]


def claim_of(submission: Submission) -> Claim:
    """What a submission says of its sender; a secure message names its practice on the software's authority."""
    return Claim(
        submission.email,
        submission.name,
        submission.phone,
        submission.company,
        submission.account_number,
        trusted=submission.source in (Source.SECURE_MESSAGE, Source.PHONE, Source.PORTAL),
    )


def _claim_of_address(email: str) -> Claim:
    return Claim(email, name="", phone="", company="", account_number="", trusted=False)


def _take(batch: _Batch, number: int, submission: Submission, claim: Claim) -> tuple[Draft | Appended, bool, Reason]:
    contact = batch.directory.contacts.get(submission.email or "") or batch.nameless.get(number)
    company, company_reason = batch.directory.company_of(claim, _public(batch.settings))
    appended = _append(batch, submission, contact, company)
    if appended is not None:
        return appended, True, Reason("thread_known", "It belongs to a secure-message thread that has a ticket")
    draft = _draft(batch, submission, contact, company, company_reason)
    batch.drafts.append(draft)
    if submission.thread_key and submission.thread_key not in batch.threads:
        batch.threads[submission.thread_key] = draft
        draft.thread_key = submission.thread_key
    reason = submission.reasons[-1] if submission.reasons else Reason("new_matter", "A new matter")
    return draft, False, reason


def _draft(
    batch: _Batch, submission: Submission, contact: ContactView | None, company: CompanyView | None, company_reason: Reason
) -> Draft:
    matter = Matter(
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
        batch.staffing.took(assignment.staff_id, batch.now)
    return Draft(
        submission=submission,
        contact=contact,
        company=company,
        company_reason=company_reason,
        assignment=assignment,
        telemedicine=routing.needs_telemedicine(matter, batch.settings.routing.telemedicine),
        others=[batch.directory.contacts[email] for email in submission.contacts],
    )


def _assign(batch: _Batch, submission: Submission, matter: Matter) -> Assignment:
    if submission.owner_email is not None:
        person = batch.staffing.by_email(submission.owner_email)
        if person is not None:
            return Assignment(person.id, (Reason("created_by_hand", f"{person.name} created the ticket by hand"),))
    return routing.assign(matter, batch.staffing, batch.settings.routing.rules, batch.now)


def _append(
    batch: _Batch, submission: Submission, contact: ContactView | None, company: CompanyView | None
) -> Appended | None:
    """The ticket of the submission's thread, if its sender is one of that ticket's people or of its company."""
    target = batch.threads.get(submission.thread_key or "")
    if target is None:
        return None
    if isinstance(target, Draft):
        same_company = company is not None and target.company is not None and target.company.id == company.id
        allowed = same_company or (contact is not None and contact == target.contact)
    else:
        same_company = company is not None and batch.companies_of.get(target) == company.id
        allowed = same_company or (contact is not None and contact.id in batch.participants.get(target, set()))
    if not allowed:
        return None
    appended = Appended(submission, contact, target)
    batch.appends.append(appended)
    return appended


def _known_threads(session: Session, submissions: Sequence[Submission]) -> dict[str, Draft | int]:
    keys = {submission.thread_key for submission in submissions if submission.thread_key}
    if not keys:
        return {}
    rows = session.execute(select(TicketThread.key, TicketThread.ticket_id).where(TicketThread.key.in_(keys)))
    return {key: ticket_id for key, ticket_id in rows}  # noqa: C416 - rows are no pairs to mypy


def _companies_of(session: Session, tickets: set[int]) -> dict[int, int | None]:
    if not tickets:
        return {}
    rows = session.execute(select(Ticket.id, Ticket.company_id).where(Ticket.id.in_(tickets)))
    return {ticket_id: company_id for ticket_id, company_id in rows}  # noqa: C416 - rows are no pairs to mypy


def _participants(session: Session, tickets: set[int]) -> dict[int, set[int]]:
    people: dict[int, set[int]] = {}
    if tickets:
        statement = select(TicketContact.ticket_id, TicketContact.contact_id).where(TicketContact.ticket_id.in_(tickets))
        for ticket_id, contact_id in session.execute(statement):
            people.setdefault(ticket_id, set()).add(contact_id)
    return people


def _public(settings: Settings) -> frozenset[str]:
    return PUBLIC_DOMAINS | frozenset(settings.routing.public_domains)
