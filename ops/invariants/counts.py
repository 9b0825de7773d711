"""Count the rows that violate an invariant, and find the oldest of them. Every query has its index.

The clock runs these queries every few seconds, so their cost must not grow with the tables: a count stops at
:data:`MAX_COUNT` rows, and where only a whole table could tell, the newest :data:`RECENT_ROWS` rows are read.
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

MAX_COUNT = 10_000
RECENT_ROWS = 10_000
RECENT_WORKBOOKS = 500
#: The reason text of a workbook that has no rows (``ingest.workbooks.expand``).
NO_ROWS_PATTERN = "0 rows:%"
RATE_LIMIT_REASONS = ("domain_limit", "total_limit")
DAY = timedelta(days=1)

# SQLite uses a partial index only where the query repeats its condition word for word, without parameters.
_WAITING, _CLAIMED = text("inbound_item.state = 'waiting'"), text("inbound_item.state = 'claimed'")
_DUE, _HELD = text(f"delivery.{DUE_WHERE}"), text(f"delivery.{HELD_WHERE}")
_OPEN = text("outbox_fact.done_at IS NULL")


@dataclass(frozen=True, slots=True)
class RowCount:
    """How many rows, at most :data:`MAX_COUNT`, and the moment of the oldest (UTC)."""

    count: int = 0
    oldest: datetime | None = None


@dataclass(frozen=True, slots=True)
class QuarantineCounts:
    """Quarantined items: ``today`` in the last 24 hours, ``yesterday`` in the 24 hours before, ``total`` in all.

    ``oldest`` is the first of the last 24 hours.
    """

    today: int
    yesterday: int
    total: int
    oldest: datetime | None


def count_old_facts(session: Session, created_before: datetime) -> RowCount:
    """Count open facts that were created by ``created_before``, among them those that are postponed because a handler fails."""
    return _count_rows(session, OutboxFact.created_at, _OPEN, OutboxFact.created_at <= created_before, order=OutboxFact.due_at)


def count_waiting_items(session: Session, due_before: datetime) -> RowCount:
    """Count waiting items that were due by ``due_before``."""
    return _count_rows(session, InboundItem.due_at, _WAITING, InboundItem.due_at <= due_before)


def count_expired_claims(session: Session, until_before: datetime) -> RowCount:
    """Count items whose claim expired by ``until_before``."""
    return _count_rows(session, InboundItem.claim_until, _CLAIMED, InboundItem.claim_until <= until_before)


def count_due_deliveries(session: Session, due_before: datetime, delayed_before: datetime) -> RowCount:
    """Count pending notices that are due. A retry is due later; a rate-limited notice counts from ``delayed_before`` on."""
    free = or_(Delivery.reason_code.is_(None), Delivery.reason_code.not_in(RATE_LIMIT_REASONS), Delivery.due_at <= delayed_before)
    return _count_rows(session, Delivery.due_at, _DUE, Delivery.state == "pending", Delivery.due_at <= due_before, free)


def count_ambiguous_deliveries(session: Session, due_before: datetime) -> RowCount:
    """Count ambiguous notices whose repeat was due by ``due_before``."""
    return _count_rows(session, Delivery.due_at, _DUE, Delivery.state == "ambiguous", Delivery.due_at <= due_before)


def count_expired_delivery_claims(session: Session, until_before: datetime) -> RowCount:
    """Count notices whose claim expired by ``until_before``."""
    return _count_rows(session, Delivery.claim_until, _HELD, Delivery.claim_until <= until_before)


def count_tickets_without_activity(session: Session, *, all_rows: bool) -> RowCount:
    """Count tickets without any activity."""
    existing = select(Activity.id).where(Activity.ticket_id == Ticket.id).exists()
    return _count_rows(session, Ticket.created_at, _only_recent(session, Ticket, all_rows), ~existing, order=Ticket.id)


def count_submitted_tickets(session: Session, created_before: datetime) -> RowCount:
    """Count tickets created by ``created_before`` that are still in the first stage."""
    return _count_rows(session, Ticket.created_at, Ticket.stage == SUBMITTED, Ticket.created_at <= created_before)


def count_unsighted_items(session: Session, *, all_rows: bool) -> RowCount:
    """Count items without a sighting, so without a record of where they came from."""
    existing = select(Sighting.id).where(Sighting.item_id == InboundItem.id).exists()
    return _count_rows(
        session, InboundItem.received_at, _only_recent(session, InboundItem, all_rows), ~existing, order=InboundItem.id
    )


def count_empty_sightings(session: Session, *, all_rows: bool) -> RowCount:
    """Count sightings whose item is missing. A foreign key forbids them: such a database file or its restore is damaged."""
    existing = select(InboundItem.id).where(InboundItem.id == Sighting.item_id).exists()
    return _count_rows(session, Sighting.seen_at, _only_recent(session, Sighting, all_rows), ~existing, order=Sighting.id)


def count_workbooks_without_rows(session: Session, *, all_rows: bool) -> RowCount:
    """Count expanded workbooks, and mails with workbooks, that have no sighting of a row inside."""
    expanded = select(InboundItem.id, InboundItem.kind, InboundItem.received_at, InboundItem.reason)
    expanded = expanded.where(InboundItem.disposition == "expanded").order_by(InboundItem.received_at.desc())
    inner = expanded.limit(None if all_rows else RECENT_WORKBOOKS).subquery()
    prefix = case((inner.c.kind == "workbook", "workbook:"), else_="mail:")
    existing = select(Sighting.id).where(Sighting.source == prefix + cast(inner.c.id, String)).exists()
    empty = and_(inner.c.reason.is_not(None), inner.c.reason.like(NO_ROWS_PATTERN))
    return _count_rows(session, inner.c.received_at, ~existing, ~empty, order=inner.c.received_at)


def count_quarantine(session: Session, now: datetime) -> QuarantineCounts:
    """Count quarantined items by the day of their outcome."""
    at = InboundItem.settled_at
    today, before = at > now - DAY, and_(at > now - 2 * DAY, at <= now - DAY)
    first_today = func.min(case((today, at)))
    statement = select(_sum_where(today), _sum_where(before), func.count(), first_today).select_from(InboundItem)
    row = session.execute(statement.where(InboundItem.disposition == "quarantined", InboundItem.state == "settled")).one()
    return QuarantineCounts(row[0] or 0, row[1] or 0, row[2], row[3])


def read_mailbox_cursors(session: Session) -> dict[str, MailboxCursor]:
    """Return all mailbox cursors by mailbox."""
    return {row.mailbox: row for row in session.execute(select(MailboxCursor)).scalars()}


def read_leases(session: Session) -> dict[str, Lease]:
    """Return all leases by name."""
    return {row.name: row for row in session.execute(select(Lease)).scalars()}


def _count_rows(session: Session, moment: Any, *conditions: Any, order: Any = None) -> RowCount:
    inner = (
        select(moment.label("moment")).where(*conditions).order_by(moment if order is None else order).limit(MAX_COUNT).subquery()
    )
    return RowCount(*session.execute(select(func.count(), func.min(inner.c.moment))).one())


def _sum_where(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return func.sum(case((condition, 1), else_=0))


def _only_recent(session: Session, table: Any, all_rows: bool) -> ColumnElement[bool]:
    """Return the condition for the newest rows by id. Ids are never reused, so it holds for at most :data:`RECENT_ROWS` rows."""
    last = 0 if all_rows else session.execute(select(func.max(table.id))).scalar_one() or 0
    bound: ColumnElement[bool] = table.id > literal(max(0, last - RECENT_ROWS))
    return bound
