"""Engines for both databases, set up for durable commits, failed disks and frozen clients."""

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

#: PostgreSQL ends the session of a client that is silent inside a transaction for this long, which frees its locks. A client
#: that was only frozen finds its session ended and runs the transaction again
#: (docs/decisions/failed-disks-and-frozen-processes.md).
IDLE_IN_TRANSACTION_SECONDS = 12
#: How long a statement waits for a lock: longer than the server waits for a silent client.
LOCK_TIMEOUT_SECONDS = 20
#: A pooled connection that was idle for longer is tested before it is used.
PING_AFTER_IDLE_SECONDS = 1.0
#: How long a process that opens a new SQLite file at the same moment as others waits for them.
WAL_SWITCH_TIMEOUT_SECONDS = 10.0
#: Page cache of the writer. Keys are hashes and addresses, so each row of a batch lies on another page; of a large database
#: hardly one of these pages is in SQLite's default cache of 2 MB.
WRITER_CACHE_KIB = 16 * 1024
#: wal_autocheckpoint allows 128 MB of log. Checkpoints run beside the writers (core.database.checkpoints); this is the limit for
#: when they cannot keep up.
_PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=10000",
    "temp_store=MEMORY",
    "wal_autocheckpoint=32000",
)


def postgresql_engines(url: URL, pool_size: int) -> tuple[Engine, Engine]:
    """Return the writing and the reading engine. Both test a connection that was idle before they use it.

    The reading engine runs in autocommit mode: each statement sees committed rows anyway, and BEGIN and ROLLBACK would cost as
    much as a small query.
    """
    writer = _postgresql_engine(url, pool_size, "")
    reader = _postgresql_engine(url, pool_size, "-c default_transaction_read_only=on", isolation_level="AUTOCOMMIT")
    _dispose_together(writer, reader)
    _dispose_together(reader, writer)
    return writer, reader


def _postgresql_engine(url: URL, pool_size: int, setting: str, **options: Any) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        # Last in, first out: a few sessions are reused, whose plans and catalogue caches the server keeps.
        pool_use_lifo=True,
        connect_args={"connect_timeout": 5, "options": f"{_postgresql_options(url)} {setting}".strip()},
        json_serializer=_to_json,
        **options,
    )
    _ping_idle_connections(engine)
    return engine


def _dispose_together(engine: Engine, other: Engine) -> None:
    """Dispose the pool of ``other`` when a connection of ``engine`` is dead: after a restart of the server all of them are."""

    @event.listens_for(engine, "handle_error")
    def _dispose_other(context: ExceptionContext) -> None:
        if context.is_disconnect:
            other.dispose()


def _ping_idle_connections(engine: Engine) -> None:
    """Ping a connection before use only if it was idle: a ping costs a short transaction a fifth of its time.

    A connection that dies in use fails the transaction, which is run again (:func:`core.database.session.is_retriable`).
    """

    @event.listens_for(engine, "checkin")
    def _note_idle(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, _proxy: object) -> None:
        # A new connection has no idle_since: infinity makes the difference negative, so it is not pinged.
        if time.monotonic() - record.info.get("idle_since", math.inf) < PING_AFTER_IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            # The pool discards the connection and opens another one.
            raise DisconnectionError from None


def _postgresql_options(url: URL) -> str:
    """Return the session's settings (PostgreSQL manual, 20.11): time-outs against frozen clients, then those of the URL."""
    from_url = url.query.get("options", "")
    timeouts = f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_SECONDS}s -c lock_timeout={LOCK_TIMEOUT_SECONDS}s"
    return " ".join([timeouts, *([from_url] if isinstance(from_url, str) else from_url)])


def sqlite_engines(path: str, pool_size: int) -> tuple[Engine, Engine]:
    """Return the writing and the reading engine of the file at ``path``. Raises :class:`ConfigurationError` without a file."""
    if not path or path == ":memory:":
        raise ConfigurationError("the SQLite address names no file", key="database_url", hint="write sqlite:///path/to/file.db")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    writer = _sqlite_engine(path, 2, read_only=False)
    reader = _sqlite_engine(path, pool_size, read_only=True)
    return writer, reader


def _sqlite_engine(path: str, pool_size: int, *, read_only: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=pool_size,
        max_overflow=20,
        # Last in, first out: the connection that was used last has the pages in its cache.
        pool_use_lifo=True,
        connect_args={"timeout": 10, "check_same_thread": False},
        json_serializer=_to_json,
    )

    event.listen(engine, "handle_error", lambda context: disk.exit_on_disk_failure(context.original_exception))

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        # Turns off the driver's own transactions: the "begin" event below starts them.
        connection.isolation_level = None
        _enable_wal(connection)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA query_only=ON" if read_only else f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _enable_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log. The switch needs exclusive access, and SQLite's busy time-out does not cover it."""
    deadline = time.monotonic() + WAL_SWITCH_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _to_json(value: Any) -> str:
    """Return ``value`` as JSON text; characters that UTF-8 lacks, such as a lone surrogate in a file's name, are escaped."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value)
