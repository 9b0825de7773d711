"""Makes a large SQLite database out of a small one: every row of the ledger and of the tickets copied many times, by SQL.

The copies are as old as their number: a thousand minutes a copy. Most are completed; a few are open and nobody's. Keys and
places get the copy's number, so they stay unique; contents of blobs and frozen bytes of notices are left out, and of texts
only the beginning is kept, so that a million tickets fit into a few gigabytes.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from tickets.stages import COMPLETED

#: Copies below this number hold open tickets.
OPEN_COPIES = 10
MINUTES = 1000
#: Table → column → what stands there in copy ``n.k``; ``{column}`` is the column itself. Columns not named are copied.
AHEAD = "strftime('%Y-%m-%d %H:%M:%f', 'now', '+' || (1440 + n.k) || ' minutes') || '000'"
EXPRESSIONS: Mapping[str, Mapping[str, str]] = {
    "contact": {"email": "n.k || '.' || {column}"},
    "ticket": {
        "description": "substr({column}, 1, 200)",
        "stage": f"CASE WHEN n.k < {OPEN_COPIES} THEN {{column}} ELSE {COMPLETED} END",
        "owner_id": f"CASE WHEN n.k < {OPEN_COPIES} THEN NULL ELSE {{column}} END",
        "reminder_due_at": "NULL",
        # Ahead: thousands that are due at once would be work of their own.
        "escalation_due_at": f"CASE WHEN n.k < {OPEN_COPIES} THEN {AHEAD} ELSE NULL END",
        "completed_at": f"CASE WHEN n.k < {OPEN_COPIES} THEN NULL ELSE {{moment_of_updated_at}} END",
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
#: Columns that hold a row's own number or another row's; both move on by the number of rows there were.
NUMBERS = {
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
    """Copy everything until there are at least ``tickets``; answers how many there are. Nobody else may have the file open."""
    connection = sqlite3.connect(path)
    try:
        copies = max(1, math.ceil(tickets / _count(connection)) - 1)
        for pragma in ("synchronous = OFF", "cache_size = -1000000", "temp_store = MEMORY", "foreign_keys = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TEMP TABLE n (k INTEGER PRIMARY KEY)")
        connection.executemany("INSERT INTO n VALUES (?)", [(number,) for number in range(1, copies + 1)])
        steps = {table: _highest(connection, table) for table in EXPRESSIONS if "id" in NUMBERS[table]}
        for table in EXPRESSIONS:
            connection.execute(_statement(table, _columns(connection, table), steps))
        _add_blobs(connection, copies * steps["inbound_item"])
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return _count(connection)
    finally:
        connection.close()


def _statement(table: str, columns: Sequence[tuple[str, str]], steps: Mapping[str, int]) -> str:
    values = [_expression(table, name, kind, steps) for name, kind in columns]
    names = ", ".join(f'"{name}"' for name, _ in columns)
    return f"INSERT INTO {table} ({names}) SELECT {', '.join(values)} FROM n CROSS JOIN {table}"  # noqa: S608 - names of our own


def _expression(table: str, name: str, kind: str, steps: Mapping[str, int]) -> str:
    column = f'{table}."{name}"'
    given = EXPRESSIONS[table].get(name)
    if given is not None:
        updated = _moment(f"{table}.updated_at")
        return given.format(column=column, moment=_moment(column), moment_of_updated_at=updated)
    if name in NUMBERS[table]:
        return f"{column} + n.k * {steps[NUMBERS[table][name]]}"
    return _moment(column) if kind == "DATETIME" else column


def _moment(column: str) -> str:
    """A moment as the application writes it, to the microsecond, some time ago."""
    return f"strftime('%Y-%m-%d %H:%M:%f', {column}, (-{MINUTES} * n.k) || ' minutes') || '000'"


def _add_blobs(connection: sqlite3.Connection, count: int) -> None:
    """As many keys in the blob table as there would be."""
    statement = """
        WITH RECURSIVE m (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM m WHERE i < ?)
        INSERT INTO blob (sha256, size, content, created_at)
        SELECT lower(hex(randomblob(32))), 1, zeroblob(1), '2026-01-01 00:00:00.000000' FROM m
    """
    connection.execute(statement, (count,))


def _columns(connection: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    return [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({table})")]


def _highest(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0])  # noqa: S608 - a name of our own


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM ticket").fetchone()[0])
