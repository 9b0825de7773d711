"""Claims on inbound items: claim, renew, release, recover expired claims, retry, isolate and settle.

A claim is a token and an expiry in the item's row, compared and set. The functions have the same names as those of
:mod:`notify.claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, or_, select, union_all, update
from sqlalchemy.orm import Session

from core import claims, clock
from core.backoff import Backoff
from core.database.bulk import update_all
from core.database.in_lists import encode_list, in_list, in_list_parameter
from core.database.session import Database
from core.database.types import Transaction
from core.reasons import Reason
from ingest.ledger.models import InboundItem
from ingest.ledger.types import ClaimedItem, Outcome

#: Pauses of an item that failed by itself: 2 s after the first failure, 10 minutes at most.
RETRY_BACKOFF = Backoff(first=timedelta(seconds=2), maximum=timedelta(minutes=10))
#: A batch has at most this many bytes of originals: parsing, packing and unpacking keep several copies in memory at once.
MAX_BATCH_BYTES = 32 * 1024 * 1024


_TABLE = cast(Table, InboundItem.__table__)
_COLUMNS = _TABLE.c


def claim(database: Database, token: str, limit: int) -> list[ClaimedItem]:
    """Claim up to ``limit`` due items of together 32 MB under ``token``, oldest first; returns them in that order.

    An isolated item (column ``alone``) is claimed in a batch of its own: if it ends this process, no other item counts a loss.
    """
    if not database.is_sqlite:
        return database.transaction(lambda session: _claim_rows(session, _select_due(session, database, limit), token, database))
    while True:
        # SQLite has one writer: a read costs less than waiting for the writer lock, and most polls find nothing due.
        with database.read() as session:
            due = _select_due(session, database, limit)
        if not due:
            return []
        # Another thread may have claimed some or all of these rows since the read; when it claimed all, look again.
        items = database.core_transaction(lambda unit, due=due: _claim_rows(unit, due, token, database))  # type: ignore[misc]
        if items:
            return items


def _select_due(session: Session, database: Database, limit: int) -> list[int]:
    statement = select(_COLUMNS.id, _COLUMNS.alone, _COLUMNS.size)
    statement = statement.where(*_due_condition(database))
    statement = statement.order_by(_COLUMNS.due_at, _COLUMNS.id).limit(limit).with_for_update(skip_locked=True)
    return _choose_batch(session.connection().execute(statement).all())


def _due_condition(database: Database) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _COLUMNS.state == "waiting", _COLUMNS.due_at <= database.now_expression()


def _claim_rows(unit: Transaction, ids: Sequence[int], token: str, database: Database) -> list[ClaimedItem]:
    if not ids:
        return []
    changes = {"state": "claimed", "claim": token, "claim_until": database.now_expression() + claims.CLAIM_TTL}
    taken = update(_TABLE).where(in_list(_COLUMNS.id, ids), _COLUMNS.state == "waiting").values(changes)
    rows = unit.connection().execute(taken.returning(*(_COLUMNS[name] for name in ClaimedItem.__slots__)))
    return sorted((ClaimedItem(*row) for row in rows), key=lambda item: (item.due_at, item.id))


def has_due_items(session: Session, database: Database) -> bool:
    """Return whether an item is due and unclaimed."""
    due = select(_COLUMNS.id).where(*_due_condition(database)).limit(1)
    return session.connection().execute(due).first() is not None


def count_backlog(database: Database, limit: int) -> int:
    """Return how many items are due or claimed, by this process or another; counting stops at ``limit``."""
    with database.read() as session:
        values = {"limit": limit, "now": clock.now()} if database.is_sqlite else {"limit": limit}
        count: int = session.connection().execute(_COUNT_SQLITE if database.is_sqlite else _COUNT_POSTGRESQL, values).scalar_one()
    return min(count, limit)


def _backlog_query(now: Any) -> Select[Any]:
    """Return the query of :func:`count_backlog` for one database.

    It is built once: a drain that yields to ingest runs it twenty times a second, and building it costs more than running it.
    """
    due = select(_COLUMNS.id).where(_COLUMNS.state == "waiting", _COLUMNS.due_at <= now).limit(bindparam("limit"))
    held = select(_COLUMNS.id).where(_COLUMNS.state == "claimed").limit(bindparam("limit"))
    return select(func.count()).select_from(union_all(select(due.subquery()), select(held.subquery())).subquery())


_COUNT_SQLITE = _backlog_query(bindparam("now"))
_COUNT_POSTGRESQL = _backlog_query(func.statement_timestamp())


def _choose_batch(due: Sequence[Any]) -> list[int]:
    """Return the ids of the first row if it is isolated, else of the rows that are not, up to the byte limit and at least one."""
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
    """Return the items claimed under ``token`` to waiting, unchanged: the cause was outside the items, and counts no loss."""
    statement = update(InboundItem).where(InboundItem.claim == token, InboundItem.state == "claimed")
    database.transaction(lambda session: session.execute(statement.values(state="waiting", claim=None, claim_until=None)))


def renew(database: Database, token: str) -> set[int]:
    """Extend the claim by its full time to live and return the ids of the items it still holds."""

    def unit(session: Session) -> set[int]:
        held = update(_TABLE).where(_COLUMNS.claim == token, _COLUMNS.state == "claimed")
        longer = held.values(claim_until=database.now_expression() + claims.CLAIM_TTL)
        return set(session.connection().execute(longer.returning(_COLUMNS.id)).scalars())

    return database.transaction(unit)


def lock_claimed(session: Session, token: str, ids: Iterable[int]) -> set[int]:
    """Return which of ``ids`` are still claimed under ``token``, and lock their rows until the commit."""
    return set(session.connection().execute(_LOCK_CLAIMED, {"values": encode_list(ids), "token": token}).scalars())


_LOCK_CLAIMED = (
    select(_COLUMNS.id)
    .where(in_list_parameter(_COLUMNS.id), _COLUMNS.claim == bindparam("token"), _COLUMNS.state == "claimed")
    .order_by(_COLUMNS.id)
    .with_for_update(key_share=True)
)


def settle(session: Session, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Write the outcomes of items, which the caller has locked with :func:`lock_claimed` in the same transaction."""
    # 1. In id order, as every statement that touches several items: two transactions never wait for each other crosswise.
    # 2. Disposition and release of the claim are one update: no worker sees an item that is decided and still claimed.
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
    """Return the items of a failed batch to waiting, each to be claimed in a batch of its own; counts no attempt."""
    if ids:
        _return_to_waiting(session, ids, now)


def retry(session: Session, item: ClaimedItem, code: str, now: datetime) -> None:
    """Return an item that failed by itself to waiting, due after the back-off pause, and count the attempt."""
    pause = RETRY_BACKOFF.after(item.attempts + 1)
    reason = Reason(code, "It could not be read or stored yet and is retried later")
    _return_to_waiting(session, [item.id], now + pause, failed=reason, attempts=item.attempts + 1)


def recover_expired(database: Database) -> int:
    """Return the items of expired claims to waiting, isolated and with a loss counted; returns how many.

    A claim expires when its worker died or hung. The item may be the cause, so it is processed alone from now on.
    """

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
    """Make due at ``now`` the items whose due time no rule explains: a clock that was ahead wrote it and was set back since."""
    untried = and_(InboundItem.attempts == 0, InboundItem.due_at > now + clock.MAX_CLOCK_SKEW)
    wrong = or_(untried, InboundItem.due_at > now + RETRY_BACKOFF.maximum + clock.MAX_CLOCK_SKEW)
    session.execute(update(InboundItem).where(InboundItem.state == "waiting", wrong).values(due_at=now))


def expire_all(session: Session, now: datetime) -> None:
    """Expire every claim; :func:`recover_expired` then returns the items to waiting.

    Only the process that holds the single-instance lock may call it: it knows that every other holder is dead.
    """
    session.execute(update(InboundItem).where(InboundItem.state == "claimed").values(claim_until=now))


def _return_to_waiting(
    session: Session, ids: Sequence[int], due_at: datetime, *, failed: Reason | None = None, attempts: int | None = None
) -> None:
    values: dict[str, Any] = {"state": "waiting", "claim": None, "claim_until": None, "due_at": due_at, "alone": True}
    if failed is not None:
        values |= {"disposition": "failed", "reason_code": failed.code, "reason": failed.text, "attempts": attempts}
    session.execute(update(InboundItem).where(InboundItem.id.in_(list(ids))).values(values))
