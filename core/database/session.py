"""The database: reading and writing transactions, retries, the writer lock, and which errors mean what.

``commit()`` is called in this package only. On SQLite a process has one writer: transactions wait for a fair lock, first come,
first served (docs/decisions/writer-lock.md). On PostgreSQL the same calls run side by side.

Which way to write:

- :meth:`Database.transaction` for a unit that uses the ORM. It costs a session: about as much as the statements of a short unit.
- :meth:`Database.core_transaction` for a unit of Core statements: no session.
- :meth:`Database.autocommit` for a unit that is one statement on PostgreSQL: no BEGIN and COMMIT either.
- :meth:`Database.submit` for a small unit whose caller must not block: a queue and a thread more.
- :meth:`Database.write` for a block that must not be retried.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
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

#: PostgreSQL's codes for deadlock, serialization failure and a session ended while idle in a transaction (Appendix A of its
#: manual). Nothing was committed, so the unit can run again.
RETRIABLE_SQLSTATES = {"40P01", "40001", "25P03"}
#: Classes of PostgreSQL's error codes that concern the server as a whole: connection, resources, locks held by others, operator,
#: system.
UNAVAILABLE_CLASSES = {"08", "53", "55", "57", "58"}
#: The same of SQLite (https://www.sqlite.org/rescode.html): busy, locked, no memory, read-only, I/O, full, cannot open, locking.
UNAVAILABLE_SQLITE = {5, 6, 7, 8, 10, 13, 14, 15}
#: Pauses between attempts of one transaction.
RETRY_BACKOFF = LinearBackoff(shortest=0.01, longest=0.05)


class _CoreTransaction:
    """A transaction without an ORM session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection(self) -> Connection:
        return self._connection


class Database:
    """Transactions over one database URL (``sqlite:///path`` or ``postgresql+psycopg://…``). Threads share it."""

    def __init__(self, url: str, *, pool_size: int = 10, lock_timeout: float = 30.0) -> None:
        """``lock_timeout`` is how many seconds a transaction waits for the writer lock on SQLite."""
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
        """Open a session that cannot write. It sees one consistent state on SQLite, committed rows on PostgreSQL."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open one transaction with an ORM session: committed at the end of the block, rolled back on an exception.

        Nothing is retried. Raises :class:`BusyError` when the writer lock is not free in time.
        """
        with self._hold_writer_lock(), Session(self._writer, expire_on_commit=False) as session:
            yield session
            session.commit()

    def transaction(self, unit: Callable[[Session], T], *, attempts: int = 5) -> T:
        """Run ``unit`` with an ORM session in its own transaction, and return its result after the commit.

        ``unit`` runs again, up to ``attempts`` times, after an error that :func:`is_retriable`: it must have no effects outside
        the database. Costs a session on top of the statements: use :meth:`core_transaction` where the ORM is not needed.
        Raises :class:`BusyError` when the writer lock is not free in time, and the last database error.
        """

        def run_once() -> T:
            with self.write() as session:
                return unit(session)

        return _run_with_retries(run_once, attempts)

    def core_transaction(self, unit: Callable[[Transaction], T], *, attempts: int = 5) -> T:
        """Run ``unit`` as :meth:`transaction` does, without an ORM session.

        ``unit`` may only execute Core statements on ``connection()``. That saves the session, which costs a short unit about
        as much as its statements.
        """

        def run_once() -> T:
            with self._hold_writer_lock(), self._writer.begin() as connection:
                return unit(_CoreTransaction(connection))

        return _run_with_retries(run_once, attempts)

    def autocommit(self, unit: Callable[[Transaction], T], *, attempts: int = 5) -> T:
        """Run a ``unit`` that is exactly one statement on PostgreSQL, which commits by itself.

        Autocommit saves the round trips of BEGIN and COMMIT, but with a second statement the unit would not be atomic. On SQLite
        it is the same as :meth:`core_transaction`.
        """
        if self.is_sqlite:
            return self.core_transaction(unit, attempts=attempts)

        def run_once() -> T:
            with self._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                return unit(_CoreTransaction(connection))

        return _run_with_retries(run_once, attempts)

    def submit(self, unit: Callable[[Transaction], T]) -> Future[T]:
        """Queue ``unit`` for the writer thread, which runs it as :meth:`core_transaction` does; return at once.

        The future has the result, or the exception, after the commit. Units run one after the other, each in its own
        transaction: a long one delays all behind it.
        """
        with self._writer_thread_guard:
            if self._writer_thread is None:
                self._writer_thread = WriterThread(partial(self.core_transaction, attempts=3))
            return self._writer_thread.submit(unit)

    def now(self, session: Session) -> datetime:
        """Return the database's time, by which leases and claims are measured; on PostgreSQL one clock for all processes."""
        if self.is_sqlite:
            return clock.now()
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return moment

    def now_expression(self) -> Any:
        """Return the database's time as an expression for a statement, which saves the query of :meth:`now`.

        On PostgreSQL it is the start of the statement, a constant that an index condition can use.
        """
        return clock.now() if self.is_sqlite else func.statement_timestamp(type_=DateTime(timezone=True))

    def ping(self) -> None:
        """Raise when the database does not answer."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Finish the queued units, stop the threads and close all connections."""
        with self._writer_thread_guard:
            if self._writer_thread is not None:
                self._writer_thread.stop()
                self._writer_thread = None
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._reader.dispose()
        self._writer.dispose()

    @contextmanager
    def _hold_writer_lock(self) -> Iterator[None]:
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


def _run_with_retries(run_once: Callable[[], T], attempts: int) -> T:
    for attempt in range(1, attempts + 1):
        try:
            return run_once()
        except DBAPIError as error:
            if attempt == attempts or not is_retriable(error):
                raise
            time.sleep(RETRY_BACKOFF.after(attempt, chance=random.random()))  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


def is_retriable(error: DBAPIError) -> bool:
    """Return whether the same unit can run again: deadlock, serialization failure, SQLite busy, lost connection."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in RETRIABLE_SQLSTATES


def is_unavailable(error: BaseException) -> bool:
    """Return whether the database as a whole is out of reach or full, as opposed to one bad statement.

    The class of the exception does not tell: PostgreSQL's "index row too large" (54000) is an ``OperationalError`` too, and an
    item that causes it must not stop the items behind it.
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
