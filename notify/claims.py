"""A delivery's states in the database: claimed, given back, recovered (reliability.md, A delivery's states)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Table, and_, bindparam, null, or_, select, text, update
from sqlalchemy.orm import Session

from core import claims, clock
from core.database.in_lists import among
from core.database.session import Database
from core.database.types import Transaction
from core.reasons import Reason
from notify.mailing_types import find_mailing_type, make_outcome_facts
from notify.models import DUE_WHERE, HELD_WHERE, Delivery
from outbox.append import append_facts

# Written out as in the indexes: SQLite takes a partial index only where it sees the same condition, not for parameters.
DUE = text(f"delivery.{DUE_WHERE}")
HELD = text(f"delivery.{HELD_WHERE}")
#: Pauses between attempts take up to four hours, a full hour's share of a limit a little more than one.
LONGEST_WAIT = timedelta(hours=5)
LOST = Reason("outcome_unknown", "The connection was lost after the mail was handed over and before the answer")
# Statements that run once a mail are built once, on the table: the ORM's way to the same SQL takes ten times as long.
_TABLE = cast(Table, Delivery.__table__)
_COLUMNS = _TABLE.c


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in hand."""

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


#: Says which of the claimed may go now, in the transaction that claims them, and writes what becomes of the others.
Admission = Callable[[Session, Sequence[Claimed]], list[Claimed]]


class ClaimLostError(Exception):
    """Somebody else has the delivery now, so this holder must let go of it."""


def claim(database: Database, token: str, limit: int, admit: Admission) -> tuple[int, list[Claimed]]:
    """Take up to ``limit`` due deliveries, in the order in which they are due; how many, and those that ``admit`` lets go."""

    def unit(session: Session) -> tuple[int, list[Claimed]]:
        due = select(Delivery.id).where(DUE, Delivery.due_at <= clock.now()).order_by(Delivery.due_at, Delivery.id)
        chosen = list(session.execute(due.limit(limit).with_for_update(skip_locked=True)).scalars())
        if not chosen:
            return 0, []
        values = {"state": "claimed", "claim": token, "claim_until": database.now_expression() + claims.SPAN}
        session.execute(update(_TABLE).where(among(_COLUMNS.id, chosen)).values(values))
        wanted = select(*(_COLUMNS[name] for name in Claimed.__slots__)).where(among(_COLUMNS.id, chosen))
        rows = [Claimed(*row) for row in session.execute(wanted.order_by(_COLUMNS.due_at, _COLUMNS.id))]
        return len(rows), admit(session, rows)

    with database.read() as session:
        if session.execute(select(Delivery.id).where(DUE, Delivery.due_at <= clock.now()).limit(1)).first() is None:
            return 0, []
    return database.transaction(unit)


def renew(database: Database, token: str, ids: Sequence[int]) -> None:
    """Hold what is claimed and what is under way longer, while a slow server answers."""

    def unit(session: Session) -> None:
        ours = update(_TABLE).where(among(_COLUMNS.id, ids), _COLUMNS.claim == token, HELD)
        session.execute(ours.values(claim_until=database.now_expression() + claims.SPAN))

    database.transaction(unit)


def freeze(session: Transaction, token: str, made: Sequence[Claimed]) -> None:
    """Keep the bytes of deliveries that are still ours and have none: frozen bytes never change."""
    rows = [{"of_id": one.id, "of_claim": token, "to_message_id": one.message_id, "to_frozen": one.frozen} for one in made]
    if rows:
        session.connection().execute(_FREEZE, rows)


def change(session: Transaction, token: str, delivery_id: int, state: str, **values: Any) -> None:
    """Compare-and-set: change a delivery that is still ours. Raises :class:`ClaimLostError`, and then wrote nothing.

    An answer that came after the claim had expired is still good for a delivery that nobody else has taken since.
    """
    values["state"] = state
    parameters = {f"to_{name}": value for name, value in values.items()}
    statement = changing(tuple(sorted(values)), "to")
    if session.connection().execute(statement, {"to_id": delivery_id, "of_claim": token, **parameters}).rowcount != 1:
        raise ClaimLostError


def give_back(session: Session, token: str, ids: Sequence[int]) -> int:
    """Let go of those of ``ids`` that were not begun; they stay due, in their old places. Returns how many."""
    ours = update(_TABLE).where(among(_COLUMNS.id, ids), _COLUMNS.claim == token, _COLUMNS.state == "claimed")
    free = {"claim": None, "claim_until": None}
    doubtful = ours.where(_COLUMNS.ambiguities > 0).values(state="ambiguous", **free)
    untried = ours.where(_COLUMNS.ambiguities == 0).values(state="pending", tried_at=None, **free)
    return sum(len(session.execute(statement.returning(_COLUMNS.id)).all()) for statement in (doubtful, untried))


def recover(database: Database) -> int:
    """What expired claims held: not begun goes back, begun becomes ambiguous, never pending. Returns how many."""

    def unit(session: Session) -> int:
        late = select(Delivery).where(HELD, Delivery.claim_until <= database.now_expression())
        rows = session.execute(late.with_for_update(skip_locked=True)).scalars().all()
        for row in sorted(rows, key=lambda row: row.id):
            _release(session, row, clock.now())
        return len(rows)

    with database.read() as session:
        late = select(Delivery.id).where(HELD, Delivery.claim_until <= database.now_expression())
        if session.execute(late.limit(1)).first() is None:
            return 0
    return database.transaction(unit)


def bring_forward(session: Session, now: datetime) -> None:
    """Make due what waits longer than any rule lets it: a clock that was ahead wrote that, and has been set back since."""
    fresh = and_(Delivery.reason_code.is_(None), Delivery.due_at > now + clock.TOLERANCE)
    wrong = or_(fresh, Delivery.due_at > now + LONGEST_WAIT)
    session.execute(update(Delivery).where(DUE, wrong).values(due_at=now))


def expire_all(session: Session, now: datetime) -> None:
    """End every claim: for the one process that knows that all holders are dead. :func:`recover` then sees to them."""
    session.execute(update(Delivery).where(HELD).values(claim_until=now))


def _release(session: Session, row: Delivery, now: datetime) -> None:
    row.claim_until, row.due_at = None, now
    if row.state == "claimed":
        row.claim = None
        row.state = "ambiguous" if row.ambiguities else "pending"
        row.tried_at = row.tried_at if row.ambiguities else None
        return
    # Its claim stays: a holder that was only slow may still write the answer, until somebody takes the delivery again.
    row.ambiguities += 1
    row.state, row.reason_code, row.reason = "ambiguous", LOST.code, LOST.text
    if not may_repeat(row.mailing, row.ambiguities):
        row.finished_at, row.claim = now, None
        append_facts(session, make_outcome_facts(row, "ambiguous", LOST), now)


def may_repeat(mailing: str, ambiguities: int) -> bool:
    """Whether an ambiguous delivery is sent once more: creation notices and recaps, and only once."""
    return find_mailing_type(mailing).may_repeat and ambiguities < 2


_HELD_BY = _COLUMNS.claim == bindparam("of_claim")
_UNDECIDED = or_(_COLUMNS.state == "claimed", _COLUMNS.state == "intent", _COLUMNS.state == "ambiguous")
_FREEZE = (
    update(_TABLE)
    .where(_COLUMNS.id == bindparam("of_id"), _HELD_BY, _COLUMNS.frozen.is_(null()))
    .values(message_id=bindparam("to_message_id"), frozen=bindparam("to_frozen"))
)


@lru_cache(maxsize=64)
def changing(names: tuple[str, ...], prefix: str) -> Any:
    """The statement that changes these columns of a delivery that is still ours; its parameters, ``id`` too, have ``prefix_``."""
    ours = update(_TABLE).where(_COLUMNS.id == bindparam(f"{prefix}_id"), _HELD_BY, _UNDECIDED, _COLUMNS.finished_at.is_(null()))
    return ours.values({name: bindparam(f"{prefix}_{name}", type_=_COLUMNS[name].type) for name in names})
