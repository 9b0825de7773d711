"""Build a large SQLite database from a small one: copy every row of the ledger and of the tickets many times with SQL.

Copy number k is k thousand minutes older than the original. Most copies are completed; a few are open and have no owner. Keys
and places contain the copy's number, so they stay unique. Blob contents and the bytes of notices are left out, and texts are
shortened, so that a million tickets fit into a few gigabytes.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from tickets.stages import COMPLETED

#: Copies below this number have open tickets.
OPEN_COPIES = 10
MINUTES_PER_COPY = 1000
#: An escalation time in the future: thousands of escalations due at once would be extra work.
FUTURE_DUE = "strftime('%Y-%m-%d %H:%M:%f', 'now', '+' || (1440 + n.k) || ' minutes') || '000'"
#: Table → column → SQL expression of its value in copy ``n.k``; ``{column}`` is the original value. Other columns are copied.
EXPRESSIONS: Mapping[str, Mapping[str, str]] = {
    "contact": {"email": "n.k || '.' || {column}"},
    "ticket": {
        "description": "substr({column}, 1, 200)",
        "stage": f"CASE WHEN n.k < {OPEN_COPIES} THEN {{column}} ELSE {COMPLETED} END",
        "owner_id": f"CASE WHEN n.k < {OPEN_COPIES} THEN NULL ELSE {{column}} END",
        "reminder_due_at": "NULL",
        "escalation_due_at": f"CASE WHEN n.k < {OPEN_COPIES} THEN {FUTURE_DUE} ELSE NULL END",
        "completed_at": f"CASE WHEN n.k < {OPEN_COPIES} THEN NULL ELSE {{shifted_updated_at}} END",
    },
    "activity": {"body": "substr({column}, 1, 200)"},
    "inbound_item": {"identity": "n.k || '.' || {column}"},
    "sighting": {"place": "{column} || '.' || n.k"},
    "mail_fingerprint": {"key": "lower(hex(randomblob(32)))"},
    "ticket_contact": {},
    "ticket_thread": {"key": "n.k || '.' || {column}"},
    "attachment": {},
    "delivery": {"key": "{column} || '.' || n.k", "frozen": "zeroblob(64)"},
}
#: Columns that hold an id, and the table it refers to. Each copy adds the highest original id of that table, times ``n.k``.
ID_COLUMNS = {
    "contact": {"id": "contact"},
    "ticket": {"id": "ticket", "requester_id": "contact"},
    "activity": {"id": "activity", "ticket_id": "ticket", "item_id": "inbound_item"},
    "inbound_item": {"id": "inbound_item", "ticket_id": "ticket", "parent_id": "inbound_item"},
    "sighting": {"id": "sighting", "item_id": "inbound_item"},
    "mail_fingerprint": {"item_id": "inbound_item"},
    "ticket_contact": {"ticket_id": "ticket", "contact_id": "contact"},
    "ticket_thread": {"ticket_id": "ticket"},
    "attachment": {"id": "attachment", "ticket_id": "ticket", "activity_id": "activity"},
    "delivery": {"id": "delivery", "ticket_id": "ticket"},
}


def multiply(path: Path, tickets: int) -> int:
    """Copy all rows until there are at least ``tickets`` tickets and return their number.

    No other process may have the file open.
    """
    connection = sqlite3.connect(path)
    try:
        copies = max(1, math.ceil(tickets / _count(connection)) - 1)
        for pragma in ("synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY", "foreign_keys = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TEMP TABLE n (k INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO n VALUES (?)", [(number,) for number in range(1, copies + 1)])
        id_offsets = {table: _max_id(connection, table) for table in EXPRESSIONS if "id" in ID_COLUMNS[table]}
        for table in EXPRESSIONS:
            connection.execute(_statement(table, _columns(connection, table), id_offsets))
        _add_blobs(connection, copies * id_offsets["inbound_item"])
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return _count(connection)
    finally:
        connection.close()


def _statement(table: str, columns: Sequence[tuple[str, str]], id_offsets: Mapping[str, int]) -> str:
    values = [_expression(table, name, kind, id_offsets) for name, kind in columns]
    names = ", ".join(f'"{name}"' for name, _ in columns)
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM n CROSS JOIN {table}"  # noqa: S608 - names of our own


def _expression(table: str, name: str, kind: str, id_offsets: Mapping[str, int]) -> str:
    column = f'{table}."{name}"'
    expression = EXPRESSIONS[table].get(name)
    if expression is not None:
        updated = _shifted_timestamp(f"{table}.updated_at")
        return expression.format(column=column, moment=_shifted_timestamp(column), shifted_updated_at=updated)
    if name in ID_COLUMNS[table]:
        return f"{column} + n.k * {id_offsets[ID_COLUMNS[table][name]]}"
    return _shifted_timestamp(column) if kind == "DATETIME" else column


def _shifted_timestamp(column: str) -> str:
    """Return SQL for a timestamp in the application's format (microseconds), moved back by the age of the copy."""
    return f"strftime('%Y-%m-%d %H:%M:%f', {column}, (-{MINUTES_PER_COPY} * n.k) || ' minutes') || '000'"


def _add_blobs(connection: sqlite3.Connection, count: int) -> None:
    """Fill the blob table with as many keys as the copied items would have."""
    statement = """
        WITH RECURSIVE m (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM m WHERE i < ?)
        INSERT INTO blob (sha256, size, content, created_at)
        SELECT lower(hex(randomblob(32))), 1, zeroblob(1), '2026-01-01 00:00:00.000000' FROM m
    """
    connection.execute(statement, (count,))


def _columns(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    return [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({table})")]


def _max_id(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0])  # noqa: S608 - a name of our own


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM ticket").fetchone()[0])
