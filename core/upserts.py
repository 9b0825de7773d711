"""Inserts where a UNIQUE key decides, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from core.db import Base

Row = dict[str, Any]


def insert_ignore(session: Session, table: type[Base], rows: Sequence[Row]) -> None:
    """Insert rows, leaving those alone whose UNIQUE key exists already.

    Give the rows in key order: unsorted upserts of several workers deadlock on PostgreSQL.
    """
    if rows:
        statement = _insert(session)(table.__table__).on_conflict_do_nothing()
        session.connection().execute(statement, list(rows))  # the ORM's bulk insert costs twice as much


def insert_numbered(session: Session, table: type[Base], rows: Sequence[Row]) -> list[int]:
    """Insert rows and answer with their ids, in the order given.

    On SQLite the ids are chosen here, which whoever holds the writer's lock may do: handed back by the database in a certain
    order they cost a statement a row, and the lock is held longer.
    """
    if not rows:
        return []
    columns: Any = table.__table__
    if session.get_bind().dialect.name != "sqlite":
        statement = insert(columns).returning(columns.c.id, sort_by_parameter_order=True)
        return list(session.connection().execute(statement, list(rows)).scalars())
    first = _last_number(session, columns) + 1
    session.connection().execute(insert(columns), [{**row, "id": first + order} for order, row in enumerate(rows)])
    return list(range(first, first + len(rows)))


def _last_number(session: Session, table: Any) -> int:
    """The highest id ever given; AUTOINCREMENT remembers it beyond deletion (https://www.sqlite.org/autoinc.html)."""
    last: int = session.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
    if not table.dialect_options["sqlite"]["autoincrement"]:
        return last
    remembered = session.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}).scalar()
    return max(last, remembered or 0)


def _insert(session: Session) -> Any:
    return sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
