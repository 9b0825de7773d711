"""Which ticket a submission belongs to (mail-rules.md, Which ticket). What is weaker than a rule here opens a new ticket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.matching import CompanyView, ContactView
from core.reasons import Reason
from core.sets import among
from tickets.intake_store import Draft
from tickets.models import Ticket, TicketContact, TicketThread
from tickets.numbers import number
from tickets.submission import Submission

THREAD = Reason("thread_known", "It belongs to a secure-message thread that has a ticket")


@dataclass(slots=True)
class Threads:
    """The tickets a batch may belong to: those on record, and those drafted earlier in the batch."""

    keys: dict[str, Draft | int] = field(default_factory=dict)
    companies: dict[int, int | None] = field(default_factory=dict)
    participants: dict[int, set[int]] = field(default_factory=dict)

    def find(
        self, submission: Submission, contact: ContactView | None, company: CompanyView | None
    ) -> tuple[Draft | int, Reason] | None:
        """The ticket a submission is added to, and why; None when it is a matter of its own. Pure.

        A reply to a mail of ours is added when its sender is one of the ticket's people; a secure message also when it
        comes from the ticket's company.
        """
        target = submission.replies_to
        if target is not None and contact is not None and contact.id in self.participants.get(target, ()):
            return target, Reason("reply_to_notice", f"It answers our mail about {number(target)}, from one of its people")
        thread = self.keys.get(submission.thread_key or "")
        if thread is not None and self._belongs(thread, contact, company):
            return thread, THREAD
        return None

    def remember(self, submission: Submission, draft: Draft) -> None:
        """A new ticket becomes the ticket of its thread, unless the thread has one already."""
        if submission.thread_key and submission.thread_key not in self.keys:
            self.keys[submission.thread_key] = draft
            draft.thread_key = submission.thread_key

    def _belongs(self, target: Draft | int, contact: ContactView | None, company: CompanyView | None) -> bool:
        if isinstance(target, Draft):
            same_company = company is not None and target.company is not None and target.company.id == company.id
            return same_company or (contact is not None and contact == target.contact)
        same_company = company is not None and self.companies.get(target) == company.id
        return same_company or (contact is not None and contact.id in self.participants.get(target, ()))


def load(session: Session, submissions: Sequence[Submission]) -> Threads:
    """The threads that ``submissions`` name, with the companies and people of their tickets."""
    threads = Threads()
    keys = {submission.thread_key for submission in submissions if submission.thread_key}
    if keys:
        known = session.execute(select(TicketThread.key, TicketThread.ticket_id).where(among(TicketThread.key, keys)))
        threads.keys = {key: ticket_id for key, ticket_id in known}  # noqa: C416 - rows are no pairs to mypy
    tickets = {ticket for ticket in threads.keys.values() if isinstance(ticket, int)}
    tickets |= {submission.replies_to for submission in submissions if submission.replies_to is not None}
    if tickets:
        companies = session.execute(select(Ticket.id, Ticket.company_id).where(among(Ticket.id, tickets)))
        threads.companies = {ticket_id: company_id for ticket_id, company_id in companies}  # noqa: C416
        people = select(TicketContact.ticket_id, TicketContact.contact_id).where(among(TicketContact.ticket_id, tickets))
        for ticket_id, contact_id in session.execute(people):
            threads.participants.setdefault(ticket_id, set()).add(contact_id)
    return threads
