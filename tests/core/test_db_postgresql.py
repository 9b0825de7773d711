"""PostgreSQL: what is run again, a server that is away, holders that fall silent."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from core.database import engines
from core.database.session import Database, is_retriable, is_unavailable
from core.leases import Lease
from tests.core.units import add, names
from tests.servers.postgres import PostgresServer


def test_a_deadlock_on_postgresql_is_tried_again(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    for name in ("a", "b"):
        database.transaction(add(name))
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

    threads = [threading.Thread(target=lambda pair=pair: database.transaction(unit(*pair))) for pair in (("a", "b"), ("b", "a"))]
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
    database.transaction(add("a"))
    runs = 0

    def unit(session: Session) -> None:
        nonlocal runs
        runs += 1
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        session.execute(select(Lease.token)).all()
        if runs == 1:
            database.transaction(lambda other: other.execute(update(Lease).values(token="between")))
        session.execute(update(Lease).values(token="last"))

    database.transaction(unit)
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

    database.transaction(unit)
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
    monkeypatch.setattr(engines, "IDLE_IN_TRANSACTION_SECONDS", 1)
    silent, other = Database(postgres_url), Database(postgres_url)
    Lease.metadata.create_all(silent.engine, tables=[Lease.__table__])
    silent.transaction(add("a"))
    with pytest.raises(DBAPIError) as ended, silent.write() as session:
        session.execute(update(Lease).values(token="silent"))
        other.transaction(lambda theirs: theirs.execute(update(Lease).values(token="other")))
        session.execute(text("SELECT 1"))
    assert is_retriable(ended.value) and is_unavailable(ended.value)
    with other.read() as session:
        assert session.execute(select(Lease.token)).scalar_one() == "other"
    silent.close()
    other.close()


def test_nobody_waits_for_a_lock_for_ever_on_postgresql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOCK_TIMEOUT_SECONDS", 1)
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    database.transaction(add("a"))
    with database.write() as holder:
        holder.execute(update(Lease).values(token="held"))
        with pytest.raises(DBAPIError) as waited:
            database.transaction(lambda session: session.execute(update(Lease).values(token="other")))
    database.close()
    assert is_unavailable(waited.value)


def test_the_settings_of_a_url_of_postgresql_are_kept(postgres_url: str) -> None:
    database = Database(f"{postgres_url}?options=-c%20work_mem%3D7MB")
    with database.read() as session:
        found = [session.execute(text(f"SHOW {name}")).scalar_one() for name in ("work_mem", "lock_timeout")]
    database.close()
    assert found == ["7MB", "20s"]


def test_a_value_too_large_for_an_index_of_postgresql_is_not_unavailability(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    incompressible = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(20_000))
    with pytest.raises(OperationalError) as large:
        database.transaction(add(incompressible))
    database.close()
    assert not is_unavailable(large.value)


def test_the_session_used_last_is_used_next(postgres_url: str) -> None:
    """The server keeps plans and tables for each session: work that needs one at a time should find them there."""
    database = Database(postgres_url)
    question = text("SELECT pg_backend_pid()")
    with database.write() as first, database.write() as second, database.write() as third:
        pids = [session.execute(question).scalar_one() for session in (first, second, third)]
    again = [database.transaction(lambda session: session.execute(question).scalar_one()) for _ in range(4)]
    database.close()
    assert len(set(pids)) == 3
    assert again == [pids[0]] * 4, "the one that was given back last"
