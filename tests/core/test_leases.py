"""Leases: one holder at a time, by the database's time."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import time_machine
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.database.session import Database
from core.leases import Lease, LeaseHolder


def end_it(database: Database, name: str) -> None:
    """Let the lease run out, as time would."""

    def unit(session: Session) -> None:
        values = {"until": database.now(session) - timedelta(milliseconds=1)}
        session.execute(update(Lease).where(Lease.name == name).values(values))

    database.transaction(unit)


def holds(database: Database, holder: LeaseHolder) -> bool:
    return database.transaction(holder.is_held)


def test_of_two_holders_one_gets_the_lease(database: Database) -> None:
    first, second = LeaseHolder(database, "mailbox:a"), LeaseHolder(database, "mailbox:a")
    assert first.acquire()
    assert not second.acquire()
    assert holds(database, first) and not holds(database, second)


def test_of_many_holders_at_once_exactly_one_gets_the_lease(database: Database) -> None:
    won: list[bool] = []
    gate = threading.Barrier(8)

    def take() -> None:
        holder = LeaseHolder(database, "clock")
        gate.wait()
        won.append(holder.acquire())

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_leases_of_different_names_do_not_meet(database: Database) -> None:
    assert LeaseHolder(database, "mailbox:a").acquire()
    assert LeaseHolder(database, "mailbox:b").acquire()


def test_a_holder_renews_its_own_lease(database: Database) -> None:
    holder = LeaseHolder(database, "clock", ttl_seconds=20)
    assert holder.acquire()
    with database.read() as session:
        first = session.execute(select(Lease.until, Lease.beat_at)).one()
    time.sleep(0.01)
    assert holder.acquire()
    with database.read() as session:
        second = session.execute(select(Lease.until, Lease.beat_at)).one()
    assert second.until > first.until and second.beat_at > first.beat_at


def test_a_lease_that_ran_out_goes_to_whoever_asks(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    assert first.acquire()
    end_it(database, "clock")
    assert second.acquire()
    assert not first.acquire()


def test_a_short_lease_runs_out_by_itself(database: Database) -> None:
    first, second = LeaseHolder(database, "clock", ttl_seconds=2), LeaseHolder(database, "clock")
    assert first.acquire()
    assert not second.acquire()
    deadline = time.monotonic() + 20
    while not second.acquire():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_stale_holder_that_wakes_up_is_told_so(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    first.acquire()
    end_it(database, "clock")
    assert not holds(database, first), "nobody took it, but its time is over"
    second.acquire()
    assert not holds(database, first)
    assert holds(database, second)


def test_a_released_lease_is_free_at_once(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    first.acquire()
    first.release()
    assert not holds(database, first)
    assert second.acquire()


def test_a_stale_holder_cannot_release_the_lease_of_its_successor(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    first.acquire()
    end_it(database, "clock")
    second.acquire()
    first.release()
    assert holds(database, second)


def test_who_never_asked_holds_nothing(database: Database) -> None:
    assert not holds(database, LeaseHolder(database, "clock"))


def test_on_postgresql_leases_are_measured_by_the_servers_time(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.metadata.tables["lease"]])
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    assert first.acquire()
    with time_machine.travel("2031-01-01 00:00:00", tick=True):  # this machine's clock is wrong, the server's is not
        assert not second.acquire()
        assert holds(database, first)
    database.close()


def test_asking_whether_one_holds_keeps_others_out_until_the_commit(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.metadata.tables["lease"]])
    first, second = LeaseHolder(database, "clock", ttl_seconds=2), LeaseHolder(database, "clock")
    first.acquire()
    taken: list[bool] = []
    with database.write() as session:
        assert first.is_held(session)
        time.sleep(2.1)  # the lease runs out in the middle of its holder's transaction
        thread = threading.Thread(target=lambda: taken.append(second.acquire()))
        thread.start()
        time.sleep(0.3)
        assert taken == []
    thread.join(10)
    database.close()
    assert taken == [True]
