"""The figures of the database that the status page, the readiness check and the metrics show. No text of a message is read."""

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
from tickets.numbers import format_number
from tickets.stages import STAGE_NAMES

#: Checks the production invariants in a reading session. ``ops`` implements it; the command line passes it in.
InvariantChecker = Callable[[Session], Sequence[Finding]]
HOURS = 24
MAX_RECENT_TICKETS = 20
#: The literal conditions of the partial indexes: PostgreSQL's generic plans cannot use the indexes for a parameter.
WAITING_SQL, CLAIMED_SQL = "state = 'waiting'", "state = 'claimed'"


@dataclass(frozen=True, slots=True)
class MailboxHealth:
    """When a mailbox was last read without an error, and how many errors have followed."""

    name: str
    checked_at: datetime | None
    errors: int
    error: str | None


@dataclass(frozen=True, slots=True)
class DatabaseTotals:
    """All rows counted by state. ``due_since`` is the due time of the oldest due row of each queue, None when none is due."""

    states: dict[str, int]
    dispositions: dict[str, int]
    tickets: dict[tuple[int, str], int]
    deliveries: dict[str, int]
    due_since: dict[str, datetime | None]
    mailboxes: list[MailboxHealth]
    surveys: SurveyTotals


@dataclass(frozen=True, slots=True)
class RecentTicket:
    """A ticket in the list of recent tickets."""

    number: str
    source: str
    stage: int
    stage_name: str
    owner: str | None
    company: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SourceCount:
    """The items of one source and disposition in the last 24 hours; ``disposition`` is None for items that wait."""

    source: str
    disposition: str | None
    count: int


@dataclass(frozen=True, slots=True)
class StatusFigures:
    """The figures of the status page. ``hours`` counts the arrivals of each of the last 24 hours, the oldest hour first."""

    by_source: list[SourceCount]
    hours: list[int]
    waiting: int
    quarantined: int
    notices: dict[str, int]
    open_tickets: int
    unassigned: int
    tickets: list[RecentTicket]
    mailboxes: list[MailboxHealth]
    has_items: bool


def probe_database(session: Session) -> None:
    """Read one row of the ledger. Raises the database's error when it does not answer or has no tables."""
    session.execute(select(InboundItem.id).limit(1))


def read_totals(session: Session, now: datetime) -> DatabaseTotals:
    """Return the counts of all rows by state, read by index scans only."""
    settled_as = select(InboundItem.disposition, func.count()).where(InboundItem.disposition.is_not(None))
    dispositions = _count_by(session, settled_as.group_by(InboundItem.disposition))
    waiting = _count(session, text(WAITING_SQL))
    claimed = _count(session, text(CLAIMED_SQL))
    settled = sum(count for disposition, count in dispositions.items() if disposition != "failed")
    stages = session.execute(select(Ticket.stage, Ticket.source, func.count()).group_by(Ticket.stage, Ticket.source))
    return DatabaseTotals(
        states={"waiting": waiting, "claimed": claimed, "settled": settled},
        dispositions=dispositions,
        tickets={(stage, source): count for stage, source, count in stages},
        deliveries=_count_by(session, select(Delivery.state, func.count()).group_by(Delivery.state)),
        due_since=_due_since(session, now),
        mailboxes=read_mailboxes(session),
        surveys=read_survey_totals(session),
    )


def read_mailboxes(session: Session) -> list[MailboxHealth]:
    """Return the state of every mailbox that was ever watched."""
    rows = session.execute(select(MailboxCursor).order_by(MailboxCursor.mailbox)).scalars()
    return [MailboxHealth(row.mailbox, row.checked_at, row.errors, row.error) for row in rows]


def read_status_figures(session: Session, now: datetime) -> StatusFigures:
    """Return the figures of the status page as of ``now``."""
    since = now - timedelta(hours=HOURS)
    recent = select(InboundItem.source, InboundItem.disposition, func.count()).where(InboundItem.received_at > since)
    counts = session.execute(recent.group_by(InboundItem.source, InboundItem.disposition))
    notices = select(Delivery.state, func.count()).where(Delivery.created_at > since).group_by(Delivery.state)
    return StatusFigures(
        by_source=[SourceCount(source, disposition, count) for source, disposition, count in counts],
        hours=_count_hours(session, now),
        waiting=_count(session, text(WAITING_SQL)) + _count(session, text(CLAIMED_SQL)),
        quarantined=_count(session, InboundItem.disposition == "quarantined"),
        notices=_count_by(session, notices),
        open_tickets=_count_tickets(session, Ticket.stage < max(STAGE_NAMES)),
        unassigned=_count_tickets(session, and_(Ticket.owner_id.is_(None), Ticket.stage < max(STAGE_NAMES))),
        tickets=_read_recent_tickets(session),
        mailboxes=read_mailboxes(session),
        has_items=session.execute(select(InboundItem.id).limit(1)).first() is not None,
    )


def _count_hours(session: Session, now: datetime) -> list[int]:
    starts = [now - timedelta(hours=hours) for hours in range(HOURS, -1, -1)]
    spans = pairwise(starts)
    arrived = InboundItem.received_at
    counts = [select(func.count()).where(arrived > start, arrived <= end).scalar_subquery() for start, end in spans]
    return list(session.execute(select(*counts)).one())


def _read_recent_tickets(session: Session) -> list[RecentTicket]:
    statement = (
        select(Ticket.id, Ticket.source, Ticket.stage, Staff.name, Company.name, Ticket.created_at)
        .outerjoin(Staff, Staff.id == Ticket.owner_id)
        .outerjoin(Company, Company.id == Ticket.company_id)
        .order_by(Ticket.id.desc())
        .limit(MAX_RECENT_TICKETS)
    )
    return [
        RecentTicket(format_number(ticket_id), source, stage, STAGE_NAMES.get(stage, str(stage)), owner, company, created_at)
        for ticket_id, source, stage, owner, company, created_at in session.execute(statement)
    ]


def _due_since(session: Session, now: datetime) -> dict[str, datetime | None]:
    """Return the due time of the oldest due row by queue. A row under an expired claim counts from the end of the claim."""
    facts = session.execute(select(func.min(OutboxFact.due_at)).where(OutboxFact.done_at.is_(None))).scalar_one()
    items = _earliest(session, InboundItem, WAITING_SQL, CLAIMED_SQL)
    deliveries = _earliest(session, Delivery, DUE_WHERE, HELD_WHERE)
    oldest = {"items": items, "facts": facts, "deliveries": deliveries}
    return {queue: since if since and since <= now else None for queue, since in oldest.items()}


def _earliest(session: Session, table: type[InboundItem] | type[Delivery], due: str, held: str) -> datetime | None:
    due_at = session.execute(select(func.min(table.due_at)).where(text(due))).scalar_one()
    expired_at = session.execute(select(func.min(table.claim_until)).where(text(held))).scalar_one()
    return min((time for time in (due_at, expired_at) if time), default=None)


def _count(session: Session, condition: ColumnElement[bool] | TextClause) -> int:
    return session.execute(select(func.count(InboundItem.id)).where(condition)).scalar_one()


def _count_tickets(session: Session, condition: ColumnElement[bool]) -> int:
    return session.execute(select(func.count(Ticket.id)).where(condition)).scalar_one()


def _count_by(session: Session, statement: Select[str | None, int]) -> dict[str, int]:
    return {state or "": count for state, count in session.execute(statement)}
