"""Rate limits for automatic mail to customers: the counts of recent attempts, and the rules over them (mail-rules.md).

Loading the counts takes a few queries for a batch; the rules are pure functions of the counts and the settings.
"""

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
from core.database.in_lists import in_list
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Notices
from notify.mailing_types import CREATED, list_staff_written
from notify.models import DELAYED_WHERE, Delivery
from tickets.models import Ticket

HOUR, DAY, TEN_MINUTES = timedelta(hours=1), timedelta(days=1), timedelta(minutes=10)
#: A delayed mail waits at least this long before its limit is checked again.
MIN_DELAY = timedelta(minutes=1)
#: An auto-responder gets so many mails in an hour before the loop ends; a person may send the same subject as often.
MAX_LOOP_ANSWERS = 2
SILENT, LOOP = "ticket_silent", "loop_suspected"
#: What the limits count: mail to customers that no member of staff wrote.
IS_AUTOMATIC = and_(Delivery.outside, Delivery.mailing.not_in(list_staff_written()))
_VARIABLE_PARTS = re.compile(r"\bBS-\d+|\[[^\]]{0,60}\]|#\s?\d+|^(?:\s*[^\W\d_]{2,10}\s?:)+", re.I)
DOMAIN_LIMIT = Reason("domain_limit", "The hourly limit of automatic mails to this domain is reached; the mail waits")
TOTAL_LIMIT = Reason("total_limit", "The hourly limit of all automatic mails is reached; the mail waits")


@dataclass(frozen=True, slots=True)
class DelayedQueue:
    """The mails that a limit delays already: the id of the first, and when it is due again."""

    first_id: int
    due_at: datetime


@dataclass(slots=True)
class RateLimitCounts:
    """Automatic mails to customers that were tried recently, and the queues of those that a limit delays.

    ``in_a_row`` counts the mails of a ticket since the last message from a person, at ``human_at``. ``subjects`` are the
    normalised subjects of tickets whose creation notice is due; ``answered_subjects`` those that an address was answered
    for within the last hour. Both are loaded only for addresses that may be auto-responders. ``domain_since`` and
    ``total_since`` are the times of the oldest mail counted.
    """

    address_hour: Counter[str] = field(default_factory=Counter)
    address_day: Counter[str] = field(default_factory=Counter)
    ticket_ten_minutes: Counter[tuple[int, str]] = field(default_factory=Counter)
    domain_hour: Counter[str] = field(default_factory=Counter)
    in_a_row: Counter[int] = field(default_factory=Counter)
    human_at: dict[int, datetime | None] = field(default_factory=dict)
    subjects: dict[int, str] = field(default_factory=dict)
    answered_subjects: dict[str, list[str]] = field(default_factory=dict)
    total_hour: int = 0
    domain_since: dict[str, datetime] = field(default_factory=dict)
    total_since: datetime | None = None
    domain_queues: dict[str, DelayedQueue] = field(default_factory=dict)
    total_queue: DelayedQueue | None = None

    def add(self, ticket_id: int, recipient: str, domain: str) -> None:
        """Count one more mail that is about to be sent."""
        self.address_hour[recipient] += 1
        self.address_day[recipient] += 1
        self.ticket_ten_minutes[ticket_id, recipient] += 1
        self.domain_hour[domain] += 1
        self.total_hour += 1
        self.in_a_row[ticket_id] += 1
        if ticket_id in self.subjects:
            self.answered_subjects.setdefault(recipient, []).append(self.subjects[ticket_id])


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """What happens to a mail: ``action`` is send, skip (final, with a reason) or delay (until a moment)."""

    action: str
    reason: Reason | None = None
    until: datetime | None = None


SEND = RateLimitDecision("send")


def own_addresses(settings: Settings) -> frozenset[str]:
    """Return the addresses whose mail comes back to casemill."""
    notices = settings.notices
    mailboxes = (mailbox.address for mailbox in settings.mailboxes.values())
    return frozenset({notices.from_address, notices.reply_to, *notices.own_addresses, *mailboxes}) - {""}


def check_address(recipient: str, own: Collection[str], suppressed: Collection[str]) -> RateLimitDecision | None:
    """Return the decision for an address that gets no mail at all, otherwise None. Pure."""
    if not recipient:
        return _skip("no_address", "The requester has no email address")
    if recipient in suppressed:
        return _skip("suppressed", "The address is blocked: an earlier mail came back, or the recipient asked for no mail")
    if recipient in own:
        return _skip("own_address", "The address is one of our own")
    return None


def check_never_answer(recipient: str, domain: str, settings: Notices) -> RateLimitDecision | None:
    """Return the decision for an address or domain on the ``never_answer`` list, otherwise None. Pure."""
    if recipient in settings.never_answer or domain in settings.never_answer:
        return _skip("never_answer", "The address is on the list of addresses that get no automatic mail")
    return None


def decide(
    delivery_id: int,
    ticket_id: int,
    recipient: str,
    domain: str,
    counts: RateLimitCounts,
    settings: Notices,
    now: datetime,
) -> RateLimitDecision:
    """Return what the limits allow for one more automatic mail to a customer. Pure.

    Limits of a ticket or an address skip the mail. Limits of a domain and of all mail delay it, in the order of the
    delivery ids.
    """
    if counts.in_a_row[ticket_id] >= settings.rows_in_silence:
        return _skip(SILENT, f"{settings.rows_in_silence} automatic mails in a row without a message from a person between them")
    if is_loop(counts.subjects.get(ticket_id), counts.answered_subjects.get(recipient, ())):
        return _skip(LOOP, "An auto-responder seems to answer: the same mail comes back after each of ours")
    if counts.ticket_ten_minutes[ticket_id, recipient] >= settings.per_ticket_ten_minutes:
        return _skip("ticket_limit", "Too many automatic mails for this ticket in ten minutes")
    if counts.address_hour[recipient] >= settings.per_address_hour:
        return _skip_address(settings.per_address_hour, "an hour")
    if counts.address_day[recipient] >= settings.per_address_day:
        return _skip_address(settings.per_address_day, "a day")
    limit = hourly_domain_limit(domain, settings)
    if limit and counts.domain_hour[domain] >= limit:
        return _delay(DOMAIN_LIMIT, _one_hour_after(counts.domain_since.get(domain)), now)
    queue = counts.domain_queues.get(domain)
    if limit and queue is not None and queue.first_id < delivery_id:
        return _delay(DOMAIN_LIMIT, queue.due_at, now)
    if settings.total_hour and counts.total_hour >= settings.total_hour:
        return _delay(TOTAL_LIMIT, _one_hour_after(counts.total_since), now)
    queue = counts.total_queue
    if settings.total_hour and queue is not None and queue.first_id < delivery_id:
        return _delay(TOTAL_LIMIT, queue.due_at, now)
    return SEND


def hourly_domain_limit(domain: str, settings: Notices) -> int:
    """Return how many automatic mails a domain may get in an hour; 0 is no limit."""
    return settings.per_public_domain_hour if domain in PUBLIC_DOMAINS else settings.per_domain_hour


def is_loop(subject: str | None, answered_subjects: Sequence[str]) -> bool:
    """Return whether a mail repeats the subject that was answered last, after enough answers to be a loop. Pure."""
    return subject is not None and len(answered_subjects) >= MAX_LOOP_ANSWERS and answered_subjects[-1] == subject


def normalise_subject(subject: str) -> str:
    """Return a subject without what programs change in it: case numbers, prefixes, spacing and letter case."""
    return " ".join(_VARIABLE_PARTS.sub(" ", subject).casefold().split())


def _skip(code: str, sentence: str) -> RateLimitDecision:
    return RateLimitDecision("skip", Reason(code, sentence))


def _skip_address(limit: int, period: str) -> RateLimitDecision:
    return _skip("address_limit", f"The limit of {limit} automatic mails {period} to one address is reached")


def _one_hour_after(since: datetime | None) -> datetime | None:
    """Return when the oldest mail counted is no longer within the hour."""
    return since and since + HOUR


def _delay(reason: Reason, free_at: datetime | None, now: datetime) -> RateLimitDecision:
    # At least MIN_DELAY: a delayed mail that is checked all the time takes its place in every batch.
    return RateLimitDecision("delay", reason, max(free_at or now, now + MIN_DELAY))


def load_counts(
    session: Session,
    recipients: Iterable[str],
    domains: Iterable[str],
    tickets: Iterable[int],
    settings: Notices,
    now: datetime,
) -> RateLimitCounts:
    """Return the counts that a batch may need, from a few indexed queries.

    What has no limit is not counted: with a hundred thousand mails in an hour, counting takes longer than sending.
    """
    counts = RateLimitCounts()
    limited_domains = {domain for domain in domains if hourly_domain_limit(domain, settings)}
    _count_addresses(session, counts, set(recipients), set(tickets), now)
    last_hour = (IS_AUTOMATIC, Delivery.tried_at > now - HOUR)
    in_domains = _select_counts(Delivery.domain).where(*last_hour, in_list(Delivery.domain, limited_domains))
    for domain, total, since in session.execute(in_domains.group_by(Delivery.domain)):
        counts.domain_hour[domain], counts.domain_since[domain] = total, since
    if settings.total_hour:
        counts.total_hour, counts.total_since = session.execute(_select_counts().where(*last_hour)).one()
    _load_delayed_queues(session, counts, limited_domains)
    return counts


def load_subjects(session: Session, counts: RateLimitCounts, due: Sequence[tuple[int, str]], now: datetime) -> None:
    """Load into ``counts`` the subjects that :func:`is_loop` compares, for addresses with many answers in the last hour.

    ``due`` are ticket and recipient of the creation notices in the batch. Most batches have no such address. Only tickets
    from email count, since no other source answers by itself.
    """
    expected = Counter(recipient for _, recipient in due)
    suspects = {one for one, more in expected.items() if counts.address_hour[one] + more > MAX_LOOP_ANSWERS}
    if not suspects:
        return
    tickets = [ticket_id for ticket_id, recipient in due if recipient in suspects]
    names = select(Ticket.id, Ticket.name).where(in_list(Ticket.id, tickets), Ticket.source == "email")
    counts.subjects = {ticket_id: normalise_subject(name) for ticket_id, name in session.execute(names)}
    earlier = select(Delivery.recipient, Ticket.name).join(Ticket, Ticket.id == Delivery.ticket_id)
    tried = in_list(Delivery.recipient, suspects), Delivery.mailing == CREATED, Delivery.tried_at > now - HOUR
    for recipient, name in session.execute(earlier.where(*tried).order_by(Delivery.tried_at, Delivery.id)):
        counts.answered_subjects.setdefault(recipient, []).append(normalise_subject(name))


def _select_counts(*columns: Any) -> Any:
    return select(*columns, func.count(), func.min(Delivery.tried_at))


def _count_addresses(session: Session, counts: RateLimitCounts, recipients: set[str], tickets: set[int], now: datetime) -> None:
    for period, counter in ((HOUR, counts.address_hour), (DAY, counts.address_day)):
        statement = _select_counts(Delivery.recipient).where(IS_AUTOMATIC, in_list(Delivery.recipient, recipients))
        recent = statement.where(Delivery.tried_at > now - period).group_by(Delivery.recipient)
        for recipient, total, _ in session.execute(recent):
            counter[recipient] = total
    in_ten_minutes = Delivery.tried_at > now - TEN_MINUTES
    in_a_row = Delivery.tried_at > func.coalesce(Ticket.human_at, Ticket.created_at)
    key = Delivery.ticket_id, Delivery.recipient, Ticket.human_at
    per_ticket = select(*key, _count_where(in_ten_minutes), _count_where(in_a_row))
    per_ticket = per_ticket.join(Ticket, Ticket.id == Delivery.ticket_id)
    tried = IS_AUTOMATIC, in_list(Delivery.ticket_id, tickets), Delivery.tried_at.is_not(None)
    for ticket_id, recipient, human_at, recent_count, row_count in session.execute(per_ticket.where(*tried).group_by(*key)):
        counts.ticket_ten_minutes[ticket_id, recipient] = recent_count
        counts.in_a_row[ticket_id] += row_count
        counts.human_at[ticket_id] = human_at


def _count_where(condition: Any) -> Any:
    return func.sum(case((condition, 1), else_=0))


def _load_delayed_queues(session: Session, counts: RateLimitCounts, domains: set[str]) -> None:
    first = (func.min(Delivery.id), func.min(Delivery.due_at))
    delayed = text(f"delivery.{DELAYED_WHERE}")
    per_domain = select(Delivery.domain, *first).where(delayed, Delivery.reason_code == DOMAIN_LIMIT.code)
    in_domains = per_domain.where(in_list(Delivery.domain, domains)).group_by(Delivery.domain)
    for domain, first_id, due_at in session.execute(in_domains):
        counts.domain_queues[domain] = DelayedQueue(first_id, due_at)
    everything = select(*first).where(delayed, Delivery.reason_code == TOTAL_LIMIT.code)
    first_id, due_at = session.execute(everything).one()
    if first_id is not None:
        counts.total_queue = DelayedQueue(first_id, due_at)
