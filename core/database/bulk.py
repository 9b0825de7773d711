"""Rows in bulk: inserts where a UNIQUE key decides, numbered inserts, updates by id; the same on SQLite and PostgreSQL.

SQLite takes a statement run over many rows, whose values are prepared here column by column: SQLAlchemy's way, row by row,
costs several times as much. PostgreSQL gets all rows as one JSON parameter that the server takes apart: its driver would prepare
each value of each row, at the expense of both sides.
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

#: Up to this many rows PostgreSQL's driver costs no more by its own way.
FEW = 3
#: Keeps the count of rows for after the statement.
_COUNTED = {"preserve_rowcount": True}
#: The server refuses NUL in what it takes apart, also where it would keep it as it stands.
_NUL = b"\\u0000"


def insert_ignore(session: Transaction, table: type[Base], rows: Sequence[Row]) -> int:
    """Insert rows, leaving those alone whose UNIQUE key exists already; answers how many were inserted.

    Give the rows in key order: unsorted upserts of several workers deadlock on PostgreSQL.
    """
    if not rows:
        return 0
    inserted = _at_once(session, table, rows, "ON CONFLICT DO NOTHING")
    if inserted is not None:
        return inserted
    statement = postgresql_insert(_table(table)).on_conflict_do_nothing()
    # The ORM's bulk insert costs twice as much.
    return session.connection().execute(statement, list(rows), execution_options=_COUNTED).rowcount


def insert_all(session: Transaction, table: type[Base], rows: Sequence[Row]) -> None:
    """Insert rows, all of them; a UNIQUE key that exists already is an error."""
    if rows and _at_once(session, table, rows, "") is None:
        session.connection().execute(insert(_table(table)), list(rows))


def insert_with_ids(session: Transaction, table: type[Base], rows: Sequence[Row]) -> list[int]:
    """Insert rows and answer with their ids, in the order given."""
    if not rows:
        return []
    ids = allocate_ids(session, table, len(rows))
    insert_all(session, table, [{**row, "id": one} for one, row in zip(ids, rows, strict=True)])
    return ids


def update_all(session: Transaction, table: type[Base], rows: Sequence[Row]) -> None:
    """Set the columns that each row names in the row of its ``id``; all rows name the same ones."""
    if not rows or _at_once(session, table, rows, None) is not None:
        return
    columns = _table(table).c
    values = {name: bindparam(f"to_{name}", type_=columns[name].type) for name in rows[0] if name != "id"}
    statement = update(_table(table)).where(columns.id == bindparam("to_id")).values(values)
    session.connection().execute(statement, [{f"to_{name}": value for name, value in row.items()} for row in rows])


def allocate_ids(session: Transaction, table: type[Base], count: int) -> list[int]:
    """As many new ids, ascending; those that are not used stay out of use on PostgreSQL.

    Rows that bring their ids cost a fraction of rows whose ids are handed back: those take a statement a row.
    """
    columns: Any = table.__table__
    if session.connection().dialect.name == "sqlite":  # whoever holds the writer's lock may choose them
        first = _last_number(session, columns) + 1
        return list(range(first, first + count))
    numbers = session.connection().execute(_NUMBERS, {"name": columns.name, "count": count})
    return sorted(numbers.scalars())


#: PostgreSQL's own sequence behind a numbered column, looked up once and not for each number (OFFSET keeps the two apart).
_NUMBERS = text(
    "SELECT nextval(behind.sequence) FROM "
    "(SELECT CAST(pg_get_serial_sequence(:name, 'id') AS regclass) AS sequence OFFSET 0) AS behind, generate_series(1, :count)"
)


def _last_number(session: Transaction, table: Any) -> int:
    """The highest id ever given; AUTOINCREMENT remembers it beyond deletion (https://www.sqlite.org/autoinc.html)."""
    last: int = session.connection().exec_driver_sql(_asks_for_last(table)).scalar_one()
    return last


@lru_cache(maxsize=64)
def _asks_for_last(table: Any) -> str:
    last = f"coalesce((SELECT max(id) FROM {table.name}), 0)"  # noqa: S608 - our own names
    if table.dialect_options["sqlite"]["autoincrement"]:
        remembered = f"coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'), 0)"  # noqa: S608
        last = f"max({last}, {remembered})"
    return f"SELECT {last}"


def _at_once(session: Transaction, table: type[Base], rows: Sequence[Row], ending: str | None) -> int | None:
    """Insert the rows, ``ending`` behind the statement, or update them (None); answers how many it were.

    None when the driver's own way is to do it.
    """
    if session.connection().dialect.name == "sqlite":
        return _by_columns(session, _table(table), rows, ending)
    return _as_json(session, table, rows, ending) if len(rows) > FEW else None


def _by_columns(session: Transaction, table: Table, rows: Sequence[Row], ending: str | None) -> int:
    """SQLite: one statement over tuples."""
    connection = session.connection()
    statement, names, processors, defaults = _over_tuples(table, tuple(rows[0]), ending, connection.dialect)
    columns: list[Any] = []
    for name, process in zip(names, processors, strict=True):
        values = [row[name] for row in rows]
        columns.append(values if process is None else map(process, values))
    columns += [repeat(value, len(rows)) for value in defaults]
    return connection.exec_driver_sql(statement, list(zip(*columns, strict=True)), execution_options=_COUNTED).rowcount


@lru_cache(maxsize=128)
def _over_tuples(
    table: Table, given: tuple[str, ...], ending: str | None, dialect: Dialect
) -> tuple[str, tuple[str, ...], list[Any], list[Any]]:
    """The statement, the columns of its tuples, what prepares each one's values, and the values of the columns behind them."""
    if ending is None:
        names = (*(name for name in given if name != "id"), "id")
        changes = ", ".join(f'"{name}" = ?' for name in names[:-1])
        return f"UPDATE {table.name} SET {changes} WHERE id = ?", names, _processors(table, names, dialect), []  # noqa: S608 - our own names
    defaults = _defaults(table, given)
    listed = ", ".join(f'"{name}"' for name in (*given, *defaults))
    marks = ", ".join("?" * (len(given) + len(defaults)))
    plain = [
        value if process is None else process(value)
        for value, process in zip(defaults.values(), _processors(table, tuple(defaults), dialect), strict=True)
    ]
    statement = f"INSERT INTO {table.name} ({listed}) VALUES ({marks}) {ending}"  # noqa: S608 - our own names
    return statement, given, _processors(table, given, dialect), plain


def _processors(table: Table, names: tuple[str, ...], dialect: Dialect) -> list[Any]:
    return [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]


def _defaults(table: Table, given: tuple[str, ...]) -> dict[str, Any]:
    """Columns that are not given get their defaults, which are plain values throughout."""
    plain = {c.name: c.default for c in table.columns if c.name not in given}
    return {name: one.arg for name, one in plain.items() if isinstance(one, ScalarElementColumnDefault)}


def _as_json(session: Transaction, table: type[Base], rows: Sequence[Row], ending: str | None) -> int | None:
    """PostgreSQL: one statement over the rows as one JSON text; None when these rows cannot be one."""
    columns = _table(table)
    if any(isinstance(columns.c[name].type, LargeBinary) for name in rows[0]):
        return None
    try:
        data = msgspec.json.encode(rows)
    except UnicodeEncodeError:  # a lone surrogate, such as in a file's name
        return None
    if _NUL in data:
        return None
    given = tuple(rows[0])
    values = {"rows": data.decode()}
    if ending is None:
        statement = _update_from_json(columns, given)
        values["ids"] = encode_list(row["id"] for row in rows)
    else:
        statement = _insert_from_json(columns, given, ending)
    return session.connection().execute(statement, values, execution_options=_COUNTED).rowcount


@lru_cache(maxsize=128)
def _insert_from_json(table: Table, given: tuple[str, ...], ending: str) -> TextClause:
    defaults = _defaults(table, given)
    names = ", ".join(f'"{name}"' for name in (*given, *defaults))
    values = ", ".join((*(f'"{name}"' for name in given), *(f":default_{name}" for name in defaults)))
    source = f"json_populate_recordset(NULL::{table.name}, CAST(:rows AS json))"
    clause = text(f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {source} {ending}")  # noqa: S608 - our own names
    return clause.bindparams(*(bindparam(f"default_{name}", value, table.c[name].type) for name, value in defaults.items()))


@lru_cache(maxsize=128)
def _update_from_json(table: Table, given: tuple[str, ...]) -> TextClause:
    """The ids stand beside the rows, so that the server asks the index for them (:mod:`core.database.in_lists`)."""
    changes = ", ".join(f'"{name}" = given."{name}"' for name in given if name != "id")
    source = f"json_populate_recordset(NULL::{table.name}, CAST(:rows AS json)) AS given"
    condition = f"{table.name}.id = ANY(ARRAY{number_list_subquery(':ids')}) AND given.id = {table.name}.id"
    return text(f"UPDATE {table.name} SET {changes} FROM {source} WHERE {condition}")  # noqa: S608 - our own names


def _table(table: type[Base]) -> Table:
    found = table.__table__
    assert isinstance(found, Table)  # noqa: S101 - tells the type checker
    return found
