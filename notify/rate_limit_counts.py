"""Never a cannon: how much automatic mail may go where (mail-rules.md), by counting what was tried lately."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, case, func, select, text
from sqlalchemy.orm import Session

from accounts.public_domains import PUBLIC_DOMAINS
from core.database.in_lists import among
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Notices
from notify.mailing_types import CREATED, list_staff_written
from notify.models import DELAYED_WHERE, Delivery
from tickets.models import Ticket

HOUR, DAY, TEN_MINUTES = timedelta(hours=1), timedelta(days=1), timedelta(minutes=10)
#: The shortest time a delayed mail waits before it asks again.
DELAY = timedelta(minutes=1)
#: A machine that answers back gets so many mails in an hour, and a person may write the same as often.
ANSWERS_IN_A_LOOP = 2
SILENT, LOOP = "ticket_silent", "loop_suspected"
#: What is counted and limited: mail to people outside that no person wrote.
AUTOMATIC = and_(Delivery.outside, Delivery.mailing.not_in(list_staff_written()))
_CHANGING = re.compile(r"\bBS-\d+|\[[^\]]{0,60}\]|#\s?\d+|^(?:\s*[^\W\d_]{2,10}\s?:)+", re.I)
DOMAIN_FULL = Reason("domain_limit", "The domain has had its share for this hour")
ALL_FULL = Reason("total_limit", "All automatic mail has had its share for this hour")


@dataclass(frozen=True, slots=True)
class Queue:
    """Mails that are delayed already: the first of them, and when it asks again."""

    first_id: int
    due_at: datetime


@dataclass(slots=True)
class Counts:
    """Automatic mails to people outside that were tried lately, and who waits for their turn.

    ``in_a_row`` are those of a ticket since a human wrote, at ``human_at``. ``subjects`` are those of the mails that are to be
    answered, ``answered`` of those that were, where an address has had enough answers to be a machine that answers back.
    """

    address_hour: Counter[str] = field(default_factory=Counter)
    address_day: Counter[str] = field(default_factory=Counter)
    ticket_ten_minutes: Counter[tuple[int, str]] = field(default_factory=Counter)
    domain_hour: Counter[str] = field(default_factory=Counter)
    in_a_row: Counter[int] = field(default_factory=Counter)
    human_at: dict[int, datetime | None] = field(default_factory=dict)
    subjects: dict[int, str] = field(default_factory=dict)
    answered: dict[str, list[str]] = field(default_factory=dict)
    total_hour: int = 0
    domain_since: dict[str, datetime] = field(default_factory=dict)
    total_since: datetime | None = None
    domain_queues: dict[str, Queue] = field(default_factory=dict)
    total_queue: Queue | None = None

    def add(self, ticket_id: int, recipient: str, domain: str) -> None:
        self.address_hour[recipient] += 1
        self.address_day[recipient] += 1
        self.ticket_ten_minutes[ticket_id, recipient] += 1
        self.domain_hour[domain] += 1
        self.total_hour += 1
        self.in_a_row[ticket_id] += 1
        if ticket_id in self.subjects:
            self.answered.setdefault(recipient, []).append(self.subjects[ticket_id])


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """Send now, skip for ever with a reason, or wait until a moment and ask again."""

    verdict: str
    reason: Reason | None = None
    until: datetime | None = None


SEND = RateLimitDecision("send")


def own_addresses(settings: Settings) -> frozenset[str]:
    """Addresses that are ours, whose mail would come back to us."""
    notices = settings.notices
    mailboxes = (mailbox.address for mailbox in settings.mailboxes.values())
    return frozenset({notices.from_address, notices.reply_to, *notices.own_addresses, *mailboxes}) - {""}


def refuse_address(recipient: str, own: Collection[str], suppressed: Collection[str]) -> RateLimitDecision | None:
    """The ruling for an address that gets no mail, else None. Pure."""
    if not recipient:
        return RateLimitDecision("skip", Reason("no_address", "The requester has no email address"))
    if recipient in suppressed:
        return RateLimitDecision(
            "skip", Reason("suppressed", "The address is blocked: mail to it came back, or it asked for none")
        )
    if recipient in own:
        return RateLimitDecision("skip", Reason("own_address", "The address is one of our own"))
    return None


def refuse_answer(recipient: str, domain: str, settings: Notices) -> RateLimitDecision | None:
    """The ruling for an address that is never answered by a machine, else None. Pure."""
    if recipient in settings.never_answer or domain in settings.never_answer:
        return RateLimitDecision("skip", Reason("never_answer", "The address is on the list of those never answered"))
    return None


def rule(
    delivery_id: int,
    ticket_id: int,
    recipient: str,
    domain: str,
    counts: Counts,
    settings: Notices,
    now: datetime,
) -> RateLimitDecision:
    """What the limits say of one more automatic mail to somebody outside. Pure."""
    if counts.in_a_row[ticket_id] >= settings.rows_in_silence:
        return RateLimitDecision(
            "skip", Reason(SILENT, f"{settings.rows_in_silence} automatic mails in a row and no human between them")
        )
    if answers_back(counts.subjects.get(ticket_id), counts.answered.get(recipient, ())):
        return RateLimitDecision(
            "skip", Reason(LOOP, "A machine seems to answer: the same mail comes back whenever one is answered")
        )
    if counts.ticket_ten_minutes[ticket_id, recipient] >= settings.per_ticket_ten_minutes:
        return RateLimitDecision("skip", Reason("ticket_limit", "Too many automatic mails for this ticket in ten minutes"))
    if counts.address_hour[recipient] >= settings.per_address_hour:
        return _enough(settings.per_address_hour, "an hour")
    if counts.address_day[recipient] >= settings.per_address_day:
        return _enough(settings.per_address_day, "a day")
    share = domain_share(domain, settings)
    if share and counts.domain_hour[domain] >= share:
        return _wait(DOMAIN_FULL, _an_hour_after(counts.domain_since.get(domain)), now)
    queue = counts.domain_queues.get(domain)
    if share and queue is not None and queue.first_id < delivery_id:
        return _wait(DOMAIN_FULL, queue.due_at, now)
    if settings.total_hour and counts.total_hour >= settings.total_hour:
        return _wait(ALL_FULL, _an_hour_after(counts.total_since), now)
    queue = counts.total_queue
    if settings.total_hour and queue is not None and queue.first_id < delivery_id:
        return _wait(ALL_FULL, queue.due_at, now)
    return SEND


def domain_share(domain: str, settings: Notices) -> int:
    """How many automatic mails a domain gets in an hour; 0 is no limit."""
    return settings.per_public_domain_hour if domain in PUBLIC_DOMAINS else settings.per_domain_hour


def answers_back(subject: str | None, answered: Sequence[str]) -> bool:
    """Whether a mail is one more of those that came back each time one was answered. Pure."""
    return subject is not None and len(answered) >= ANSWERS_IN_A_LOOP and answered[-1] == subject


def fold_subject(subject: str) -> str:
    """A subject without what machines change in it: numbers of cases, prefixes, space and case."""
    return " ".join(_CHANGING.sub(" ", subject).casefold().split())


def _an_hour_after(since: datetime | None) -> datetime | None:
    """When the first of those that were counted counts no longer."""
    return since and since + HOUR


def _wait(reason: Reason, opens: datetime | None, now: datetime) -> RateLimitDecision:
    """Until there is room, and at least :data:`DELAY`: who asks all the time is in everybody's way."""
    return RateLimitDecision("delay", reason, max(opens or now, now + DELAY))


def _enough(limit: int, span: str) -> RateLimitDecision:
    return RateLimitDecision("skip", Reason("address_limit", f"{limit} automatic mails {span} to one address are enough"))


def count(
    session: Session,
    recipients: Iterable[str],
    domains: Iterable[str],
    tickets: Iterable[int],
    settings: Notices,
    now: datetime,
) -> Counts:
    """The counts that a batch may need, in a few indexed queries.

    What has no limit is not counted: with a hundred thousand mails in an hour that would take longer than to send the batch.
    """
    counts = Counts()
    names = {domain for domain in domains if domain_share(domain, settings)}
    _count_addresses(session, counts, set(recipients), set(tickets), now)
    lately = (AUTOMATIC, Delivery.tried_at > now - HOUR)
    per_domain = _tally(Delivery.domain).where(*lately, among(Delivery.domain, names)).group_by(Delivery.domain)
    for name, total, since in session.execute(per_domain):
        counts.domain_hour[name], counts.domain_since[name] = total, since
    if settings.total_hour:
        counts.total_hour, counts.total_since = session.execute(_tally().where(*lately)).one()
    _find_queues(session, counts, names)
    return counts


def _tally(*columns: Any) -> Any:
    return select(*columns, func.count(), func.min(Delivery.tried_at))


def _count_addresses(session: Session, counts: Counts, recipients: set[str], tickets: set[int], now: datetime) -> None:
    for span, counter in ((HOUR, counts.address_hour), (DAY, counts.address_day)):
        statement = _tally(Delivery.recipient).where(AUTOMATIC, among(Delivery.recipient, recipients))
        for name, total, _ in session.execute(statement.where(Delivery.tried_at > now - span).group_by(Delivery.recipient)):
            counter[name] = total
    lately = Delivery.tried_at > now - TEN_MINUTES
    in_a_row = Delivery.tried_at > func.coalesce(Ticket.human_at, Ticket.created_at)
    key = Delivery.ticket_id, Delivery.recipient, Ticket.human_at
    per_ticket = select(*key, _count_where(lately), _count_where(in_a_row)).join(Ticket, Ticket.id == Delivery.ticket_id)
    tried = AUTOMATIC, among(Delivery.ticket_id, tickets), Delivery.tried_at.is_not(None)
    for ticket_id, recipient, human_at, recent, row in session.execute(per_ticket.where(*tried).group_by(*key)):
        counts.ticket_ten_minutes[ticket_id, recipient] = recent
        counts.in_a_row[ticket_id] += row
        counts.human_at[ticket_id] = human_at


def _count_where(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))


def load_subjects(session: Session, counts: Counts, waiting: Sequence[tuple[int, str]], now: datetime) -> None:
    """What is to be answered and what was, for addresses that get many answers in this hour; most batches have none.

    ``waiting`` are ticket and recipient of the creation notices in hand. Only mail can come back by itself.
    """
    expected = Counter(recipient for _, recipient in waiting)
    suspects = {one for one, more in expected.items() if counts.address_hour[one] + more > ANSWERS_IN_A_LOOP}
    if not suspects:
        return
    tickets = [ticket_id for ticket_id, recipient in waiting if recipient in suspects]
    names = select(Ticket.id, Ticket.name).where(among(Ticket.id, tickets), Ticket.source == "email")
    counts.subjects = {ticket_id: fold_subject(name) for ticket_id, name in session.execute(names)}
    earlier = select(Delivery.recipient, Ticket.name).join(Ticket, Ticket.id == Delivery.ticket_id)
    tried = among(Delivery.recipient, suspects), Delivery.mailing == CREATED, Delivery.tried_at > now - HOUR
    for recipient, name in session.execute(earlier.where(*tried).order_by(Delivery.tried_at, Delivery.id)):
        counts.answered.setdefault(recipient, []).append(fold_subject(name))


def _find_queues(session: Session, counts: Counts, domains: set[str]) -> None:
    first = (func.min(Delivery.id), func.min(Delivery.due_at))
    delayed = text(f"delivery.{DELAYED_WHERE}")
    per_domain = select(Delivery.domain, *first).where(delayed, Delivery.reason_code == DOMAIN_FULL.code)
    for name, first_id, due_at in session.execute(per_domain.where(among(Delivery.domain, domains)).group_by(Delivery.domain)):
        counts.domain_queues[name] = Queue(first_id, due_at)
    everything = select(*first).where(delayed, Delivery.reason_code == ALL_FULL.code)
    first_id, due_at = session.execute(everything).one()
    if first_id is not None:
        counts.total_queue = Queue(first_id, due_at)
