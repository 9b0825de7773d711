"""The figures behind the invariants: how many rows are against one, and since when. Every query has its index.

Counting stops at :data:`CAP` rows, and where only a whole table could tell, the newest :data:`RECENT` rows are looked at: what
asks every few seconds must cost the same however much there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, cast, func, literal, or_, select, text
from sqlalchemy.orm import Session

from core.leases import Lease
from ingest.ledger.models import InboundItem, MailboxCursor, Sighting
from notify.models import DUE_WHERE, HELD_WHERE, Delivery
from outbox.models import OutboxFact
from tickets.models import Activity, Ticket
from tickets.stages import SUBMITTED

CAP = 10_000
RECENT = 10_000
RECENT_EXPANDED = 500
#: How a workbook without rows tells what became of it (``ingest.workbooks.expand``).
NO_ROWS = "0 rows:%"
DELAYED = ("domain_limit", "total_limit")
DAY = timedelta(days=1)

# Conditions are written out as in the partial indexes: SQLite takes one only where it sees the same words, not for parameters.
_WAITING, _CLAIMED = text("inbound_item.state = 'waiting'"), text("inbound_item.state = 'claimed'")
_DUE, _HELD = text(f"delivery.{DUE_WHERE}"), text(f"delivery.{HELD_WHERE}")
_OPEN = text("outbox_fact.done_at IS NULL")


@dataclass(frozen=True, slots=True)
class InvariantCount:
    """How many, at most :data:`CAP`, and the oldest of them."""

    count: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Items set aside: ``today`` in the last 24 hours, ``before`` in the 24 hours before those, ``total`` ever and still."""

    today: int
    before: int
    total: int
    oldest: datetime | None


def facts(session: Session, created_before: datetime) -> InvariantCount:
    """Facts without all their readers; one whose reader fails is pushed on and stays among them."""
    return _tally(session, OutboxFact.created_at, _OPEN, OutboxFact.created_at <= created_before, order=OutboxFact.due_at)


def waiting_items(session: Session, due_before: datetime) -> InvariantCount:
    return _tally(session, InboundItem.due_at, _WAITING, InboundItem.due_at <= due_before)


def claimed_items(session: Session, until_before: datetime) -> InvariantCount:
    return _tally(session, InboundItem.claim_until, _CLAIMED, InboundItem.claim_until <= until_before)


def pending_deliveries(session: Session, due_before: datetime, delayed_before: datetime) -> InvariantCount:
    """Notices whose time has come. What backs off is due later; what the limits delay stands in line and has longer."""
    free = or_(Delivery.reason_code.is_(None), Delivery.reason_code.not_in(DELAYED), Delivery.due_at <= delayed_before)
    return _tally(session, Delivery.due_at, _DUE, Delivery.state == "pending", Delivery.due_at <= due_before, free)


def ambiguous_deliveries(session: Session, due_before: datetime) -> InvariantCount:
    return _tally(session, Delivery.due_at, _DUE, Delivery.state == "ambiguous", Delivery.due_at <= due_before)


def held_deliveries(session: Session, until_before: datetime) -> InvariantCount:
    return _tally(session, Delivery.claim_until, _HELD, Delivery.claim_until <= until_before)


def silent_tickets(session: Session, *, whole: bool) -> InvariantCount:
    """Tickets without any activity."""
    there = select(Activity.id).where(Activity.ticket_id == Ticket.id).exists()
    return _tally(session, Ticket.created_at, _newest(session, Ticket, whole), ~there, order=Ticket.id)


def submitted_tickets(session: Session, created_before: datetime) -> InvariantCount:
    return _tally(session, Ticket.created_at, Ticket.stage == SUBMITTED, Ticket.created_at <= created_before)


def unsighted_items(session: Session, *, whole: bool) -> InvariantCount:
    """Items of which nobody can say where they came from."""
    there = select(Sighting.id).where(Sighting.item_id == InboundItem.id).exists()
    return _tally(session, InboundItem.received_at, _newest(session, InboundItem, whole), ~there, order=InboundItem.id)


def empty_sightings(session: Session, *, whole: bool) -> InvariantCount:
    """Sightings whose item is not there: the database's own rule forbids them, so the file or its restore is damaged."""
    there = select(InboundItem.id).where(InboundItem.id == Sighting.item_id).exists()
    return _tally(session, Sighting.seen_at, _newest(session, Sighting, whole), ~there, order=Sighting.id)


def childless_items(session: Session, *, whole: bool) -> InvariantCount:
    """Workbooks, and mails with workbooks, that were expanded and have no sighting of anything inside."""
    expanded = select(InboundItem.id, InboundItem.kind, InboundItem.received_at, InboundItem.reason)
    expanded = expanded.where(InboundItem.disposition == "expanded").order_by(InboundItem.received_at.desc())
    inner = expanded.limit(None if whole else RECENT_EXPANDED).subquery()
    prefix = case((inner.c.kind == "workbook", "workbook:"), else_="mail:")
    there = select(Sighting.id).where(Sighting.source == prefix + cast(inner.c.id, String)).exists()
    empty = and_(inner.c.reason.is_not(None), inner.c.reason.like(NO_ROWS))
    return _tally(session, inner.c.received_at, ~there, ~empty, order=inner.c.received_at)


def quarantine(session: Session, now: datetime) -> Quarantine:
    at = InboundItem.settled_at
    today, before = at > now - DAY, and_(at > now - 2 * DAY, at <= now - DAY)
    first_today = func.min(case((today, at)))
    statement = select(_sum(today), _sum(before), func.count(), first_today).select_from(InboundItem)
    row = session.execute(statement.where(InboundItem.disposition == "quarantined", InboundItem.state == "settled")).one()
    return Quarantine(row[0] or 0, row[1] or 0, row[2], row[3])


def mailboxes(session: Session) -> dict[str, MailboxCursor]:
    return {row.mailbox: row for row in session.execute(select(MailboxCursor)).scalars()}


def held_leases(session: Session) -> dict[str, Lease]:
    return {row.name: row for row in session.execute(select(Lease)).scalars()}


def _tally(session: Session, moment: Any, *conditions: Any, order: Any = None) -> InvariantCount:
    inner = select(moment.label("moment")).where(*conditions).order_by(moment if order is None else order).limit(CAP).subquery()
    return InvariantCount(*session.execute(select(func.count(), func.min(inner.c.moment))).one())


def _sum(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0))


def _newest(session: Session, table: Any, whole: bool) -> ColumnElement[bool]:
    """The newest rows by id; an id is never given twice, so at most :data:`RECENT` of them."""
    last = 0 if whole else session.execute(select(func.max(table.id))).scalar_one() or 0
    bound: ColumnElement[bool] = table.id > literal(max(0, last - RECENT))
    return bound
