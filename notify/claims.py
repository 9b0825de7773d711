"""A delivery's states in the database: claimed, given back, recovered (reliability.md, A delivery's states)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session, undefer

from core import claims
from core.db import Database
from core.reasons import Reason
from notify.mailings import REPEATABLE, settled
from notify.models import Delivery
from outbox import facts

DUE = (Delivery.finished_at.is_(None), Delivery.state.in_(("pending", "ambiguous")))
HELD = Delivery.state.in_(("claimed", "intent"))
LOST = Reason("outcome_unknown", "The connection was lost after the mail was handed over and before the answer")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in hand."""

    id: int
    key: str
    mailing: str
    ticket_id: int
    recipient: str
    domain: str
    outside: bool
    context: dict[str, Any]
    attempts: int
    ambiguities: int
    message_id: str | None
    created_at: datetime
    frozen: bytes | None


class ClaimLostError(Exception):
    """Somebody else has the delivery now, so this holder must let go of it."""


def claim(database: Database, token: str, limit: int) -> list[Claimed]:
    """Take up to ``limit`` due deliveries, in the order in which they are due."""

    def unit(session: Session) -> list[Claimed]:
        now = database.now(session)
        due = select(Delivery.id).where(*DUE, Delivery.due_at <= now).order_by(Delivery.due_at, Delivery.id)
        chosen = list(session.execute(due.limit(limit).with_for_update(skip_locked=True)).scalars())
        values = {"state": "claimed", "claim": token, "claim_until": now + claims.SPAN}
        session.execute(update(Delivery).where(Delivery.id.in_(chosen)).values(values))
        statement = select(Delivery).where(Delivery.id.in_(chosen)).order_by(Delivery.due_at, Delivery.id)
        rows = session.execute(statement.options(undefer(Delivery.frozen))).scalars()
        return [Claimed(*(getattr(row, name) for name in Claimed.__slots__)) for row in rows]

    with database.read() as session:
        if session.execute(select(Delivery.id).where(*DUE, Delivery.due_at <= database.now(session)).limit(1)).first() is None:
            return []
    return database.run(unit)


def renew(database: Database, token: str) -> None:
    """Hold what is claimed and what is under way longer, while a slow server answers."""

    def unit(session: Session) -> None:
        until = database.now(session) + claims.SPAN
        session.execute(update(Delivery).where(Delivery.claim == token, HELD).values(claim_until=until))

    database.run(unit)


def change(session: Session, token: str, delivery_id: int, state: str, **values: Any) -> None:
    """Compare-and-set: change a delivery that is still ours. Raises :class:`ClaimLostError`."""
    statement = update(Delivery).where(Delivery.id == delivery_id, Delivery.claim == token, HELD)
    if session.execute(statement.values(state=state, **values).returning(Delivery.id)).first() is None:
        raise ClaimLostError


def give_back(session: Session, token: str, ids: Sequence[int], due_at: datetime) -> None:
    """Let go of deliveries that were not begun, to be tried from ``due_at`` on."""
    ours = update(Delivery).where(Delivery.id.in_(list(ids)), Delivery.claim == token, Delivery.state == "claimed")
    values = {"claim": None, "claim_until": None, "due_at": due_at}
    session.execute(ours.where(Delivery.ambiguities == 0).values(state="pending", **values))
    session.execute(ours.where(Delivery.ambiguities > 0).values(state="ambiguous", **values))


def recover(database: Database) -> int:
    """What expired claims held: not begun goes back, begun becomes ambiguous, never pending. Returns how many."""

    def unit(session: Session) -> int:
        now = database.now(session)
        late = select(Delivery).where(HELD, Delivery.claim_until <= now).order_by(Delivery.id)
        rows = session.execute(late.with_for_update(skip_locked=True)).scalars().all()
        for row in rows:
            _release(session, row, now)
        return len(rows)

    with database.read() as session:
        late = or_(HELD), Delivery.claim_until <= database.now(session)
        if session.execute(select(Delivery.id).where(*late).limit(1)).first() is None:
            return 0
    return database.run(unit)


def expire_all(session: Session, now: datetime) -> None:
    """End every claim: for the one process that knows that all holders are dead. :func:`recover` then sees to them."""
    session.execute(update(Delivery).where(HELD).values(claim_until=now))


def _release(session: Session, row: Delivery, now: datetime) -> None:
    row.claim, row.claim_until, row.due_at = None, None, now
    if row.state == "claimed":
        row.state = "ambiguous" if row.ambiguities else "pending"
        return
    row.ambiguities += 1
    row.state, row.reason_code, row.reason = "ambiguous", LOST.code, LOST.text
    if not may_repeat(row.mailing, row.ambiguities):
        row.finished_at = now
        facts.append(session, [settled(row, "ambiguous", LOST)], now)


def may_repeat(mailing: str, ambiguities: int) -> bool:
    """Whether an ambiguous delivery is sent once more: creation notices and recaps, and only once."""
    return mailing in REPEATABLE and ambiguities < 2
