"""Bulk writes: inserts where a UNIQUE key decides, inserts with ids, updates by id; the same on SQLite and PostgreSQL.

On SQLite one statement runs over many rows, whose values are converted here column by column: SQLAlchemy converts row by row,
which costs several times as much. PostgreSQL gets all rows as one JSON parameter that the server unpacks: its driver would
convert each value of each row, at the expense of both sides (docs/decisions/bulk-rows.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec
from sqlalchemy import Dialect, LargeBinary, Table, TextClause, bindparam, insert, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from core.database.in_lists import encode_list, number_list_subquery
from core.database.types import Base, Transaction

Row = dict[str, Any]

#: Up to this many rows PostgreSQL's driver is as quick as one JSON parameter.
MAX_DRIVER_ROWS = 3
#: Keeps the row count of an executed statement.
_PRESERVE_ROWCOUNT = {"preserve_rowcount": True}
#: PostgreSQL refuses NUL in JSON that it unpacks, even where it would store it unchanged.
_NUL = b"\\u0000"


def insert_ignore(session: Transaction, table: type[Base], rows: Sequence[Row]) -> int:
    """Insert ``rows``, skip those whose UNIQUE key exists already, and return how many were inserted.

    Pass the rows in key order: unsorted upserts of several workers deadlock on PostgreSQL.
    """
    if not rows:
        return 0
    inserted = _execute_in_one_statement(session, table, rows, "ON CONFLICT DO NOTHING")
    if inserted is not None:
        return inserted
    statement = postgresql_insert(_table(table)).on_conflict_do_nothing()
    # A Core statement: the ORM's bulk insert costs twice as much.
    return session.connection().execute(statement, list(rows), execution_options=_PRESERVE_ROWCOUNT).rowcount


def insert_all(session: Transaction, table: type[Base], rows: Sequence[Row]) -> None:
    """Insert all ``rows``. Raises ``IntegrityError`` when a UNIQUE key exists already."""
    if rows and _execute_in_one_statement(session, table, rows, "") is None:
        session.connection().execute(insert(_table(table)), list(rows))


def insert_with_ids(session: Transaction, table: type[Base], rows: Sequence[Row]) -> list[int]:
    """Insert ``rows`` and return their ids, in the order of the rows."""
    if not rows:
        return []
    ids = allocate_ids(session, table, len(rows))
    insert_all(session, table, [{**row, "id": row_id} for row_id, row in zip(ids, rows, strict=True)])
    return ids


def update_all(session: Transaction, table: type[Base], rows: Sequence[Row]) -> None:
    """Update the row of each ``id`` with the other columns of the row; all rows name the same columns."""
    if not rows or _execute_in_one_statement(session, table, rows, None) is not None:
        return
    columns = _table(table).c
    values = {name: bindparam(f"to_{name}", type_=columns[name].type) for name in rows[0] if name != "id"}
    statement = update(_table(table)).where(columns.id == bindparam("to_id")).values(values)
    session.connection().execute(statement, [{f"to_{name}": value for name, value in row.items()} for row in rows])


def allocate_ids(session: Transaction, table: type[Base], count: int) -> list[int]:
    """Return ``count`` new ids of ``table``, ascending. On PostgreSQL ids that stay unused are never given again.

    Inserting rows that bring their ids costs a fraction of inserting rows and reading their ids back, which takes one statement
    for each row.
    """
    columns: Any = table.__table__
    if session.connection().dialect.name == "sqlite":
        # The transaction holds the write lock, so no other one can choose the same ids.
        first = _last_id(session, columns) + 1
        return list(range(first, first + count))
    ids = session.connection().execute(_NEXT_IDS, {"name": columns.name, "count": count})
    return sorted(ids.scalars())


#: Takes ids from the sequence of a table. OFFSET makes PostgreSQL look the sequence up once instead of once for each id.
_NEXT_IDS = text(
    "SELECT nextval(behind.sequence) FROM "
    "(SELECT CAST(pg_get_serial_sequence(:name, 'id') AS regclass) AS sequence OFFSET 0) AS behind, generate_series(1, :count)"
)


def _last_id(session: Transaction, table: Any) -> int:
    """Return the highest id ever given, including deleted rows with AUTOINCREMENT (https://www.sqlite.org/autoinc.html)."""
    last: int = session.connection().exec_driver_sql(_last_id_query(table)).scalar_one()
    return last


@lru_cache(maxsize=64)
def _last_id_query(table: Any) -> str:
    last = f"coalesce((SELECT max(id) FROM {table.name}), 0)"  # noqa: S608 - our own names
    if table.dialect_options["sqlite"]["autoincrement"]:
        remembered = f"coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'), 0)"  # noqa: S608
        last = f"max({last}, {remembered})"
    return f"SELECT {last}"


def _execute_in_one_statement(session: Transaction, table: type[Base], rows: Sequence[Row], ending: str | None) -> int | None:
    """Insert the rows with ``ending`` appended to the statement, or update them when it is None; return how many were written.

    Returns None, having written nothing, when the caller has to use the driver's own way.
    """
    if session.connection().dialect.name == "sqlite":
        return _execute_over_tuples(session, _table(table), rows, ending)
    return _execute_with_json(session, table, rows, ending) if len(rows) > MAX_DRIVER_ROWS else None


def _execute_over_tuples(session: Transaction, table: Table, rows: Sequence[Row], ending: str | None) -> int:
    """Run one statement over a tuple for each row (SQLite)."""
    connection = session.connection()
    statement, names, processors, defaults = _build_tuple_statement(table, tuple(rows[0]), ending, connection.dialect)
    columns: list[Any] = []
    for name, process in zip(names, processors, strict=True):
        values = [row[name] for row in rows]
        columns.append(values if process is None else map(process, values))
    columns += [repeat(value, len(rows)) for value in defaults]
    return connection.exec_driver_sql(statement, list(zip(*columns, strict=True)), execution_options=_PRESERVE_ROWCOUNT).rowcount


@lru_cache(maxsize=128)
def _build_tuple_statement(
    table: Table, column_names: tuple[str, ...], ending: str | None, dialect: Dialect
) -> tuple[str, tuple[str, ...], list[Any], list[Any]]:
    """Return the statement, the columns of its tuples, their bind processors, and the values of the columns that follow."""
    if ending is None:
        names = (*(name for name in column_names if name != "id"), "id")
        changes = ", ".join(f'"{name}" = ?' for name in names[:-1])
        return f"UPDATE {table.name} SET {changes} WHERE id = ?", names, _bind_processors(table, names, dialect), []  # noqa: S608 - our own names
    defaults = _defaults(table, column_names)
    columns = ", ".join(f'"{name}"' for name in (*column_names, *defaults))
    placeholders = ", ".join("?" * (len(column_names) + len(defaults)))
    default_values = [
        value if process is None else process(value)
        for value, process in zip(defaults.values(), _bind_processors(table, tuple(defaults), dialect), strict=True)
    ]
    statement = f"INSERT INTO {table.name} ({columns}) VALUES ({placeholders}) {ending}"  # noqa: S608 - our own names
    return statement, column_names, _bind_processors(table, column_names, dialect), default_values


def _bind_processors(table: Table, names: tuple[str, ...], dialect: Dialect) -> list[Any]:
    return [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]


def _defaults(table: Table, column_names: tuple[str, ...]) -> dict[str, Any]:
    """Return the default values of columns that are not in ``column_names``; all defaults of the tables are plain values."""
    missing = {c.name: c.default for c in table.columns if c.name not in column_names}
    return {name: default.arg for name, default in missing.items() if isinstance(default, ScalarElementColumnDefault)}


def _execute_with_json(session: Transaction, table: type[Base], rows: Sequence[Row], ending: str | None) -> int | None:
    """Run one statement with all rows as one JSON parameter (PostgreSQL); return None when JSON cannot carry the rows."""
    columns = _table(table)
    if any(isinstance(columns.c[name].type, LargeBinary) for name in rows[0]):
        return None
    try:
        data = msgspec.json.encode(rows)
    except UnicodeEncodeError:
        # A lone surrogate, such as in a file's name.
        return None
    if _NUL in data:
        return None
    column_names = tuple(rows[0])
    values = {"rows": data.decode()}
    if ending is None:
        statement = _build_json_update(columns, column_names)
        values["ids"] = encode_list(row["id"] for row in rows)
    else:
        statement = _build_json_insert(columns, column_names, ending)
    return session.connection().execute(statement, values, execution_options=_PRESERVE_ROWCOUNT).rowcount


@lru_cache(maxsize=128)
def _build_json_insert(table: Table, column_names: tuple[str, ...], ending: str) -> TextClause:
    defaults = _defaults(table, column_names)
    names = ", ".join(f'"{name}"' for name in (*column_names, *defaults))
    values = ", ".join((*(f'"{name}"' for name in column_names), *(f":default_{name}" for name in defaults)))
    source = f"json_populate_recordset(NULL::{table.name}, CAST(:rows AS json))"
    clause = text(f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {source} {ending}")  # noqa: S608 - our own names
    return clause.bindparams(*(bindparam(f"default_{name}", value, table.c[name].type) for name, value in defaults.items()))


@lru_cache(maxsize=128)
def _build_json_update(table: Table, column_names: tuple[str, ...]) -> TextClause:
    # The ids are a parameter of their own beside the rows, so that the server uses the index (core.database.in_lists).
    changes = ", ".join(f'"{name}" = given."{name}"' for name in column_names if name != "id")
    source = f"json_populate_recordset(NULL::{table.name}, CAST(:rows AS json)) AS given"
    condition = f"{table.name}.id = ANY(ARRAY{number_list_subquery(':ids')}) AND given.id = {table.name}.id"
    return text(f"UPDATE {table.name} SET {changes} FROM {source} WHERE {condition}")  # noqa: S608 - our own names


def _table(table: type[Base]) -> Table:
    found = table.__table__
    assert isinstance(found, Table)  # noqa: S101 - tells the type checker
    return found
