"""Claims on deliveries and their states in the database (reliability.md, A delivery's states).

A worker claims due rows under a token until a moment by the database's clock, renews the claim while it works, and releases
what it did not begin. Every change is a compare-and-set on that token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Table, and_, bindparam, null, or_, select, text, update
from sqlalchemy.orm import Session

from core import claims, clock
from core.database.in_lists import in_list
from core.database.session import Database
from core.database.types import Transaction
from core.reasons import Reason
from notify.mailing_types import find_mailing_type, make_outcome_facts
from notify.models import DUE_WHERE, HELD_WHERE, Delivery
from outbox.append import append_facts

# Written out as in the indexes: SQLite uses a partial index only where the query has the same condition without parameters.
IS_DUE = text(f"delivery.{DUE_WHERE}")
IS_CLAIMED = text(f"delivery.{HELD_WHERE}")
#: The longest legitimate wait: a back-off pause is at most four hours, the wait for an hourly limit a little over one.
MAX_WAIT = timedelta(hours=5)
OUTCOME_UNKNOWN = Reason("outcome_unknown", "The connection was lost after the mail was handed over and before the answer")
# Statements that run once a mail are built once, over the table: the same SQL through the ORM takes ten times as long.
_TABLE = cast(Table, Delivery.__table__)
_COLUMNS = _TABLE.c


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """The columns of a delivery that a worker has claimed. The field names are the column names."""

    id: int
    key: str
    mailing: str
    ticket_id: int | None
    recipient: str
    domain: str
    outside: bool
    context: dict[str, Any]
    attempts: int
    ambiguities: int
    message_id: str | None
    created_at: datetime
    frozen: bytes | None
    released_by: str | None = None


#: Returns the claimed deliveries that may be sent now, and writes the outcome of the others in the claiming transaction.
RateLimiter = Callable[[Session, Sequence[ClaimedDelivery]], list[ClaimedDelivery]]


class ClaimLostError(Exception):
    """The claim expired and the delivery is no longer under this token. The worker must not send it."""


def claim(database: Database, token: str, limit: int, rate_limiter: RateLimiter) -> tuple[int, list[ClaimedDelivery]]:
    """Claim up to ``limit`` due deliveries under ``token``, the longest due first.

    Returns how many rows were claimed, and those of them that ``rate_limiter`` allows to be sent now.
    """

    def unit(session: Session) -> tuple[int, list[ClaimedDelivery]]:
        due = select(Delivery.id).where(IS_DUE, Delivery.due_at <= clock.now()).order_by(Delivery.due_at, Delivery.id)
        # SKIP LOCKED: workers that claim at the same moment take different rows and do not wait for each other.
        chosen = list(session.execute(due.limit(limit).with_for_update(skip_locked=True)).scalars())
        if not chosen:
            return 0, []
        # By the database's clock, since the clocks of the hosts that run workers differ.
        values = {"state": "claimed", "claim": token, "claim_until": database.now_expression() + claims.CLAIM_TTL}
        session.execute(update(_TABLE).where(in_list(_COLUMNS.id, chosen)).values(values))
        wanted = select(*(_COLUMNS[name] for name in ClaimedDelivery.__slots__)).where(in_list(_COLUMNS.id, chosen))
        rows = [ClaimedDelivery(*row) for row in session.execute(wanted.order_by(_COLUMNS.due_at, _COLUMNS.id))]
        return len(rows), rate_limiter(session, rows)

    # A read costs less than a turn of SQLite's one writer, and most calls find nothing due.
    with database.read() as session:
        if session.execute(select(Delivery.id).where(IS_DUE, Delivery.due_at <= clock.now()).limit(1)).first() is None:
            return 0, []
    return database.transaction(unit)


def renew(database: Database, token: str, ids: Sequence[int]) -> None:
    """Extend the claim on those of ``ids`` that are still claimed or being sent under ``token``."""

    def unit(session: Session) -> None:
        ours = update(_TABLE).where(in_list(_COLUMNS.id, ids), _COLUMNS.claim == token, IS_CLAIMED)
        session.execute(ours.values(claim_until=database.now_expression() + claims.CLAIM_TTL))

    database.transaction(unit)


def release(session: Session, token: str, ids: Sequence[int]) -> int:
    """Release those of ``ids`` that are claimed under ``token`` and whose sending has not begun; returns how many.

    They stay due and keep their place. A delivery that was ambiguous before is ambiguous again and still counts as tried.
    """
    ours = update(_TABLE).where(in_list(_COLUMNS.id, ids), _COLUMNS.claim == token, _COLUMNS.state == "claimed")
    unclaimed = {"claim": None, "claim_until": None}
    repeats = ours.where(_COLUMNS.ambiguities > 0).values(state="ambiguous", **unclaimed)
    # Nothing was sent, so the rate limits must not count it: ``tried_at`` is cleared.
    untried = ours.where(_COLUMNS.ambiguities == 0).values(state="pending", tried_at=None, **unclaimed)
    return sum(len(session.execute(statement.returning(_COLUMNS.id)).all()) for statement in (repeats, untried))


def recover_expired(database: Database) -> int:
    """Recover deliveries whose claim has expired; returns how many.

    A delivery that was only claimed becomes pending again. One whose intent was committed becomes ambiguous and never
    pending, because its mail may have been accepted.
    """

    def unit(session: Session) -> int:
        expired = select(Delivery).where(IS_CLAIMED, Delivery.claim_until <= database.now_expression())
        rows = session.execute(expired.with_for_update(skip_locked=True)).scalars().all()
        # Updates in the order of ids, as everywhere, so that two workers never deadlock.
        for row in sorted(rows, key=lambda row: row.id):
            _recover(session, row, clock.now())
        return len(rows)

    with database.read() as session:
        expired = select(Delivery.id).where(IS_CLAIMED, Delivery.claim_until <= database.now_expression())
        if session.execute(expired.limit(1)).first() is None:
            return 0
    return database.transaction(unit)


def expire_all(session: Session, now: datetime) -> None:
    """Expire every claim. Only for a process that knows that no other worker lives; :func:`recover_expired` follows."""
    session.execute(update(Delivery).where(IS_CLAIMED).values(claim_until=now))


def clamp_future_due_times(session: Session, now: datetime) -> None:
    """Make deliveries due now that wait longer than any rule allows: the clock was ahead when they were written."""
    untried = and_(Delivery.reason_code.is_(None), Delivery.due_at > now + clock.MAX_CLOCK_SKEW)
    too_late = or_(untried, Delivery.due_at > now + MAX_WAIT)
    session.execute(update(Delivery).where(IS_DUE, too_late).values(due_at=now))


def store_messages(session: Transaction, token: str, built: Sequence[ClaimedDelivery]) -> None:
    """Store the built messages of deliveries that are still under ``token`` and have none: stored bytes never change."""
    rows = [{"of_id": one.id, "of_claim": token, "to_message_id": one.message_id, "to_frozen": one.frozen} for one in built]
    if rows:
        session.connection().execute(_STORE_MESSAGE, rows)


def update_claimed(session: Transaction, token: str, delivery_id: int, state: str, **values: Any) -> None:
    """Change a delivery that is still under ``token`` and has no final outcome.

    An answer that arrives after the claim expired is still valid while no other worker has claimed the delivery.

    Raises :class:`ClaimLostError` when the delivery has another token or a final outcome; then nothing was written.
    """
    values["state"] = state
    parameters = {f"to_{name}": value for name, value in values.items()}
    statement = build_claimed_update(tuple(sorted(values)), "to")
    if session.connection().execute(statement, {"to_id": delivery_id, "of_claim": token, **parameters}).rowcount != 1:
        raise ClaimLostError


def may_repeat(mailing: str, ambiguities: int) -> bool:
    """Return whether a delivery with so many ambiguous outcomes is sent again: where its mailing allows it, and once."""
    return find_mailing_type(mailing).may_repeat and ambiguities < 2


def _recover(session: Session, row: Delivery, now: datetime) -> None:
    row.claim_until, row.due_at = None, now
    if row.state == "claimed":
        row.claim = None
        row.state = "ambiguous" if row.ambiguities else "pending"
        row.tried_at = row.tried_at if row.ambiguities else None
        return
    # The token stays: a worker that was only slow may still record the answer until another worker claims the delivery.
    row.ambiguities += 1
    row.state, row.reason_code, row.reason = "ambiguous", OUTCOME_UNKNOWN.code, OUTCOME_UNKNOWN.text
    if not may_repeat(row.mailing, row.ambiguities):
        row.finished_at, row.claim = now, None
        append_facts(session, make_outcome_facts(row, "ambiguous", OUTCOME_UNKNOWN), now)


_IS_OURS = _COLUMNS.claim == bindparam("of_claim")
_IS_OPEN = or_(_COLUMNS.state == "claimed", _COLUMNS.state == "intent", _COLUMNS.state == "ambiguous")
_STORE_MESSAGE = (
    update(_TABLE)
    .where(_COLUMNS.id == bindparam("of_id"), _IS_OURS, _COLUMNS.frozen.is_(null()))
    .values(message_id=bindparam("to_message_id"), frozen=bindparam("to_frozen"))
)


@lru_cache(maxsize=64)
def build_claimed_update(names: tuple[str, ...], prefix: str) -> Any:
    """Return the UPDATE of the columns ``names`` of a delivery under a token.

    Its parameters are ``of_claim``, and ``id`` and each column name with ``prefix_`` before them.
    """
    ours = update(_TABLE).where(_COLUMNS.id == bindparam(f"{prefix}_id"), _IS_OURS, _IS_OPEN, _COLUMNS.finished_at.is_(null()))
    return ours.values({name: bindparam(f"{prefix}_{name}", type_=_COLUMNS[name].type) for name in names})
