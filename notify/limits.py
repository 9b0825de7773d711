"""Never a cannon: how much automatic mail may go where (mail-rules.md), by counting what was tried lately."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from accounts.public_domains import PUBLIC_DOMAINS
from core.reasons import Reason
from core.sections import Notices
from notify.models import Delivery, Suppression

HOUR, DAY, TEN_MINUTES = timedelta(hours=1), timedelta(days=1), timedelta(minutes=10)
DELAY = timedelta(minutes=1)


@dataclass(slots=True)
class Counts:
    """Automatic mails to people outside that were tried lately."""

    address_hour: Counter[str] = field(default_factory=Counter)
    address_day: Counter[str] = field(default_factory=Counter)
    ticket_ten_minutes: Counter[tuple[int, str]] = field(default_factory=Counter)
    domain_hour: Counter[str] = field(default_factory=Counter)
    total_hour: int = 0

    def add(self, ticket_id: int, recipient: str, domain: str) -> None:
        self.address_hour[recipient] += 1
        self.address_day[recipient] += 1
        self.ticket_ten_minutes[ticket_id, recipient] += 1
        self.domain_hour[domain] += 1
        self.total_hour += 1


@dataclass(frozen=True, slots=True)
class Ruling:
    """Send now, skip for ever with a reason, or wait and ask again."""

    verdict: str
    reason: Reason | None = None


SEND = Ruling("send")


def rule(
    ticket_id: int, recipient: str, domain: str, counts: Counts, suppressed: Collection[str], settings: Notices
) -> Ruling:
    """What the limits say of one more automatic mail to somebody outside. Pure."""
    if not recipient:
        return Ruling("skip", Reason("no_address", "The requester has no email address"))
    if recipient in suppressed:
        return Ruling("skip", Reason("suppressed", "The address is blocked for automatic mail"))
    own = {settings.from_address, settings.reply_to, *settings.own_addresses}
    if recipient in own or recipient in settings.never_answer or domain in settings.never_answer:
        return Ruling("skip", Reason("never_answer", "The address is on the list of those never answered"))
    if counts.ticket_ten_minutes[ticket_id, recipient] >= settings.per_ticket_ten_minutes:
        return Ruling("skip", Reason("ticket_limit", "Too many automatic mails for this ticket in ten minutes"))
    if counts.address_hour[recipient] >= settings.per_address_hour:
        return _enough(settings.per_address_hour, "an hour")
    if counts.address_day[recipient] >= settings.per_address_day:
        return _enough(settings.per_address_day, "a day")
    public = domain in PUBLIC_DOMAINS
    if counts.domain_hour[domain] >= (settings.per_public_domain_hour if public else settings.per_domain_hour):
        return Ruling("delay", Reason("domain_limit", "The domain has had its share for this hour"))
    if counts.total_hour >= settings.total_hour:
        return Ruling("delay", Reason("total_limit", "All automatic mail has had its share for this hour"))
    return SEND


def _enough(limit: int, span: str) -> Ruling:
    return Ruling("skip", Reason("address_limit", f"{limit} automatic mails {span} to one address are enough"))


def count(session: Session, recipients: Iterable[str], domains: Iterable[str], tickets: Iterable[int], now: datetime) -> Counts:
    """The counts that a batch may need, in five indexed queries."""
    counts = Counts()
    recipients, domains, tickets = set(recipients), set(domains), set(tickets)
    by_address = (Delivery.outside, Delivery.recipient.in_(recipients))
    for span, counter in ((HOUR, counts.address_hour), (DAY, counts.address_day)):
        statement = select(Delivery.recipient, func.count()).where(*by_address, Delivery.tried_at > now - span)
        counter.update({name: total for name, total in session.execute(statement.group_by(Delivery.recipient))})  # noqa: C416
    per_ticket = select(Delivery.ticket_id, Delivery.recipient, func.count()).where(
        Delivery.outside, Delivery.ticket_id.in_(tickets), Delivery.tried_at > now - TEN_MINUTES
    )
    for ticket_id, recipient, total in session.execute(per_ticket.group_by(Delivery.ticket_id, Delivery.recipient)):
        counts.ticket_ten_minutes[ticket_id, recipient] = total
    per_domain = select(Delivery.domain, func.count()).where(
        Delivery.outside, Delivery.domain.in_(domains), Delivery.tried_at > now - HOUR
    )
    counts.domain_hour.update({name: total for name, total in session.execute(per_domain.group_by(Delivery.domain))})  # noqa: C416
    everything = select(func.count()).where(Delivery.outside, Delivery.tried_at > now - HOUR)
    counts.total_hour = session.execute(everything).scalar_one()
    return counts


def suppressed(session: Session, recipients: Iterable[str], now: datetime) -> set[str]:
    """Which of the addresses are blocked now."""
    statement = select(Suppression.address).where(
        Suppression.address.in_(set(recipients)), (Suppression.until.is_(None)) | (Suppression.until > now)
    )
    return set(session.execute(statement).scalars())
