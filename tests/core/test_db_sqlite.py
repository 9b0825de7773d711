"""SQLite: the writer's turn, files held by other processes, a full disk, durability."""

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
from tests.core.units import add, names


def test_on_sqlite_writers_take_turns_first_come_first_served(tmp_path: Path) -> None:
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


def test_on_sqlite_one_unit_at_a_time_is_inside(tmp_path: Path) -> None:
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


def test_a_busy_writer_cannot_keep_the_turn_from_those_who_wait(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    stop = threading.Event()

    def greedy() -> None:
        while not stop.is_set():
            database.transaction(lambda _: time.sleep(0.01))

    thread = threading.Thread(target=greedy)
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


def test_who_does_not_get_the_turn_in_time_is_told_that_the_database_is_busy(tmp_path: Path) -> None:
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
    assert database.transaction(lambda _: "in") == "in", "whoever gave up must not keep the turn"
    database.close()


def test_sqlite_held_by_another_process_is_waited_for(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    other = _hold(tmp_path / "a.db", seconds=0.5)
    before = time.monotonic()
    database.transaction(add("a"))
    waited = time.monotonic() - before
    other.wait()
    assert names(database) == ["a"]
    database.close()
    assert waited > 0.2


def test_a_busy_error_of_sqlite_is_tried_again(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    busy: list[str] = []
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=100"))
    event.listen(database.engine, "handle_error", lambda context: busy.append(str(context.original_exception)))
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    other = _hold(tmp_path / "a.db", seconds=0.25)
    database.transaction(add("a"))
    other.wait()
    assert names(database) == ["a"]
    database.close()
    assert "locked" in busy[0]


def test_sqlite_held_for_too_long_by_another_process_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=50"))
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    other = _hold(tmp_path / "a.db", seconds=2)
    with pytest.raises(OperationalError) as busy:
        database.transaction(add("a"))
    other.wait()
    assert is_retriable(busy.value) and is_unavailable(busy.value)
    assert database.transaction(add("a")) == "a", "the turn was given back"
    database.close()


def test_a_full_disk_is_unavailability_and_passes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = f"PRAGMA max_page_count={pages}"
    event.listen(database.engine, "begin", lambda connection: connection.exec_driver_sql(limit))
    with pytest.raises(OperationalError) as full:
        database.transaction(add("x" * 100_000))
    assert is_unavailable(full.value) and not is_retriable(full.value)
    database.transaction(add("small"))
    assert names(database) == ["small"]
    database.close()


def test_sqlite_without_a_file_is_refused_with_the_mend() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigurationError) as refused:
            Database(url)
        assert refused.value.key == "database_url"
        assert refused.value.hint


def test_sqlite_is_durable_and_keeps_its_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'folder' / 'a.db'}")
    with database.engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas]
    database.close()
    assert values == ["wal", 2, 1]


def test_many_that_open_a_new_file_at_once_all_get_it(tmp_path: Path) -> None:
    """SQLite's own waiting leaves out the switch to a write-ahead log, about once in twenty new files."""
    at_once = 8
    barrier = threading.Barrier(at_once)

    def open_it(path: Path) -> str:
        barrier.wait(10)
        database = Database(f"sqlite:///{path}")
        try:
            with database.read() as session:
                return str(session.execute(text("PRAGMA journal_mode")).scalar_one())
        finally:
            database.close()

    with ThreadPoolExecutor(at_once) as pool:
        modes = [list(pool.map(open_it, [tmp_path / f"{number}.db"] * at_once)) for number in range(120)]
    assert modes == [["wal"] * at_once] * 120


def _hold(path: Path, *, seconds: float) -> subprocess.Popen[str]:
    """Another process that holds the write lock of ``path`` for a while; returns once it does."""
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
