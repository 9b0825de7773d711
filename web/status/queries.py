"""What the front page, the readiness check and the metrics read of the database. No text of a message is among it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import ColumnElement, Select, TextClause, and_, func, select, text
from sqlalchemy.orm import Session

from accounts.models import Company, Staff
from core.findings import Finding
from ingest.ledger.models import InboundItem, MailboxCursor
from notify.models import DUE_WHERE, HELD_WHERE, Delivery
from outbox.models import OutboxFact
from surveys.queries import SurveyTotals, read_survey_totals
from tickets.models import Ticket
from tickets.numbers import number
from tickets.stages import STAGE_NAMES

#: Judges the invariants of the house in a session that reads; ``ops`` does it, and is handed in.
Judge = Callable[[Session], Sequence[Finding]]
HOURS = 24
LAST_TICKETS = 20
#: The very conditions of the partial indexes: with a parameter for the word PostgreSQL's generic plans could not use them.
WAITING, CLAIMED = "state = 'waiting'", "state = 'claimed'"


@dataclass(frozen=True, slots=True)
class MailboxHealth:
    """When a mailbox was last looked into without an error, and how many errors in a row there have been since."""

    name: str
    checked_at: datetime | None
    errors: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Totals:
    """All rows by state. ``due_since`` holds, by queue, since when the longest overdue row has been due; None: nothing is."""

    states: dict[str, int]
    dispositions: dict[str, int]
    tickets: dict[tuple[int, str], int]
    deliveries: dict[str, int]
    due_since: dict[str, datetime | None]
    mailboxes: list[MailboxHealth]
    surveys: SurveyTotals


@dataclass(frozen=True, slots=True)
class TicketLine:
    """One line of the list of last tickets."""

    number: str
    source: str
    stage: int
    stage_name: str
    owner: str | None
    company: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Inflow:
    """One source's items of the last 24 hours; ``disposition`` is None while they wait."""

    source: str
    disposition: str | None
    count: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the front page shows. ``hours`` counts arrivals, the oldest of the last 24 hours first."""

    inflow: list[Inflow]
    hours: list[int]
    waiting: int
    quarantined: int
    notices: dict[str, int]
    open_tickets: int
    unassigned: int
    tickets: list[TicketLine]
    mailboxes: list[MailboxHealth]
    items_ever: bool


def probe(session: Session) -> None:
    """Touch the ledger; raises the database's own error when it is away or its tables are missing."""
    session.execute(select(InboundItem.id).limit(1))


def read_totals(session: Session, now: datetime) -> Totals:
    """Counts of everything by state; index scans only."""
    settled_as = select(InboundItem.disposition, func.count()).where(InboundItem.disposition.is_not(None))
    dispositions = _count_by(session, settled_as.group_by(InboundItem.disposition))
    waiting = _count(session, text(WAITING))
    claimed = _count(session, text(CLAIMED))
    settled = sum(count for word, count in dispositions.items() if word != "failed")
    stages = session.execute(select(Ticket.stage, Ticket.source, func.count()).group_by(Ticket.stage, Ticket.source))
    return Totals(
        states={"waiting": waiting, "claimed": claimed, "settled": settled},
        dispositions=dispositions,
        tickets={(stage, source): count for stage, source, count in stages},
        deliveries=_count_by(session, select(Delivery.state, func.count()).group_by(Delivery.state)),
        due_since=_due_since(session, now),
        mailboxes=read_mailboxes(session),
        surveys=read_survey_totals(session),
    )


def read_mailboxes(session: Session) -> list[MailboxHealth]:
    """The state of every mailbox that was ever watched."""
    rows = session.execute(select(MailboxCursor).order_by(MailboxCursor.mailbox)).scalars()
    return [MailboxHealth(row.mailbox, row.checked_at, row.errors, row.error) for row in rows]


def read_overview(session: Session, now: datetime) -> Overview:
    """The front page's figures as of ``now``."""
    since = now - timedelta(hours=HOURS)
    recent = select(InboundItem.source, InboundItem.disposition, func.count()).where(InboundItem.received_at > since)
    inflow = session.execute(recent.group_by(InboundItem.source, InboundItem.disposition))
    notices = select(Delivery.state, func.count()).where(Delivery.created_at > since).group_by(Delivery.state)
    return Overview(
        inflow=[Inflow(source, disposition, count) for source, disposition, count in inflow],
        hours=_count_hours(session, now),
        waiting=_count(session, text(WAITING)) + _count(session, text(CLAIMED)),
        quarantined=_count(session, InboundItem.disposition == "quarantined"),
        notices=_count_by(session, notices),
        open_tickets=_count_tickets(session, Ticket.stage < max(STAGE_NAMES)),
        unassigned=_count_tickets(session, and_(Ticket.owner_id.is_(None), Ticket.stage < max(STAGE_NAMES))),
        tickets=_last_tickets(session),
        mailboxes=read_mailboxes(session),
        items_ever=session.execute(select(InboundItem.id).limit(1)).first() is not None,
    )


def _count_hours(session: Session, now: datetime) -> list[int]:
    starts = [now - timedelta(hours=hours) for hours in range(HOURS, -1, -1)]
    spans = pairwise(starts)
    arrived = InboundItem.received_at
    counts = [select(func.count()).where(arrived > start, arrived <= end).scalar_subquery() for start, end in spans]
    return list(session.execute(select(*counts)).one())


def _last_tickets(session: Session) -> list[TicketLine]:
    statement = (
        select(Ticket.id, Ticket.source, Ticket.stage, Staff.name, Company.name, Ticket.created_at)
        .outerjoin(Staff, Staff.id == Ticket.owner_id)
        .outerjoin(Company, Company.id == Ticket.company_id)
        .order_by(Ticket.id.desc())
        .limit(LAST_TICKETS)
    )
    return [
        TicketLine(number(ticket_id), source, stage, STAGE_NAMES.get(stage, str(stage)), owner, company, created_at)
        for ticket_id, source, stage, owner, company, created_at in session.execute(statement)
    ]


def _due_since(session: Session, now: datetime) -> dict[str, datetime | None]:
    """Work that nobody takes shows as a due moment that stays; so does a claim that ran out and was not given back."""
    facts = session.execute(select(func.min(OutboxFact.due_at)).where(OutboxFact.done_at.is_(None))).scalar_one()
    items = _earliest(session, InboundItem, WAITING, CLAIMED)
    deliveries = _earliest(session, Delivery, DUE_WHERE, HELD_WHERE)
    found = {"items": items, "facts": facts, "deliveries": deliveries}
    return {queue: moment if moment and moment <= now else None for queue, moment in found.items()}


def _earliest(session: Session, table: type[InboundItem] | type[Delivery], due: str, held: str) -> datetime | None:
    due_at = session.execute(select(func.min(table.due_at)).where(text(due))).scalar_one()
    lost_at = session.execute(select(func.min(table.claim_until)).where(text(held))).scalar_one()
    return min((moment for moment in (due_at, lost_at) if moment), default=None)


def _count(session: Session, condition: ColumnElement[bool] | TextClause) -> int:
    return session.execute(select(func.count(InboundItem.id)).where(condition)).scalar_one()


def _count_tickets(session: Session, condition: ColumnElement[bool]) -> int:
    return session.execute(select(func.count(Ticket.id)).where(condition)).scalar_one()


def _count_by(session: Session, statement: Select[str | None, int]) -> dict[str, int]:
    return {word or "": count for word, count in session.execute(statement)}
