"""Transactions on SQLite: the writer lock, files locked by other processes, a full disk, durability."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.database.session import Database, is_retriable, is_unavailable
from core.errors import BusyError, ConfigurationError
from core.leases import Lease
from tests.core.database.lease_rows import add_lease, read_names
from tests.waiting import scale_budget


def test_sqlite_writers_are_served_in_order_of_arrival(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    order: list[int] = []
    threads = []
    with database.write():
        for number in range(8):
            threads.append(threading.Thread(target=lambda n=number: database.transaction(lambda _: order.append(n))))
            threads[-1].start()
            time.sleep(0.03)
    for thread in threads:
        thread.join()
    database.close()
    assert order == list(range(8))


def test_sqlite_runs_one_unit_at_a_time(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    inside, most, guard = 0, 0, threading.Lock()

    def unit(_: Session) -> None:
        nonlocal inside, most
        with guard:
            inside += 1
            most = max(most, inside)
        time.sleep(0.005)
        with guard:
            inside -= 1

    threads = [threading.Thread(target=lambda: [database.transaction(unit) for _ in range(5)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert most == 1


def test_busy_writer_does_not_starve_waiting_writers(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    stop = threading.Event()

    def write_all_the_time() -> None:
        while not stop.is_set():
            database.transaction(lambda _: time.sleep(0.01))

    thread = threading.Thread(target=write_all_the_time)
    thread.start()
    time.sleep(0.05)
    waits = []
    for _ in range(10):
        before = time.monotonic()
        database.transaction(lambda _: None)
        waits.append(time.monotonic() - before)
    stop.set()
    thread.join()
    database.close()
    assert max(waits) < 0.5


def test_writer_without_lock_in_time_raises_busy_error(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}", lock_timeout=0.2)
    result: list[object] = []

    def other() -> None:
        before = time.monotonic()
        with pytest.raises(BusyError) as busy:
            database.transaction(lambda _: None)
        result.extend([time.monotonic() - before, busy.value.hint, is_unavailable(busy.value)])

    with database.write():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    waited, hint, unavailable = result
    assert isinstance(waited, float) and 0.2 <= waited < 1.0
    assert hint and unavailable
    assert database.transaction(lambda _: "in") == "in", "a writer that gave up must not hold the lock"
    database.close()


def test_write_waits_for_lock_of_another_process(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    other = _lock_in_another_process(tmp_path / "a.db", seconds=0.5)
    before = time.monotonic()
    database.transaction(add_lease("a"))
    waited = time.monotonic() - before
    other.wait()
    assert read_names(database) == ["a"]
    database.close()
    assert waited > 0.2


def test_sqlite_busy_error_is_retried(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    busy: list[str] = []
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=100"))
    event.listen(database.engine, "handle_error", lambda context: busy.append(str(context.original_exception)))
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    other = _lock_in_another_process(tmp_path / "a.db", seconds=0.25)
    database.transaction(add_lease("a"))
    other.wait()
    assert read_names(database) == ["a"]
    database.close()
    assert "locked" in busy[0]


def test_sqlite_locked_for_too_long_by_another_process_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=50"))
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    other = _lock_in_another_process(tmp_path / "a.db", seconds=2)
    with pytest.raises(OperationalError) as busy:
        database.transaction(add_lease("a"))
    other.wait()
    assert is_retriable(busy.value) and is_unavailable(busy.value)
    assert database.transaction(add_lease("a")) == "a", "the lock must be free again"
    database.close()


def test_full_disk_is_unavailability_and_passes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = f"PRAGMA max_page_count={pages}"
    event.listen(database.engine, "begin", lambda connection: connection.exec_driver_sql(limit))
    with pytest.raises(OperationalError) as full:
        database.transaction(add_lease("x" * 100_000))
    assert is_unavailable(full.value) and not is_retriable(full.value)
    database.transaction(add_lease("small"))
    assert read_names(database) == ["small"]
    database.close()


def test_sqlite_url_without_file_is_refused_with_hint() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigurationError) as refused:
            Database(url)
        assert refused.value.key == "database_url"
        assert refused.value.hint


def test_sqlite_is_durable_and_enforces_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'folder' / 'a.db'}")
    with database.engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas]
    database.close()
    assert values == ["wal", 2, 1]


def test_new_sqlite_file_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """SQLite's busy time-out does not cover the switch to a write-ahead log, which failed about once in twenty new files."""
    at_once = 8
    barrier = threading.Barrier(at_once)

    def read_journal_mode(path: Path) -> str:
        barrier.wait(scale_budget(10))
        database = Database(f"sqlite:///{path}")
        try:
            with database.read() as session:
                return str(session.execute(text("PRAGMA journal_mode")).scalar_one())
        finally:
            database.close()

    with ThreadPoolExecutor(at_once) as pool:
        modes = [list(pool.map(read_journal_mode, [tmp_path / f"{number}.db"] * at_once)) for number in range(120)]
    assert modes == [["wal"] * at_once] * 120


def _lock_in_another_process(path: Path, *, seconds: float) -> subprocess.Popen[str]:
    """Start a process that holds the write lock of ``path`` for ``seconds``; return once it has the lock."""
    code = (
        "import sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(float(sys.argv[2]))\n"
        "connection.execute('COMMIT')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    process.stdout.close()
    return process
