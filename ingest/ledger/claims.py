"""Claiming inbound items, giving back what a dead worker held, and settling what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, or_, select, union_all, update
from sqlalchemy.orm import Session

from core import claims, clock
from core.backoff import Backoff
from core.database.bulk import update_all
from core.database.in_lists import among, among_given, listed
from core.database.session import Database
from core.database.types import Transaction
from core.reasons import Reason
from ingest.ledger.models import InboundItem
from ingest.ledger.types import ClaimedItem, Outcome

#: Pauses of an item that failed by itself: 2 s after the first failure, 10 minutes at most.
RETRY_BACKOFF = Backoff(first=timedelta(seconds=2), maximum=timedelta(minutes=10))
#: A batch ends at this many bytes as they came; parsed, packed and unpacked they stand in memory several times.
MAX_BATCH_BYTES = 32 * 1024 * 1024


_TABLE = cast(Table, InboundItem.__table__)
_COLUMNS = _TABLE.c


def claim(database: Database, token: str, limit: int) -> list[ClaimedItem]:
    """Take up to ``limit`` due items and 32 MB, oldest first, under ``token``; one that is to be tried alone comes alone.

    What ends this process while it works on such an item then counts against no other.
    """

    if not database.is_sqlite:
        return database.transaction(lambda session: _take(session, _due(session, database, limit), token, database))
    while True:
        with database.read() as session:  # a look costs less than the one writer's turn
            due = _due(session, database, limit)
        if not due:
            return []
        # Another thread may have been first with some of them, or with all.
        items = database.core_transaction(lambda unit, due=due: _take(unit, due, token, database))  # type: ignore[misc]
        if items:
            return items


def _due(session: Session, database: Database, limit: int) -> list[int]:
    statement = select(_COLUMNS.id, _COLUMNS.alone, _COLUMNS.size)
    statement = statement.where(*_is_due(database))
    statement = statement.order_by(_COLUMNS.due_at, _COLUMNS.id).limit(limit).with_for_update(skip_locked=True)
    return _choose(session.connection().execute(statement).all())


def _is_due(database: Database) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _COLUMNS.state == "waiting", _COLUMNS.due_at <= database.now_expression()


def _take(unit: Transaction, ids: Sequence[int], token: str, database: Database) -> list[ClaimedItem]:
    if not ids:
        return []
    changes = {"state": "claimed", "claim": token, "claim_until": database.now_expression() + claims.SPAN}
    taken = update(_TABLE).where(among(_COLUMNS.id, ids), _COLUMNS.state == "waiting").values(changes)
    rows = unit.connection().execute(taken.returning(*(_COLUMNS[name] for name in ClaimedItem.__slots__)))
    return sorted((ClaimedItem(*row) for row in rows), key=lambda item: (item.due_at, item.id))


def has_due_items(session: Session, database: Database) -> bool:
    """Whether an item is due that nobody works on."""
    due = select(_COLUMNS.id).where(*_is_due(database)).limit(1)
    return session.connection().execute(due).first() is not None


def count_backlog(database: Database, most: int) -> int:
    """How many items are being worked on, by whomever, or could be; ``most`` are counted."""
    with database.read() as session:
        values = {"most": most, "now": clock.now()} if database.is_sqlite else {"most": most}
        count: int = session.connection().execute(_COUNT_SQLITE if database.is_sqlite else _COUNT_POSTGRESQL, values).scalar_one()
    return min(count, most)


def _counting(moment: Any) -> Select[Any]:
    """Made once: whoever steps aside for a pile asks twenty times a second, and making it costs more than the answer."""
    due = select(_COLUMNS.id).where(_COLUMNS.state == "waiting", _COLUMNS.due_at <= moment).limit(bindparam("most"))
    held = select(_COLUMNS.id).where(_COLUMNS.state == "claimed").limit(bindparam("most"))
    return select(func.count()).select_from(union_all(select(due.subquery()), select(held.subquery())).subquery())


_COUNT_SQLITE = _counting(bindparam("now"))
_COUNT_POSTGRESQL = _counting(func.statement_timestamp())


def _choose(due: Sequence[Any]) -> list[int]:
    """The first alone when it is a single one, else the others up to the limit of bytes, at least one."""
    if due and due[0].alone:
        return [due[0].id]
    chosen: list[int] = []
    size = 0
    for row in due:
        if not row.alone and (not chosen or size + row.size <= MAX_BATCH_BYTES):
            chosen.append(row.id)
            size += row.size
    return chosen


def release(database: Database, token: str) -> None:
    """Give back what is under ``token`` as it was: what hindered the work was none of its items."""
    statement = update(InboundItem).where(InboundItem.claim == token, InboundItem.state == "claimed")
    database.transaction(lambda session: session.execute(statement.values(state="waiting", claim=None, claim_until=None)))


def renew(database: Database, token: str) -> set[int]:
    """Hold the claim longer; answers which items it still holds."""

    def unit(session: Session) -> set[int]:
        held = update(_TABLE).where(_COLUMNS.claim == token, _COLUMNS.state == "claimed")
        longer = held.values(claim_until=database.now_expression() + claims.SPAN)
        return set(session.connection().execute(longer.returning(_COLUMNS.id)).scalars())

    return database.transaction(unit)


def lock_claimed(session: Session, token: str, ids: Iterable[int]) -> set[int]:
    """Which of the items are still under ``token``; locks them until the commit."""
    return set(session.connection().execute(_OURS, {"listed": listed(ids), "token": token}).scalars())


_OURS = (
    select(_COLUMNS.id)
    .where(among_given(_COLUMNS.id), _COLUMNS.claim == bindparam("token"), _COLUMNS.state == "claimed")
    .order_by(_COLUMNS.id)
    .with_for_update(key_share=True)
)


def settle(session: Session, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Write the outcomes of items that are still ours."""
    rows = [
        {
            "id": outcome.item_id,
            "state": "settled",
            "claim": None,
            "claim_until": None,
            "disposition": outcome.disposition,
            "reason_code": outcome.reason.code,
            "reason": outcome.reason.text,
            "ticket_id": outcome.ticket_id,
            "settled_at": now,
        }
        for outcome in sorted(outcomes, key=lambda outcome: outcome.item_id)
    ]
    update_all(session, InboundItem, rows)


def isolate(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Give items back, each to be tried by itself; that counts nothing against them."""
    if ids:
        _put_back(session, ids, now, alone=True)


def retry(session: Session, item: ClaimedItem, code: str, now: datetime) -> None:
    """Give an item back after a failure of its own: later, and one step nearer to quarantine."""
    pause = RETRY_BACKOFF.after(item.attempts + 1)
    reason = Reason(code, "It could not be read or stored yet and is tried again")
    _put_back(session, [item.id], now + pause, alone=True, failed=reason, attempts=item.attempts + 1)


def recover_expired(database: Database) -> int:
    """Give back the items of claims that ended without a word, as singles; returns how many."""

    def unit(session: Session) -> int:
        now = database.now(session)
        late = InboundItem.state == "claimed", InboundItem.claim_until <= now
        values = {"state": "waiting", "claim": None, "claim_until": None, "due_at": now, "alone": True}
        statement = update(InboundItem).where(*late).values(losses=InboundItem.losses + 1, **values)
        return len(session.execute(statement.returning(InboundItem.id)).all())

    with database.read() as session:
        late = InboundItem.state == "claimed", InboundItem.claim_until <= database.now_expression()
        if session.execute(select(InboundItem.id).where(*late).limit(1)).first() is None:
            return 0
    return database.transaction(unit)


def clamp_future_due_times(session: Session, now: datetime) -> None:
    """Make due what waits longer than any rule lets it: a clock that was ahead wrote that, and has been set back since."""
    untried = and_(InboundItem.attempts == 0, InboundItem.due_at > now + clock.TOLERANCE)
    wrong = or_(untried, InboundItem.due_at > now + RETRY_BACKOFF.maximum + clock.TOLERANCE)
    session.execute(update(InboundItem).where(InboundItem.state == "waiting", wrong).values(due_at=now))


def expire_all(session: Session, now: datetime) -> None:
    """End every claim: for the one process that knows that all holders are dead. :func:`recover` then gives them back."""
    session.execute(update(InboundItem).where(InboundItem.state == "claimed").values(claim_until=now))


def _put_back(
    session: Session,
    ids: Sequence[int],
    due_at: datetime,
    *,
    alone: bool,
    failed: Reason | None = None,
    attempts: int | None = None,
) -> None:
    values: dict[str, Any] = {"state": "waiting", "claim": None, "claim_until": None, "due_at": due_at, "alone": alone}
    if failed is not None:
        values |= {"disposition": "failed", "reason_code": failed.code, "reason": failed.text, "attempts": attempts}
    session.execute(update(InboundItem).where(InboundItem.id.in_(list(ids))).values(values))
