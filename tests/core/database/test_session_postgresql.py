"""Transactions on PostgreSQL: retries, an unavailable server, clients that fall silent."""

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
from tests.core.database.lease_rows import add_lease, read_names
from tests.servers.postgres import PostgresServer
from tests.waiting import scale_budget


def test_deadlock_on_postgresql_is_retried(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    for name in ("a", "b"):
        database.transaction(add_lease(name))
    barrier = threading.Barrier(2, timeout=10)
    runs: list[str] = []

    def unit(first: str, second: str) -> Callable[[Session], None]:
        def work(session: Session) -> None:
            runs.append(first)
            session.execute(update(Lease).where(Lease.name == first).values(token=first))
            if runs.count(first) == 1:
                # Both hold their first row; next, each waits for the row of the other.
                barrier.wait()
            session.execute(update(Lease).where(Lease.name == second).values(token=first))

        return work

    threads = [threading.Thread(target=lambda pair=pair: database.transaction(unit(*pair))) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scale_budget(30))
    with database.read() as session:
        tokens = set(session.execute(select(Lease.token)).scalars())
    database.close()
    assert len(runs) == 3, "one of the two units must have been the victim and run again"
    assert len(tokens) == 1


def test_serialization_failure_on_postgresql_is_retried(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    database.transaction(add_lease("a"))
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


def test_unit_interrupted_by_restart_of_postgresql_is_retried(postgres_server: PostgresServer, postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    runs = 0

    def unit(session: Session) -> None:
        nonlocal runs
        runs += 1
        add_lease("a")(session)
        if runs == 1:
            postgres_server.restart("immediate")
            session.execute(text("SELECT 1"))

    database.transaction(unit)
    assert read_names(database) == ["a"]
    database.close()
    assert runs == 2


def test_stopped_postgresql_is_unavailable(postgres_server: PostgresServer, postgres_url: str) -> None:
    database = Database(postgres_url)
    postgres_server.stop("immediate")
    with pytest.raises(OperationalError) as away:
        database.ping()
    postgres_server.start()
    database.ping()
    database.close()
    assert is_unavailable(away.value)


def test_client_silent_in_transaction_loses_its_locks_on_postgresql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "IDLE_IN_TRANSACTION_SECONDS", 1)
    silent, other = Database(postgres_url), Database(postgres_url)
    Lease.metadata.create_all(silent.engine, tables=[Lease.__table__])
    silent.transaction(add_lease("a"))
    with pytest.raises(DBAPIError) as ended, silent.write() as session:
        session.execute(update(Lease).values(token="silent"))
        other.transaction(lambda theirs: theirs.execute(update(Lease).values(token="other")))
        session.execute(text("SELECT 1"))
    assert is_retriable(ended.value) and is_unavailable(ended.value)
    with other.read() as session:
        assert session.execute(select(Lease.token)).scalar_one() == "other"
    silent.close()
    other.close()


def test_waiting_for_a_lock_times_out_on_postgresql(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOCK_TIMEOUT_SECONDS", 1)
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    database.transaction(add_lease("a"))
    with database.write() as holder:
        holder.execute(update(Lease).values(token="held"))
        with pytest.raises(DBAPIError) as waited:
            database.transaction(lambda session: session.execute(update(Lease).values(token="other")))
    database.close()
    assert is_unavailable(waited.value)


def test_options_in_postgresql_url_are_kept(postgres_url: str) -> None:
    database = Database(f"{postgres_url}?options=-c%20work_mem%3D7MB")
    with database.read() as session:
        found = [session.execute(text(f"SHOW {name}")).scalar_one() for name in ("work_mem", "lock_timeout")]
    database.close()
    assert found == ["7MB", "20s"]


def test_value_too_large_for_postgresql_index_is_not_unavailability(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.__table__])
    incompressible = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(20_000))
    with pytest.raises(OperationalError) as large:
        database.transaction(add_lease(incompressible))
    database.close()
    assert not is_unavailable(large.value)


def test_pool_reuses_the_connection_used_last(postgres_url: str) -> None:
    """The server caches plans and catalogue for each session, so work that needs one connection should keep the same one."""
    database = Database(postgres_url)
    query = text("SELECT pg_backend_pid()")
    with database.write() as first, database.write() as second, database.write() as third:
        pids = [session.execute(query).scalar_one() for session in (first, second, third)]
    again = [database.transaction(lambda session: session.execute(query).scalar_one()) for _ in range(4)]
    database.close()
    assert len(set(pids)) == 3
    assert again == [pids[0]] * 4, "the connection returned to the pool last must be used first"
