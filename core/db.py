"""The database: two kinds of sessions, one writer's turn, group commit, and a type for UTC times.

``commit()`` is called in this file only. On SQLite one process has one writer: units of work take turns, first come
first served, and small units handed to :meth:`Database.submit` share one commit. On PostgreSQL the same calls run side
by side and the server decides.
"""

from __future__ import annotations

import queue
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Protocol, TypeVar

from sqlalchemy import JSON, Connection, DateTime, Dialect, Engine, MetaData, select, text
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.sql import func
from sqlalchemy.types import TypeDecorator, TypeEngine

from core import clock, engines
from core.checkpoints import Checkpointer
from core.errors import BusyError

T = TypeVar("T")

#: Deadlock, serialization failure and a session ended for its silence on PostgreSQL (Appendix A of its manual): nothing was
#: kept, so all are safe to run again.
RETRIED_SQLSTATES = {"40P01", "40001", "25P03"}
#: Classes of PostgreSQL's error codes that say something about the server: connection, resources, locks held by others,
#: operator, system.
UNAVAILABLE_CLASSES = {"08", "53", "55", "57", "58"}
#: The same of SQLite (https://www.sqlite.org/rescode.html): busy, locked, no memory, read-only, I/O, full, cannot open, locking.
UNAVAILABLE_SQLITE = {5, 6, 7, 8, 10, 13, 14, 15}
GROUP_LIMIT = 64


class _Text(sqlite_dialect.DATETIME):
    """A DATETIME column of SQLite that is given and gives texts."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None


@lru_cache(maxsize=256)
def _spell(value: datetime) -> str:
    """The text SQLite keeps, of one length, so that it sorts as time does. One moment stands in many rows of a batch."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every database; a naive value is a programming error."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _Text() if dialect.name == "sqlite" else self.impl_instance  # type: ignore[no-untyped-call]

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("a naive datetime was given to the database")
        return _spell(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {datetime: UtcDateTime(), dict[str, Any]: JSON(), list[Any]: JSON()}


def where(condition: str) -> dict[str, Any]:
    """The arguments of a partial index on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


class Transaction(Protocol):
    """What a unit of statements needs; a :class:`~sqlalchemy.orm.Session` has it as well."""

    def connection(self) -> Connection:
        """Where the statements are executed."""


class _Plain:
    """A transaction without a session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def connection(self) -> Connection:
        return self._connection


class Turnstile:
    """A fair lock: whoever came first goes first. ``threading.Lock`` lets a busy thread starve the others."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._held = False

    def acquire(self, timeout: float) -> bool:
        with self._guard:
            if not self._held:
                self._held = True
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            if turn.wait(timeout):
                return True
        except BaseException:  # Ctrl-C while waiting: a turn given to somebody who has left would never be passed on
            if self._leave(turn):
                self.release()
            raise
        return self._leave(turn)

    def _leave(self, turn: threading.Event) -> bool:
        """Stop waiting; True when the turn came in the instant of giving up."""
        with self._guard:
            if turn.is_set():
                return True
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._held = False


class Database:
    """Sessions over one database URL (``sqlite:///path`` or ``postgresql+psycopg://…``)."""

    def __init__(self, url: str, *, pool_size: int = 10, turn_timeout: float = 30.0) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._turn = Turnstile() if self.is_sqlite else None
        self._turn_timeout = turn_timeout
        if self.is_sqlite:
            self._writer, self._reader = engines.sqlite_engines(self.url.database or "", pool_size)
        else:
            self._writer, self._reader = engines.postgresql_engines(self.url, pool_size)
        self._checkpointer = Checkpointer(self._writer) if self.is_sqlite else None
        self._group: _GroupWriter | None = None
        self._group_guard = threading.Lock()

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
        with self._writers_turn(), Session(self._writer, expire_on_commit=False) as session:
            yield session
            session.commit()

    def run(self, unit: Callable[[Session], T], *, attempts: int = 5) -> T:
        """Run one unit of work in its own transaction, again when the database says that trying again is safe."""

        def once() -> T:
            with self.write() as session:
                return unit(session)

        return _run_again(once, attempts)

    def run_plain(self, unit: Callable[[Transaction], T], *, attempts: int = 5) -> T:
        """The same without the ORM, whose session costs a short unit as much as its statements."""

        def once() -> T:
            with self._writers_turn(), self._writer.begin() as connection:
                return unit(_Plain(connection))

        return _run_again(once, attempts)

    def run_alone(self, unit: Callable[[Transaction], T], *, attempts: int = 5) -> T:
        """The same for a unit that is one statement on PostgreSQL, which then needs not be told where it begins and ends."""
        if self.is_sqlite:
            return self.run_plain(unit, attempts=attempts)

        def once() -> T:
            with self._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                return unit(_Plain(connection))

        return _run_again(once, attempts)

    def submit(self, unit: Callable[[Transaction], T]) -> Future[T]:
        """Hand a small unit without the ORM to the group writer: many units share one commit, each fails alone."""
        with self._group_guard:
            if self._group is None:
                self._group = _GroupWriter(self)
            return self._group.submit(unit)

    def now(self, session: Session) -> datetime:
        """The database's time: what leases are measured by, one clock for all processes on PostgreSQL."""
        if self.is_sqlite:
            return clock.now()
        moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
        return moment

    def moment(self) -> Any:
        """The same inside a statement: it saves the question. On PostgreSQL when the statement began, which an index can use."""
        return clock.now() if self.is_sqlite else func.statement_timestamp(type_=DateTime(timezone=True))

    def ping(self) -> None:
        """Raise when the database does not answer."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        with self._group_guard:
            if self._group is not None:
                self._group.stop()
                self._group = None
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._reader.dispose()
        self._writer.dispose()

    @contextmanager
    def _writers_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(self._turn_timeout):
            raise BusyError("the database is busy", mend="try again in a moment")
        try:
            yield
        finally:
            self._turn.release()
        if self._checkpointer is not None:
            self._checkpointer.note()


def _run_again(once: Callable[[], T], attempts: int) -> T:
    for attempt in range(1, attempts + 1):
        try:
            return once()
        except DBAPIError as error:
            if attempt == attempts or not is_retriable(error):
                raise
            time.sleep(random.uniform(0.01, 0.05) * attempt)  # noqa: S311 - jitter, not a secret
    raise AssertionError("unreachable")


class _GroupWriter:
    """One thread that runs whatever has queued up in one transaction; on an error each unit again by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: queue.SimpleQueue[tuple[Callable[[Transaction], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="group-writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Callable[[Transaction], T]) -> Future[T]:
        future: Future[T] = Future()
        self._queue.put((unit, future))
        return future

    def stop(self) -> None:
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _loop(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            ended = False
            while len(batch) < GROUP_LIMIT and not ended:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    ended = True
                else:
                    batch.append(item)
            self._commit(batch)
            if ended:
                return

    def _commit(self, batch: list[tuple[Callable[[Transaction], Any], Future[Any]]]) -> None:
        try:
            results = self._database.run_plain(lambda transaction: [unit(transaction) for unit, _ in batch], attempts=3)
        except Exception as error:
            self._commit_alone(batch, error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            _answer(future, result)

    def _commit_alone(self, batch: list[tuple[Callable[[Transaction], Any], Future[Any]]], error: Exception) -> None:
        if len(batch) == 1:
            _answer(batch[0][1], error)
            return
        for unit, future in batch:
            try:
                _answer(future, self._database.run_plain(unit))
            except Exception as own:
                _answer(future, own)


def _answer(future: Future[Any], result: object) -> None:
    """Tell whoever waits; one who no longer does must not end the writer."""
    with suppress(InvalidStateError):
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def is_retriable(error: DBAPIError) -> bool:
    """Whether the same unit may simply be run again: deadlock, serialization failure, SQLite busy, lost connection."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) in RETRIED_SQLSTATES


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
    return sqlstate in RETRIED_SQLSTATES or sqlstate[:2] in UNAVAILABLE_CLASSES


def truncate_wal(database: Database) -> None:
    """Fold SQLite's write-ahead log back into the file; a no-op elsewhere and when readers are in the way."""
    if database.is_sqlite:
        connection = database.engine.raw_connection()  # inside a transaction a checkpoint is refused
        with closing(connection), suppress(sqlite3.OperationalError):
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
