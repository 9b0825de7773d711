"""Engines for the two databases, each with what casemill relies on: durable commits, failed disks, frozen clients."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DisconnectionError

from core import disk
from core.errors import ConfigurationError

#: After so many seconds in the middle of a transaction a client of PostgreSQL counts as dead, and its locks are free. One that
#: was only frozen finds its session ended and does the unit again.
IDLE_IN_TRANSACTION_SECONDS = 12
#: How long a statement waits for somebody's lock: longer than for one who is silent.
LOCK_TIMEOUT_SECONDS = 20
PING_AFTER_IDLE_SECONDS = 1.0
#: How long a process that opens a new file of SQLite at the same moment as others waits for them.
WAL_SWITCH_TIMEOUT_SECONDS = 10.0
#: What the writer keeps of a large database: keys of mails and people are hashes and addresses, so each of a batch's rows lies on
#: another page, and with SQLite's own 2 MB hardly one is there.
WRITER_CACHE_KIB = 16 * 1024
#: Up to 128 MB of log: checkpoints are taken beside the writers (:mod:`core.database.checkpoints`), this is for when they cannot keep up.
_PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=10000",
    "temp_store=MEMORY",
    "wal_autocheckpoint=32000",
)


def postgresql_engines(url: URL, pool_size: int) -> tuple[Engine, Engine]:
    """The writing and the reading engine. Both try a connection that has rested before they lend it.

    Statements of the reading one stand alone, as they do anyway for whoever sees committed rows: so nothing is asked to begin
    and to end them, which costs as much as a small question.
    """
    writer = _postgresql_engine(url, pool_size, "")
    reader = _postgresql_engine(url, pool_size, "-c default_transaction_read_only=on", isolation_level="AUTOCOMMIT")
    _forget_together(writer, reader)
    _forget_together(reader, writer)
    return writer, reader


def _postgresql_engine(url: URL, pool_size: int, setting: str, **more: Any) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_use_lifo=True,  # few sessions whose plans and tables the server has at hand, and not each in turn
        connect_args={"connect_timeout": 5, "options": f"{_postgresql_options(url)} {setting}".strip()},
        json_serializer=_pack,
        **more,
    )
    _ping_what_has_rested(engine)
    return engine


def _forget_together(engine: Engine, other: Engine) -> None:
    """When a connection of ``engine`` turns out to be dead, those that ``other`` keeps are as well: the server was restarted."""

    @event.listens_for(engine, "handle_error")
    def _forget(context: ExceptionContext) -> None:
        if context.is_disconnect:
            other.dispose()


def _ping_what_has_rested(engine: Engine) -> None:
    """Ask a connection whether it lives only after it has rested: the question costs a short unit a fifth of its time.

    What dies in use is found by the unit, which is run again (:func:`core.database.session.is_retriable`).
    """

    @event.listens_for(engine, "checkin")
    def _rest(_connection: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ask(connection: Any, record: Any, _proxy: object) -> None:
        if time.monotonic() - record.info.get("rests_since", math.inf) < PING_AFTER_IDLE_SECONDS:
            return  # a new one rests since never
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            raise DisconnectionError from None  # the pool throws it away, and gives another


def _postgresql_options(url: URL) -> str:
    """The session's settings (PostgreSQL manual, 20.11): those of the URL, and that nobody waits for a frozen process."""
    given = url.query.get("options", "")
    own = f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s -c lock_timeout={LOCK_TIMEOUT_SECONDS}s"
    return " ".join([own, *([given] if isinstance(given, str) else given)])


def sqlite_engines(path: str, pool_size: int) -> tuple[Engine, Engine]:
    """The writing and the reading engine of one file. Raises :class:`ConfigurationError` without a file."""
    if not path or path == ":memory:":
        raise ConfigurationError("SQLite needs a file", key="database_url", hint="write sqlite:///path/to/file.db")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    writer = _sqlite_engine(path, 2, read_only=False)
    reader = _sqlite_engine(path, pool_size, read_only=True)
    return writer, reader


def _sqlite_engine(path: str, pool_size: int, *, read_only: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=pool_size,
        max_overflow=20,
        pool_use_lifo=True,  # the one whose pages are there, and not each in turn
        connect_args={"timeout": 10, "check_same_thread": False},
        json_serializer=_pack,
    )

    event.listen(engine, "handle_error", lambda context: disk.exit_on_disk_failure(context.original_exception))

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver's own transaction handling is off; "begin" below decides
        _write_ahead(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA query_only=ON" if read_only else f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log. A new file has to be the switcher's alone, and for that SQLite does not wait."""
    deadline = time.monotonic() + WAL_SWITCH_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _pack(value: Any) -> str:
    """A JSON value as text. What is no UTF-8, such as a lone surrogate in a file's name, is escaped."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value)
