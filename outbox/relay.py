"""The relay: passes facts to their handlers, each in the transaction that marks the fact done.

Handlers only write rows. A fact whose handler fails is postponed with the type of its error, and the others are relayed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.orm import Session

from core import clock
from core.backoff import Backoff
from core.database.in_lists import in_list
from core.database.session import Database, is_unavailable
from core.metrics import FACTS_RELAYED
from outbox.append import read_fact
from outbox.facts import Fact
from outbox.models import OutboxFact

log = logging.getLogger("casemill.outbox")

#: A handler gets all facts of its kind at once, so that a batch of a hundred costs a few statements and not hundreds.
FactHandler = Callable[[Session, Sequence[Fact], datetime], None]
#: Kind of fact → its handlers, in the order in which they run.
Subscriptions = Mapping[str, Sequence[FactHandler]]
BATCH_SIZE = 100
#: Pauses of a fact whose handler failed: 2 s after the first failure, 10 minutes at most.
RETRY_BACKOFF = Backoff(first=timedelta(seconds=2), maximum=timedelta(minutes=10))


def relay_batch(database: Database, subscriptions: Subscriptions) -> int:
    """Relay one batch of due facts and return how many were done.

    1. All facts of the batch in one transaction, which is cheap.
    2. If that fails, each fact in a transaction of its own, so that one bad fact stops no other.
    3. A fact that fails alone is postponed, with growing pauses and without limit.

    Raises only when the database itself is unavailable.
    """
    try:
        return _relay_and_commit(database, subscriptions, BATCH_SIZE)
    except Exception as error:
        if is_unavailable(error):
            raise
        log.warning("fact batch rolled back, retrying one by one", extra={"error": type(error).__name__})
    return _relay_one_by_one(database, subscriptions)


def clamp_future_due_times(session: Session, now: datetime) -> None:
    """Make facts due now whose due time is later than any back-off allows: a clock that was ahead has written it."""
    untried = and_(OutboxFact.attempts == 0, OutboxFact.due_at > now + clock.MAX_CLOCK_SKEW)
    wrong = or_(untried, OutboxFact.due_at > now + RETRY_BACKOFF.maximum + clock.MAX_CLOCK_SKEW)
    session.execute(update(OutboxFact).where(OutboxFact.done_at.is_(None), wrong).values(due_at=now))


def delete_done(database: Database, older_than: timedelta) -> int:
    """Delete facts that were done longer ago than ``older_than``; return how many."""

    def unit(session: Session) -> int:
        before = clock.now() - older_than
        return len(session.execute(delete(OutboxFact).where(OutboxFact.done_at < before).returning(OutboxFact.id)).all())

    return database.transaction(unit)


def _relay_and_commit(database: Database, subscriptions: Subscriptions, limit: int, only: int | None = None) -> int:
    done = database.transaction(lambda session: _relay(session, subscriptions, limit, only))
    FACTS_RELAYED.inc(done)
    return done


def _relay(session: Session, subscriptions: Subscriptions, limit: int, only: int | None = None) -> int:
    now = clock.now()
    rows = _lock_due_facts(session, now, limit, only)
    for kind in dict.fromkeys(row.kind for row in rows):
        batch = [read_fact(kind, row.payload) for row in rows if row.kind == kind]
        for handler in subscriptions.get(kind, ()):
            handler(session, batch, now)
    if rows:
        session.execute(update(OutboxFact).where(in_list(OutboxFact.id, [row.id for row in rows])).values(done_at=now))
    return len(rows)


def _lock_due_facts(session: Session, now: datetime, limit: int, only: int | None) -> Sequence[OutboxFact]:
    statement = select(OutboxFact).where(OutboxFact.done_at.is_(None), OutboxFact.due_at <= now)
    if only is not None:
        statement = statement.where(OutboxFact.id == only)
    ordered = statement.order_by(OutboxFact.due_at, OutboxFact.id).limit(limit)
    return session.execute(ordered.with_for_update(skip_locked=True)).scalars().all()


def _relay_one_by_one(database: Database, subscriptions: Subscriptions) -> int:
    with database.read() as session:
        due_ids = [row.id for row in _find_due_facts(session)]
    done = 0
    for fact_id in due_ids:
        try:
            done += _relay_and_commit(database, subscriptions, 1, only=fact_id)
        except Exception as error:
            if is_unavailable(error):
                raise
            _postpone(database, fact_id, error)
    return done


def _find_due_facts(session: Session) -> Sequence[OutboxFact]:
    statement = select(OutboxFact).where(OutboxFact.done_at.is_(None), OutboxFact.due_at <= clock.now())
    return session.execute(statement.order_by(OutboxFact.due_at, OutboxFact.id).limit(BATCH_SIZE)).scalars().all()


def _postpone(database: Database, fact_id: int, error: Exception) -> None:
    log.error("fact handler failed, fact postponed", extra={"fact": fact_id, "error": type(error).__name__})

    def unit(session: Session) -> None:
        row = session.get(OutboxFact, fact_id)
        if row is None or row.done_at is not None:
            return
        row.attempts += 1
        row.error = type(error).__name__
        row.due_at = clock.now() + RETRY_BACKOFF.after(row.attempts)

    database.transaction(unit)
