"""Writing what became of a delivery, alone or in one commit with the intent to send the next one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Table, bindparam, exists, insert, literal, select

from core import clock
from core.database.session import Database
from core.database.types import Transaction
from notify import claims
from notify.claims import Claimed, ClaimLostError
from outbox.append import FACT_COLUMNS, append_facts, fact_row
from outbox.facts import Fact
from outbox.models import OutboxFact

log = logging.getLogger("casemill.notify")

_FACTS = cast(Table, OutboxFact.__table__)


@dataclass(frozen=True, slots=True)
class Record:
    """What an attempt came to: changes of its delivery by column, ``state`` among them, and who is to hear of it."""

    delivery_id: int
    changes: Mapping[str, Any]
    told: Sequence[Fact] = ()


def write(session: Transaction, token: str, record: Record) -> None:
    """Write an outcome, unless the delivery is no longer ours: then whoever has it now tells."""
    try:
        claims.change(session, token, record.delivery_id, **record.changes)
    except ClaimLostError:
        _note_loss(record)
    else:
        append_facts(session, record.told, clock.now())


def intend(database: Database, token: str, one: Claimed, record: Record | None) -> None:
    """Commit the intent to send ``one`` and, with it, the outcome of the one before.

    Raises :class:`ClaimLostError` when ``one`` is no longer ours; the outcome is written all the same.
    """
    changes = {"state": "intent", "attempts": one.attempts + 1, "tried_at": clock.now()}
    way = _one_by_one if database.is_sqlite else _at_once
    if not database.autocommit(lambda session: way(session, token, one.id, changes, record)):
        raise ClaimLostError


def _one_by_one(session: Transaction, token: str, delivery_id: int, changes: Mapping[str, Any], record: Record | None) -> bool:
    if record is not None:
        write(session, token, record)
    try:
        claims.change(session, token, delivery_id, **changes)
    except ClaimLostError:
        return False
    return True


def _at_once(session: Transaction, token: str, delivery_id: int, changes: Mapping[str, Any], record: Record | None) -> bool:
    """The same in one statement: a notice costs PostgreSQL and us one question in place of five."""
    values: dict[str, Any] = {"of_claim": token, **_named("next", delivery_id, changes)}
    if record is None:
        names: tuple[str, ...] = ()
    else:
        names = tuple(sorted(record.changes))
        values |= _named("last", record.delivery_id, record.changes)
    told = record.told if record is not None else ()
    for number, fact in enumerate(told):
        values |= {f"fact{number}_{name}": value for name, value in fact_row(fact, clock.now()).items()}
    intended, recorded = session.connection().execute(_statement(tuple(sorted(changes)), names, len(told)), values).one()
    if record is not None and not recorded:
        _note_loss(record)
    return bool(intended)


def _named(prefix: str, delivery_id: int, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_id": delivery_id, **{f"{prefix}_{name}": value for name, value in changes.items()}}


@lru_cache(maxsize=64)
def _statement(next_names: tuple[str, ...], last_names: tuple[str, ...], facts_told: int) -> Any:
    """Whether the intent and the outcome were written. Parts of one statement do not see each other's rows, and need not."""
    intended = claims.changing(next_names, "next").returning(literal(1)).cte("intended")
    if not last_names:
        return select(exists(select(intended)), literal(value=False))
    recorded = claims.changing(last_names, "last").returning(literal(1)).cte("recorded")
    statement = select(exists(select(intended)), exists(select(recorded)))
    for number in range(facts_told):
        names = FACT_COLUMNS
        given = [bindparam(f"fact{number}_{name}", type_=_FACTS.c[name].type) for name in names]
        added = insert(_FACTS).from_select(names, select(*given).select_from(recorded)).returning(_FACTS.c.id)
        statement = statement.add_cte(added.cte(f"fact{number}"))
    return statement


def _note_loss(record: Record) -> None:
    log.warning("a delivery was no longer ours when its outcome came", extra={"delivery": record.delivery_id})
