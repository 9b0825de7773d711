"""Decide which ticket a submission belongs to (mail-rules.md, Which ticket). Evidence weaker than these rules opens a new one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.matching import CompanyView, ContactView
from core.database.in_lists import encode_list, in_list_parameter
from core.reasons import Reason
from core.settings import Settings
from tickets.intake_writer import NewLink, NewTicket
from tickets.models import Ticket, TicketContact, TicketThread
from tickets.numbers import format_number
from tickets.stages import COMPLETED, IN_PROGRESS
from tickets.submission import Submission

THREAD_KNOWN = Reason("thread_known", "It belongs to a secure-message thread that has a ticket")
MESSAGE_KNOWN = Reason("message_known", "It answers a mail of this ticket, from one of its people")
REPLY_TO_NOTICE = "reply_to_notice"
Target = NewTicket | int


@dataclass(frozen=True, slots=True)
class TicketView:
    """The columns of a ticket on which the decision depends."""

    id: int
    company_id: int | None
    stage: int
    completed_at: datetime | None
    merged_into: int | None


@dataclass(frozen=True, slots=True)
class ThreadMatch:
    """The decision: the ticket a submission is added to, why, and whether that reopens it; or the links of its new ticket.

    ``is_quiet``: the sender does not become one of the ticket's people.
    """

    target: Target | None = None
    reason: Reason | None = None
    reopens: bool = False
    is_quiet: bool = False
    links: tuple[NewLink, ...] = ()


@dataclass(slots=True)
class ThreadIndex:
    """The tickets a batch may belong to: those on record, and those that the batch has made so far."""

    colleagues_may_reply: bool = False
    reopen_since: datetime | None = None
    keys: dict[str, Target] = field(default_factory=dict)
    tickets: dict[int, TicketView] = field(default_factory=dict)
    participants: dict[int, set[int]] = field(default_factory=dict)

    def match(self, submission: Submission, contact: ContactView | None, company: CompanyView | None) -> ThreadMatch:
        """Return the first ticket, in the order of the rules, to which the submission may be added.

        Pure, but for a ticket that it reopens: the index remembers that for the rest of the batch.

        - A secure message is added to its thread when it comes from the ticket's company or one of its people.
        - A mail is added when its sender is one of the ticket's people and did not fail authentication.
        - An automatic reply to a mail of ours is added from any sender, because it often comes from an alias or a stand-in. It
          reopens no ticket, and its sender does not become one of the ticket's people.
        """
        thread = self._resolve_merged(self.keys.get(submission.thread_key or ""))
        if thread is not None and self._is_of_company_or_people(thread, contact, company):
            return self._append_to(thread, THREAD_KNOWN, submission)
        possible: tuple[Target, Reason] | None = None
        for target, reason in self._candidates(submission):
            if submission.verified is not False and self._may_add(target, submission, contact):
                return self._append_to(target, reason, submission)
            if submission.autoresponse and submission.verified is not False and reason.code == REPLY_TO_NOTICE:
                return ThreadMatch(target, _automatic_reply_reason(submission), is_quiet=True)
            possible = possible or (target, _rejection_reason(submission, reason))
        tagged = self._resolve_merged(submission.subject_tag)
        if possible is None and tagged is not None:
            possible = tagged, Reason("subject_tag", "Its subject names that ticket, which any sender can write")
        return ThreadMatch(links=() if possible is None else (NewLink(possible[0], "possible_match", possible[1]),))

    def remember(self, submission: Submission, target: Target) -> None:
        """Let the keys of a submission lead to its ticket from now on; a key that leads to a ticket already keeps it."""
        for key in (submission.thread_key, submission.message_key):
            if key and key not in self.keys:
                self.keys[key] = target

    def _candidates(self, submission: Submission) -> Iterator[tuple[Target, Reason]]:
        replied = self._resolve_merged(submission.replies_to)
        if replied is not None:
            name = format_number(submission.replies_to or 0)
            yield replied, Reason(REPLY_TO_NOTICE, f"It answers our mail about {name}, from one of its people")
        for key in submission.answers:
            known = self._resolve_merged(self.keys.get(key))
            if known is not None:
                yield known, MESSAGE_KNOWN
        quoted = self._resolve_merged(submission.quoted_ticket_id)
        if quoted is not None:
            yield (
                quoted,
                Reason("marker_line", f"Its text quotes our mail about {format_number(submission.quoted_ticket_id or 0)}"),
            )

    def _resolve_merged(self, target: Target | None) -> Target | None:
        """The ticket itself, the one it was merged into, or None for a ticket that does not exist."""
        if not isinstance(target, int):
            return target
        view = self.tickets.get(target)
        if view is not None and view.merged_into is not None:
            view = self.tickets.get(view.merged_into)
        return view.id if view else None

    def _may_add(self, target: Target, submission: Submission, contact: ContactView | None) -> bool:
        if contact is None:
            return False
        if isinstance(target, NewTicket):
            return contact == target.contact
        if contact.id in self.participants.get(target, ()):
            return True
        same_company = contact.company_id is not None and contact.company_id == self.tickets[target].company_id
        return self.colleagues_may_reply and submission.verified is True and same_company

    def _is_of_company_or_people(self, target: Target, contact: ContactView | None, company: CompanyView | None) -> bool:
        if isinstance(target, NewTicket):
            same_company = company is not None and target.company is not None and target.company.id == company.id
            return same_company or (contact is not None and contact == target.contact)
        same_company = company is not None and self.tickets[target].company_id == company.id
        return same_company or (contact is not None and contact.id in self.participants.get(target, ()))

    def _append_to(self, target: Target, reason: Reason, submission: Submission) -> ThreadMatch:
        """Add to an open ticket; a completed one is reopened, or linked from a new ticket when that was too long ago."""
        view = self.tickets[target] if isinstance(target, int) else None
        if view is None or view.stage != COMPLETED or submission.automatic or submission.thanks is not None:
            return ThreadMatch(target, reason)
        if self.reopen_since is not None and view.completed_at is not None and view.completed_at < self.reopen_since:
            late = Reason(
                "completed_long_ago", f"It answers {format_number(view.id)}, which was completed too long ago to be reopened"
            )
            return ThreadMatch(links=(NewLink(target, "follows", late),))
        self.tickets[view.id] = replace(view, stage=IN_PROGRESS)
        return ThreadMatch(target, reason, reopens=True)


def _automatic_reply_reason(submission: Submission) -> Reason:
    return Reason("automatic_reply", f"An automatic reply to our mail about {format_number(submission.replies_to or 0)}")


def _rejection_reason(submission: Submission, reason: Reason) -> Reason:
    """Why a ticket that a submission points to is only a possible duplicate."""
    if submission.verified is False:
        return Reason("sender_not_verified", "It points to that ticket, but its sender is not verified")
    text = "It points to that ticket, but its sender is not one of its people"
    return Reason("not_a_participant", text if reason.code != "marker_line" else f"{text} and may have the mail from a forward")


def load(session: Session, submissions: Sequence[Submission], settings: Settings, now: datetime) -> ThreadIndex:
    """Load the threads that ``submissions`` point to, with the companies and people of their tickets: a few queries a batch."""
    since = now - timedelta(days=settings.calendar.reopen_days)
    threads = ThreadIndex(settings.routing.colleagues_may_reply, since)
    keys = {key for submission in submissions for key in (submission.thread_key, *submission.answers) if key}
    if keys:
        known = session.connection().execute(_KEYS, {"values": encode_list(keys)})
        threads.keys = {key: ticket_id for key, ticket_id in known}  # noqa: C416 - rows are no pairs to mypy
    named = {
        one
        for submission in submissions
        for one in (submission.replies_to, submission.quoted_ticket_id, submission.subject_tag)
        if one
    }
    _load_tickets(session, threads, named | {one for one in threads.keys.values() if isinstance(one, int)})
    return threads


def _load_tickets(session: Session, threads: ThreadIndex, wanted: set[int]) -> None:
    connection = session.connection()
    while wanted:
        rows = connection.execute(_TICKETS, {"values": encode_list(wanted)})
        threads.tickets |= {row[0]: TicketView(*row) for row in rows}
        merged = {view.merged_into for view in threads.tickets.values() if view.merged_into is not None}
        wanted = merged - threads.tickets.keys()
    if threads.tickets:
        for ticket_id, contact_id in connection.execute(_PEOPLE, {"values": encode_list(threads.tickets)}):
            threads.participants.setdefault(ticket_id, set()).add(contact_id)


_KEYS = select(TicketThread.key, TicketThread.ticket_id).where(in_list_parameter(TicketThread.key))
_TICKETS = select(Ticket.id, Ticket.company_id, Ticket.stage, Ticket.completed_at, Ticket.merged_into)
_TICKETS = _TICKETS.where(in_list_parameter(Ticket.id))
_PEOPLE = select(TicketContact.ticket_id, TicketContact.contact_id).where(in_list_parameter(TicketContact.ticket_id))
