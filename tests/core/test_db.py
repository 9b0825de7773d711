"""Units of work on both databases: turns, group commit, what may be tried again, and times."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import Session

from core import engines
from core.db import GROUP_LIMIT, Database, is_retriable, is_unavailable, truncate_wal
from core.errors import BusyError, ConfigurationError
from core.leases import Lease
from tests.servers.postgres import PostgresServer


def add(name: str) -> Callable[[Session], str]:
    """A unit that adds one row."""

    def unit(session: Session) -> str:
        session.execute(insert(Lease).values(name=name))
        return name

    return unit


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.execute(select(Lease.name).order_by(Lease.name)).scalars())


def test_a_unit_is_committed_at_its_end(database: Database) -> None:
    assert database.run(add("a")) == "a"
    assert names(database) == ["a"]


def test_an_exception_inside_a_write_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        add("a")(session)
        session.flush()
        raise RuntimeError
    assert names(database) == []
    assert database.run(add("a")) == "a"


def test_a_process_killed_inside_a_write_leaves_nothing(database: Database) -> None:
    code = (
        "import os, signal, sys; from core.db import Database; from core.leases import Lease; from sqlalchemy import insert\n"
        "with Database(sys.argv[1]).write() as session:\n"
        "    session.execute(insert(Lease).values(name='a')); os.kill(os.getpid(), signal.SIGKILL)"
    )
    url = database.url.render_as_string(hide_password=False)
    ended = subprocess.run([sys.executable, "-c", code, url], check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -9
    assert names(database) == []
    assert database.run(add("a")) == "a"


def test_a_read_session_cannot_write(database: Database) -> None:
    with database.read() as session, pytest.raises(DBAPIError) as refused:
        session.execute(insert(Lease).values(name="a"))
    assert "read" in str(refused.value).lower()
    assert names(database) == []


def test_a_connection_that_was_read_from_can_be_written_with_again(database: Database) -> None:
    for number in range(30):
        assert len(names(database)) == number
        database.run(add(str(number)))


def test_a_read_session_sees_what_was_committed_before_it_began(database: Database) -> None:
    database.run(add("a"))
    with database.read() as session:
        assert session.execute(select(Lease.name)).scalars().all() == ["a"]


def test_a_read_session_does_not_hold_a_writer_up(database: Database) -> None:
    with database.read() as session:
        session.execute(select(Lease.name)).all()
        database.run(add("a"))
    assert names(database) == ["a"]


def test_a_naive_datetime_is_refused(database: Database) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(StatementError) as refused, database.write() as session:
        session.execute(insert(Lease).values(name="a", until=naive))
    assert isinstance(refused.value.orig, TypeError)


@pytest.mark.parametrize("hours", [-5, 0, 5.75, 14])
def test_a_moment_comes_back_as_the_same_moment_in_utc(database: Database, hours: float) -> None:
    moment = datetime(2026, 3, 8, 2, 30, 1, 234567, tzinfo=timezone(timedelta(hours=hours)))
    with database.write() as session:
        session.execute(insert(Lease).values(name="a", until=moment))
    with database.read() as session:
        found = session.execute(select(Lease.until)).scalar_one()
    assert found == moment
    assert found is not None and found.utcoffset() == timedelta(0)


def test_moments_of_different_zones_are_compared_as_moments(database: Database) -> None:
    early = datetime(2026, 1, 1, 23, tzinfo=timezone(timedelta(hours=10)))  # 13:00 UTC
    with database.write() as session:
        session.execute(insert(Lease).values(name="a", until=early))
    with database.read() as session:
        later = datetime(2026, 1, 1, 14, tzinfo=UTC)
        assert session.execute(select(Lease.name).where(Lease.until < later)).scalars().all() == ["a"]


def test_the_databases_time_is_aware_and_now(database: Database) -> None:
    with database.write() as session:
        moment = database.now(session)
    assert moment.tzinfo is not None
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)


def test_on_sqlite_writers_take_turns_first_come_first_served(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    order: list[int] = []
    threads = []
    with database.write():
        for number in range(8):
            threads.append(threading.Thread(target=lambda n=number: database.run(lambda _: order.append(n))))
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

    threads = [threading.Thread(target=lambda: [database.run(unit) for _ in range(5)]) for _ in range(6)]
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
            database.run(lambda _: time.sleep(0.01))

    thread = threading.Thread(target=greedy)
    thread.start()
    time.sleep(0.05)
    waits = []
    for _ in range(10):
        before = time.monotonic()
        database.run(lambda _: None)
        waits.append(time.monotonic() - before)
    stop.set()
    thread.join()
    database.close()
    assert max(waits) < 0.5


def test_who_does_not_get_the_turn_in_time_is_told_that_the_database_is_busy(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}", turn_timeout=0.2)
    result: list[object] = []

    def other() -> None:
        before = time.monotonic()
        with pytest.raises(BusyError) as busy:
            database.run(lambda _: None)
        result.extend([time.monotonic() - before, busy.value.mend, is_unavailable(busy.value)])

    with database.write():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    waited, mend, unavailable = result
    assert isinstance(waited, float) and 0.2 <= waited < 1.0
    assert mend and unavailable
    assert database.run(lambda _: "in") == "in", "whoever gave up must not keep the turn"
    database.close()


def test_many_small_units_share_few_commits(database: Database) -> None:
    commits: list[None] = []
    event.listen(database.engine, "commit", lambda _: commits.append(None))
    first = database.submit(lambda _: time.sleep(0.2))
    futures = [database.submit(add(f"{number:03}")) for number in range(200)]
    first.result(10)
    for future in futures:
        future.result(10)
    assert len(names(database)) == 200
    assert len(commits) <= 200 // GROUP_LIMIT + 2


def test_a_bad_unit_in_a_group_does_not_spoil_the_others(database: Database) -> None:
    database.run(add("taken"))
    hold = database.submit(lambda _: time.sleep(0.1))
    good = [database.submit(add(f"good {number}")) for number in range(5)]
    bad = database.submit(add("taken"))
    raising = database.submit(lambda _: 1 // 0)
    more = [database.submit(add(f"more {number}")) for number in range(5)]
    hold.result(10)
    assert [future.result(10) for future in good + more]
    assert isinstance(bad.exception(10), IntegrityError)
    assert isinstance(raising.exception(10), ZeroDivisionError)
    assert len(names(database)) == 11


def test_closing_finishes_what_was_submitted(database: Database) -> None:
    futures = [database.submit(add(f"{number:03}")) for number in range(100)]
    database.close()
    assert all(future.done() and future.exception() is None for future in futures)


def test_a_deadlock_on_postgresql_is_tried_again(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    for name in ("a", "b"):
        database.run(add(name))
    met = threading.Barrier(2, timeout=10)
    runs: list[str] = []

    def unit(first: str, second: str) -> Callable[[Session], None]:
        def work(session: Session) -> None:
            runs.append(first)
            session.execute(update(Lease).where(Lease.name == first).values(token=first))
            if runs.count(first) == 1:
                met.wait()  # both hold their first row: now each wants the other's
            session.execute(update(Lease).where(Lease.name == second).values(token=first))

        return work

    threads = [threading.Thread(target=lambda pair=pair: database.run(unit(*pair))) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.read() as session:
        tokens = set(session.execute(select(Lease.token)).scalars())
    database.close()
    assert len(runs) == 3, "one of the two was the victim and ran again"
    assert len(tokens) == 1


def test_a_serialization_failure_on_postgresql_is_tried_again(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    database.run(add("a"))
    runs = 0

    def unit(session: Session) -> None:
        nonlocal runs
        runs += 1
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        session.execute(select(Lease.token)).all()
        if runs == 1:
            database.run(lambda other: other.execute(update(Lease).values(token="between")))
        session.execute(update(Lease).values(token="last"))

    database.run(unit)
    with database.read() as session:
        assert session.execute(select(Lease.token)).scalar_one() == "last"
    database.close()
    assert runs == 2


def test_a_unit_cut_off_by_a_restart_of_postgresql_is_run_again(postgres_server: PostgresServer, postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    runs = 0

    def unit(session: Session) -> None:
        nonlocal runs
        runs += 1
        add("a")(session)
        if runs == 1:
            postgres_server.restart("immediate")
            session.execute(text("SELECT 1"))

    database.run(unit)
    assert names(database) == ["a"]
    database.close()
    assert runs == 2


def test_a_database_that_is_away_is_unavailable(postgres_server: PostgresServer, postgres_url: str) -> None:
    database = Database(postgres_url)
    postgres_server.stop("immediate")
    with pytest.raises(OperationalError) as away:
        database.ping()
    postgres_server.start()
    database.ping()
    database.close()
    assert is_unavailable(away.value)


def test_a_holder_that_falls_silent_in_a_transaction_loses_its_locks_on_postgresql(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SILENCE_SECONDS", 1)
    silent, other = Database(postgres_url), Database(postgres_url)
    Lease.metadata.create_all(silent.engine, tables=[Lease.__table__])
    silent.run(add("a"))
    with pytest.raises(DBAPIError) as ended, silent.write() as session:
        session.execute(update(Lease).values(token="silent"))
        other.run(lambda theirs: theirs.execute(update(Lease).values(token="other")))
        session.execute(text("SELECT 1"))
    assert is_retriable(ended.value) and is_unavailable(ended.value)
    with other.read() as session:
        assert session.execute(select(Lease.token)).scalar_one() == "other"
    silent.close()
    other.close()


def test_nobody_waits_for_a_lock_for_ever_on_postgresql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOCK_SECONDS", 1)
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    database.run(add("a"))
    with database.write() as holder:
        holder.execute(update(Lease).values(token="held"))
        with pytest.raises(DBAPIError) as waited:
            database.run(lambda session: session.execute(update(Lease).values(token="other")))
    database.close()
    assert is_unavailable(waited.value)


def test_the_settings_of_a_url_of_postgresql_are_kept(postgres_url: str) -> None:
    database = Database(f"{postgres_url}?options=-c%20work_mem%3D7MB")
    with database.read() as session:
        found = [session.execute(text(f"SHOW {name}")).scalar_one() for name in ("work_mem", "lock_timeout")]
    database.close()
    assert found == ["7MB", "20s"]


def test_sqlite_held_by_another_process_is_waited_for(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    other = _hold(tmp_path / "a.db", seconds=0.5)
    before = time.monotonic()
    database.run(add("a"))
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
    database.run(add("a"))
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
        database.run(add("a"))
    other.wait()
    assert is_retriable(busy.value) and is_unavailable(busy.value)
    assert database.run(add("a")) == "a", "the turn was given back"
    database.close()


def test_a_full_disk_is_unavailability_and_passes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    limit = f"PRAGMA max_page_count={pages}"
    event.listen(database.engine, "begin", lambda connection: connection.exec_driver_sql(limit))
    with pytest.raises(OperationalError) as full:
        database.run(add("x" * 100_000))
    assert is_unavailable(full.value) and not is_retriable(full.value)
    database.run(add("small"))
    assert names(database) == ["small"]
    database.close()


def test_a_bad_statement_is_not_unavailability(database: Database) -> None:
    for statement in ("SELECT no_such_column FROM lease", "INSERT INTO lease (name) VALUES (NULL)"):
        with pytest.raises(DBAPIError) as bad, database.write() as session:
            session.execute(text(statement))
        assert not is_unavailable(bad.value)
        assert not is_retriable(bad.value)


def test_a_value_too_large_for_an_index_of_postgresql_is_not_unavailability(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    incompressible = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(20_000))
    with pytest.raises(OperationalError) as large:
        database.run(add(incompressible))
    database.close()
    assert not is_unavailable(large.value)


def test_sqlite_without_a_file_is_refused_with_the_mend() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(ConfigurationError) as refused:
            Database(url)
        assert refused.value.key == "database_url"
        assert refused.value.mend


def test_sqlite_is_durable_and_keeps_its_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'folder' / 'a.db'}")
    with database.engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas]
    database.close()
    assert values == ["wal", 2, 1]


def test_the_write_ahead_log_is_folded_back(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    database.run(add("a"))
    assert (tmp_path / "a.db-wal").stat().st_size > 0
    truncate_wal(database)
    assert (tmp_path / "a.db-wal").stat().st_size == 0
    assert names(database) == ["a"]
    database.close()


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
