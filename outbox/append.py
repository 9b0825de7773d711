"""Writing facts to the outbox and reading them back; :mod:`outbox.facts` holds the values and needs no database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from core.database.bulk import insert_all
from core.database.types import Transaction
from outbox.facts import KINDS, Fact
from outbox.models import OutboxFact

#: The columns that :func:`fact_row` fills.
FACT_COLUMNS: Final = ("kind", "payload", "created_at", "due_at", "attempts")


def append_facts(session: Transaction, facts: Iterable[Fact], now: datetime) -> None:
    """Write ``facts`` in the transaction of the change they report, due at once."""
    insert_all(session, OutboxFact, [fact_row(fact, now) for fact in facts])


def fact_row(fact: Fact, now: datetime) -> dict[str, Any]:
    """Return ``fact`` as a row of the outbox, by column."""
    return {"kind": fact.kind, "payload": _payload(fact), "created_at": now, "due_at": now, "attempts": 0}


def _payload(fact: Fact) -> dict[str, Any]:
    # All fields are plain values, which ``asdict`` would copy one by one.
    return {field.name: getattr(fact, field.name) for field in fields(fact)}


def read_fact(kind: str, payload: dict[str, Any]) -> Fact:
    """Return the fact that a row holds. Raises KeyError for a ``kind`` that this version does not know."""
    return KINDS[kind](**payload)
