"""Which ticket a submission belongs to (mail-rules.md, Which ticket). What is weaker than a rule here opens a new ticket."""

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

THREAD = Reason("thread_known", "It belongs to a secure-message thread that has a ticket")
MESSAGE = Reason("message_known", "It answers a mail of this ticket, from one of its people")
REPLIED = "reply_to_notice"
Target = NewTicket | int


@dataclass(frozen=True, slots=True)
class TicketView:
    """A ticket as the decision sees it."""

    id: int
    company_id: int | None
    stage: int
    completed_at: datetime | None
    merged_into: int | None


@dataclass(frozen=True, slots=True)
class ThreadMatch:
    """The decision: the ticket a submission is added to and why, whether that opens it again; or what its own is linked to.

    ``is_quiet``: its sender does not become one of the ticket's people.
    """

    target: Target | None = None
    reason: Reason | None = None
    reopens: bool = False
    is_quiet: bool = False
    links: tuple[NewLink, ...] = ()


@dataclass(slots=True)
class ThreadIndex:
    """The tickets a batch may belong to: those on record, and those drafted earlier in the batch."""

    colleagues_may_reply: bool = False
    reopen_since: datetime | None = None
    keys: dict[str, Target] = field(default_factory=dict)
    tickets: dict[int, TicketView] = field(default_factory=dict)
    participants: dict[int, set[int]] = field(default_factory=dict)

    def match(self, submission: Submission, contact: ContactView | None, company: CompanyView | None) -> ThreadMatch:
        """The first ticket in the order of the rules that it may be added to. Pure, but for a ticket that it opens again.

        A mail is added when its sender is one of the ticket's people and not known to be somebody else; a secure message
        also when it comes from the ticket's company, and what a machine answers to a mail of ours whoever it speaks for: an
        alias or a stand-in, as often as not. Such an answer opens nothing and lets nobody in.
        """
        thread = self._living(self.keys.get(submission.thread_key or ""))
        if thread is not None and self._belongs(thread, contact, company):
            return self._added(thread, THREAD, submission)
        possible: tuple[Target, Reason] | None = None
        for target, reason in self._candidates(submission):
            if submission.verified is not False and self._may_add(target, submission, contact):
                return self._added(target, reason, submission)
            if submission.autoresponse and submission.verified is not False and reason.code == REPLIED:
                return ThreadMatch(target, _by_a_machine(submission), is_quiet=True)
            possible = possible or (target, _weaker(submission, reason))
        hinted = self._living(submission.subject_tag)
        if possible is None and hinted is not None:
            possible = hinted, Reason("subject_tag", "Its subject names that ticket, which anybody can write")
        return ThreadMatch(links=() if possible is None else (NewLink(possible[0], "possible_match", possible[1]),))

    def remember(self, submission: Submission, target: Target) -> None:
        """Its keys lead to its ticket from now on, unless they lead to one already."""
        for key in (submission.thread_key, submission.message_key):
            if key and key not in self.keys:
                self.keys[key] = target

    def _candidates(self, submission: Submission) -> Iterator[tuple[Target, Reason]]:
        replied = self._living(submission.replies_to)
        if replied is not None:
            name = format_number(submission.replies_to or 0)
            yield replied, Reason(REPLIED, f"It answers our mail about {name}, from one of its people")
        for key in submission.answers:
            known = self._living(self.keys.get(key))
            if known is not None:
                yield known, MESSAGE
        marked = self._living(submission.marker)
        if marked is not None:
            yield marked, Reason("marker_line", f"Its text quotes our mail about {format_number(submission.marker or 0)}")

    def _living(self, target: Target | None) -> Target | None:
        """The ticket that stands for ``target`` now: itself, the one it was merged into, or none when it is gone."""
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

    def _belongs(self, target: Target, contact: ContactView | None, company: CompanyView | None) -> bool:
        if isinstance(target, NewTicket):
            same_company = company is not None and target.company is not None and target.company.id == company.id
            return same_company or (contact is not None and contact == target.contact)
        same_company = company is not None and self.tickets[target].company_id == company.id
        return same_company or (contact is not None and contact.id in self.participants.get(target, ()))

    def _added(self, target: Target, reason: Reason, submission: Submission) -> ThreadMatch:
        """Added to an open ticket as it is; a completed one is opened again, or is too old for that."""
        view = self.tickets[target] if isinstance(target, int) else None
        if view is None or view.stage != COMPLETED or submission.automatic or submission.thanks is not None:
            return ThreadMatch(target, reason)
        if self.reopen_since is not None and view.completed_at is not None and view.completed_at < self.reopen_since:
            late = Reason("completed_long_ago", f"It answers {format_number(view.id)}, which was completed too long ago to go on")
            return ThreadMatch(links=(NewLink(target, "follows", late),))
        self.tickets[view.id] = replace(view, stage=IN_PROGRESS)
        return ThreadMatch(target, reason, reopens=True)


def _by_a_machine(submission: Submission) -> Reason:
    return Reason("automatic_reply", f"A machine answers our mail about {format_number(submission.replies_to or 0)}")


def _weaker(submission: Submission, reason: Reason) -> Reason:
    """Why a ticket that a submission points to is only a possible one."""
    if submission.verified is False:
        return Reason("sender_not_verified", "It points to that ticket, but nobody vouches for its sender")
    text = "It points to that ticket, but its sender is not one of its people"
    return Reason("not_a_participant", text if reason.code != "marker_line" else f"{text} and may have got it forwarded")


def load(session: Session, submissions: Sequence[Submission], settings: Settings, now: datetime) -> ThreadIndex:
    """The threads that ``submissions`` point to, with the companies and people of their tickets; a few queries a batch."""
    since = now - timedelta(days=settings.calendar.reopen_days)
    threads = ThreadIndex(settings.routing.colleagues_may_reply, since)
    keys = {key for submission in submissions for key in (submission.thread_key, *submission.answers) if key}
    if keys:
        known = session.connection().execute(_KEYS, {"listed": encode_list(keys)})
        threads.keys = {key: ticket_id for key, ticket_id in known}  # noqa: C416 - rows are no pairs to mypy
    named = {
        one for submission in submissions for one in (submission.replies_to, submission.marker, submission.subject_tag) if one
    }
    _load_tickets(session, threads, named | {one for one in threads.keys.values() if isinstance(one, int)})
    return threads


def _load_tickets(session: Session, threads: ThreadIndex, wanted: set[int]) -> None:
    connection = session.connection()
    while wanted:
        rows = connection.execute(_TICKETS, {"listed": encode_list(wanted)})
        threads.tickets |= {row[0]: TicketView(*row) for row in rows}
        merged = {view.merged_into for view in threads.tickets.values() if view.merged_into is not None}
        wanted = merged - threads.tickets.keys()
    if threads.tickets:
        for ticket_id, contact_id in connection.execute(_PEOPLE, {"listed": encode_list(threads.tickets)}):
            threads.participants.setdefault(ticket_id, set()).add(contact_id)


_KEYS = select(TicketThread.key, TicketThread.ticket_id).where(in_list_parameter(TicketThread.key))
_TICKETS = select(Ticket.id, Ticket.company_id, Ticket.stage, Ticket.completed_at, Ticket.merged_into)
_TICKETS = _TICKETS.where(in_list_parameter(Ticket.id))
_PEOPLE = select(TicketContact.ticket_id, TicketContact.contact_id).where(in_list_parameter(TicketContact.ticket_id))
