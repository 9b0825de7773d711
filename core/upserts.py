"""Inserts where a UNIQUE key decides, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        session.execute(_insert(session)(table).on_conflict_do_nothing(), list(rows))


def _insert(session: Session) -> Any:
    return sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
