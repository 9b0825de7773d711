"""The database: two kinds of sessions, one writer's turn, group commit, and a type for UTC times.

``commit()`` is called in this file only. On SQLite one process has one writer: units of work take turns, first come
first served, and small units handed to :meth:`Database.submit` share one commit. On PostgreSQL the same calls run side
by side and the server decides.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, DateTime, Engine, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session
from sqlalchemy.sql import func

from core import clock
from core.backoff import LinearBackoff
from core.database import engines
from core.database.checkpoints import Checkpointer
from core.database.types import T, Transaction
from core.database.writer import FairLock, WriterThread
from core.errors import BusyError

#: Deadlock, serialization failure and a session ended for its silence on PostgreSQL (Appendix A of its manual): nothing was
#: kept, so all are safe to run again.
RETRIABLE_SQLSTATES = {"40P01", "40001", "25P03"}
#: Classes of PostgreSQL's error codes that say something about the server: connection, resources, locks held by others,
#: operator, system.
UNAVAILABLE_CLASSES = {"08", "53", "55", "57", "58"}
#: The same of SQLite (https://www.sqlite.org/rescode.html): busy, locked, no memory, read-only, I/O, full, cannot open, locking.
UNAVAILABLE_SQLITE = {5, 6, 7, 8, 10, 13, 14, 15}
#: Pauses between attempts of one transaction.
RETRY_BACKOFF = LinearBackoff(shortest=0.01, longest=0.05)


class _Plain:
    """A transaction without a session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection(self) -> Connection:
        return self._connection


class Database:
    """Sessions over one database URL (``sqlite:///path`` or ``postgresql+psycopg://…``)."""

    def __init__(self, url: str, *, pool_size: int = 10, lock_timeout: float = 30.0) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writer_lock = FairLock() if self.is_sqlite else None
        self._lock_timeout = lock_timeout
        if self.is_sqlite:
            self._writer, self._reader = engines.sqlite_engines(self.url.database or "", pool_size)
        else:
            self._writer, self._reader = engines.postgresql_engines(self.url, pool_size)
        self._checkpointer = Checkpointer(self._writer) if self.is_sqlite else None
        self._writer_thread: WriterThread | None = None
        self._writer_thread_guard = threading.Lock()

    @property
    def engine(self) -> Engine:
        """The writing engine, for migrations and tests."""
        return self._writer

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that cannot write; it sees one consistent state on SQLite, committed rows on PostgreSQL."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One unit of work: committed at the end, rolled back on an exception.

        Raises :class:`BusyError` when the writer's turn does not come in time.
        """
        with self._locked_for_writing(), Session(self._writer, expire_on_commit=False) as session:
            yield session
            session.commit()

    def transaction(self, unit: Callable[[Session], T], *, attempts: int = 5) -> T:
        """Run one unit of work in its own transaction, again when the database says that trying again is safe."""

        def once() -> T:
            with self.write() as session:
                return unit(session)

        return _run_again(once, attempts)

    def core_transaction(self, unit: Callable[[Transaction], T], *, attempts: int = 5) -> T:
        """The same without the ORM, whose session costs a short unit as much as its statements."""

        def once() -> T:
            with self._locked_for_writing(), self._writer.begin() as connection:
                return unit(_Plain(connection))

        return _run_again(once, attempts)

    def autocommit(self, unit: Callable[[Transaction], T], *, attempts: int = 5) -> T:
        """The same for a unit that is one statement on PostgreSQL, which then needs not be told where it begins and ends."""
        if self.is_sqlite:
            return self.core_transaction(unit, attempts=attempts)

        def once() -> T:
            with self._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                return unit(_Plain(connection))

        return _run_again(once, attempts)

    def submit(self, unit: Callable[[Transaction], T]) -> Future[T]:
        """Queue a small unit without the ORM for the writer thread; the future has its result after the commit."""
        with self._writer_thread_guard:
            if self._writer_thread is None:
                self._writer_thread = WriterThread(partial(self.core_transaction, attempts=3))
            return self._writer_thread.submit(unit)

    def now(self, session: Session) -> datetime:
        """The database's time: what leases are measured by, one clock for all processes on PostgreSQL."""
        if self.is_sqlite:
            return clock.now()
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return moment

    def now_expression(self) -> Any:
        """The same inside a statement: it saves the question. On PostgreSQL when the statement began, which an index can use."""
        return clock.now() if self.is_sqlite else func.statement_timestamp(type_=DateTime(timezone=True))

    def ping(self) -> None:
        """Raise when the database does not answer."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        with self._writer_thread_guard:
            if self._writer_thread is not None:
                self._writer_thread.stop()
                self._writer_thread = None
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._reader.dispose()
        self._writer.dispose()

    @contextmanager
    def _locked_for_writing(self) -> Iterator[None]:
        if self._writer_lock is None:
            yield
            return
        if not self._writer_lock.acquire(self._lock_timeout):
            raise BusyError("the database is busy", hint="try again in a moment")
        try:
            yield
        finally:
            self._writer_lock.release()
        if self._checkpointer is not None:
            self._checkpointer.notify_commit()


def _run_again(once: Callable[[], T], attempts: int) -> T:
    for attempt in range(1, attempts + 1):
        try:
            return once()
        except DBAPIError as error:
            if attempt == attempts or not is_retriable(error):
                raise
            time.sleep(RETRY_BACKOFF.after(attempt, chance=random.random()))  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def is_retriable(error: DBAPIError) -> bool:
    """Whether the same unit may simply be run again: deadlock, serialization failure, SQLite busy, lost connection."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in RETRIABLE_SQLSTATES


def is_unavailable(error: BaseException) -> bool:
    """Whether the database as a whole is out of reach or full, as against one bad statement.

    The class of the error does not tell: PostgreSQL's "index row too large" (54000) is an ``OperationalError`` as well, and an
    item that causes it must not stop those behind it.
    """
    if isinstance(error, BusyError | PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in UNAVAILABLE_SQLITE
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate is None:
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return sqlstate in RETRIABLE_SQLSTATES or sqlstate[:2] in UNAVAILABLE_CLASSES


def truncate_wal(database: Database) -> None:
    """Fold SQLite's write-ahead log back into the file; a no-op elsewhere and when readers are in the way."""
    if database.is_sqlite:
        connection = database.engine.raw_connection()  # inside a transaction a checkpoint is refused
        with closing(connection), suppress(sqlite3.OperationalError):
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
