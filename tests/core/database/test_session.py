"""Transactions on both databases: sessions, the writer thread, and times."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from core.database.session import Database, is_retriable, is_unavailable
from core.leases import Lease
from tests.core.database.lease_rows import add_lease, read_names
from tests.waiting import scale_budget


def test_unit_is_committed_at_its_end(database: Database) -> None:
    assert database.transaction(add_lease("a")) == "a"
    assert read_names(database) == ["a"]


def test_exception_inside_a_write_rolls_back(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        add_lease("a")(session)
        session.flush()
        raise RuntimeError
    assert read_names(database) == []
    assert database.transaction(add_lease("a")) == "a"


def test_process_killed_inside_a_write_leaves_nothing(database: Database) -> None:
    code = (
        "import os, signal, sys; from core.database.session import Database; from core.leases import Lease\n"
        "from sqlalchemy import insert\n"
        "with Database(sys.argv[1]).write() as session:\n"
        "    session.execute(insert(Lease).values(name='a')); os.kill(os.getpid(), signal.SIGKILL)"
    )
    url = database.url.render_as_string(hide_password=False)
    ended = subprocess.run([sys.executable, "-c", code, url], check=False, cwd=Path(__file__).parents[3])
    assert ended.returncode == -9
    assert read_names(database) == []
    assert database.transaction(add_lease("a")) == "a"


def test_read_session_cannot_write(database: Database) -> None:
    with database.read() as session, pytest.raises(DBAPIError) as refused:
        session.execute(insert(Lease).values(name="a"))
    assert "read" in str(refused.value).lower()
    assert read_names(database) == []


def test_reads_and_writes_can_alternate(database: Database) -> None:
    for number in range(30):
        assert len(read_names(database)) == number
        database.transaction(add_lease(str(number)))


def test_read_session_sees_earlier_commits(database: Database) -> None:
    database.transaction(add_lease("a"))
    with database.read() as session:
        assert session.execute(select(Lease.name)).scalars().all() == ["a"]


def test_read_session_does_not_block_a_writer(database: Database) -> None:
    with database.read() as session:
        session.execute(select(Lease.name)).all()
        database.transaction(add_lease("a"))
    assert read_names(database) == ["a"]


def test_naive_datetime_is_refused(database: Database) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the test needs a naive value
    with pytest.raises(StatementError) as refused, database.write() as session:
        session.execute(insert(Lease).values(name="a", until=naive))
    assert isinstance(refused.value.orig, TypeError)


@pytest.mark.parametrize("hours", [-5, 0, 5.75, 14])
def test_datetime_is_read_back_in_utc(database: Database, hours: float) -> None:
    moment = datetime(2026, 3, 8, 2, 30, 1, 234567, tzinfo=timezone(timedelta(hours=hours)))
    with database.write() as session:
        session.execute(insert(Lease).values(name="a", until=moment))
    with database.read() as session:
        found = session.execute(select(Lease.until)).scalar_one()
    assert found == moment
    assert found is not None and found.utcoffset() == timedelta(0)


def test_datetimes_of_different_zones_compare_by_moment(database: Database) -> None:
    # 13:00 in UTC.
    early = datetime(2026, 1, 1, 23, tzinfo=timezone(timedelta(hours=10)))
    with database.write() as session:
        session.execute(insert(Lease).values(name="a", until=early))
    with database.read() as session:
        later = datetime(2026, 1, 1, 14, tzinfo=UTC)
        assert session.execute(select(Lease.name).where(Lease.until < later)).scalars().all() == ["a"]


def test_database_time_is_aware_and_current(database: Database) -> None:
    with database.write() as session:
        moment = database.now(session)
    assert moment.tzinfo is not None
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)


def test_failed_unit_of_writer_thread_fails_alone(database: Database) -> None:
    database.transaction(add_lease("taken"))
    hold = database.submit(lambda _: time.sleep(0.1))
    good = [database.submit(add_lease(f"good {number}")) for number in range(5)]
    bad = database.submit(add_lease("taken"))
    raising = database.submit(lambda _: 1 // 0)
    more = [database.submit(add_lease(f"more {number}")) for number in range(5)]
    hold.result(scale_budget(10))
    assert [future.result(scale_budget(10)) for future in good + more]
    assert isinstance(bad.exception(scale_budget(10)), IntegrityError)
    assert isinstance(raising.exception(scale_budget(10)), ZeroDivisionError)
    assert len(read_names(database)) == 11


def test_close_finishes_submitted_units(database: Database) -> None:
    futures = [database.submit(add_lease(f"{number:03}")) for number in range(100)]
    database.close()
    assert all(future.done() and future.exception() is None for future in futures)


def test_bad_statement_is_not_unavailability(database: Database) -> None:
    for statement in ("SELECT no_such_column FROM lease", "INSERT INTO lease (name) VALUES (NULL)"):
        with pytest.raises(DBAPIError) as bad, database.write() as session:
            session.execute(text(statement))
        assert not is_unavailable(bad.value)
        assert not is_retriable(bad.value)
