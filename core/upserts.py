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
    """Insert rows and answer with their ids, in the order given."""
    if not rows:
        return []
    columns: Any = table.__table__
    ids = take_numbers(session, table, len(rows))
    session.connection().execute(insert(columns), [{**row, "id": one} for one, row in zip(ids, rows, strict=True)])
    return ids


def take_numbers(session: Session, table: type[Base], count: int) -> list[int]:
    """As many new ids, ascending; those that are not used stay out of use on PostgreSQL.

    Rows that bring their ids cost a fraction of rows whose ids are handed back: those take a statement a row on SQLite, and on
    PostgreSQL one of thousands of parameters, which the driver takes apart anew each time.
    """
    columns: Any = table.__table__
    if session.get_bind().dialect.name == "sqlite":  # whoever holds the writer's lock may choose them
        first = _last_number(session, columns) + 1
        return list(range(first, first + count))
    numbers = session.connection().execute(_NUMBERS, {"name": columns.name, "count": count})
    return sorted(numbers.scalars())


#: PostgreSQL's own sequence behind a numbered column.
_NUMBERS = text("SELECT nextval(pg_get_serial_sequence(:name, 'id')) FROM generate_series(1, :count)")


def _last_number(session: Session, table: Any) -> int:
    """The highest id ever given; AUTOINCREMENT remembers it beyond deletion (https://www.sqlite.org/autoinc.html)."""
    last: int = session.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
    if not table.dialect_options["sqlite"]["autoincrement"]:
        return last
    remembered = session.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}).scalar()
    return max(last, remembered or 0)


def _insert(session: Session) -> Any:
    return sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
