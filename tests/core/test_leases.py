"""Leases: one holder at a time, by the database's clock."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import time_machine
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.database.session import Database
from core.leases import Lease, LeaseHolder
from tests.waiting import scale_budget


def expire(database: Database, name: str) -> None:
    """Let the lease expire."""

    def unit(session: Session) -> None:
        values = {"until": database.now(session) - timedelta(milliseconds=1)}
        session.execute(update(Lease).where(Lease.name == name).values(values))

    database.transaction(unit)


def is_held(database: Database, holder: LeaseHolder) -> bool:
    return database.transaction(holder.is_held)


def test_only_one_of_two_holders_acquires_the_lease(database: Database) -> None:
    first, second = LeaseHolder(database, "mailbox:a"), LeaseHolder(database, "mailbox:a")
    assert first.acquire()
    assert not second.acquire()
    assert is_held(database, first) and not is_held(database, second)


def test_exactly_one_of_many_concurrent_holders_acquires_the_lease(database: Database) -> None:
    won: list[bool] = []
    start = threading.Barrier(8)

    def acquire() -> None:
        holder = LeaseHolder(database, "clock")
        start.wait()
        won.append(holder.acquire())

    threads = [threading.Thread(target=acquire) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_leases_of_different_names_are_independent(database: Database) -> None:
    assert LeaseHolder(database, "mailbox:a").acquire()
    assert LeaseHolder(database, "mailbox:b").acquire()


def test_holder_renews_its_own_lease(database: Database) -> None:
    holder = LeaseHolder(database, "clock", ttl_seconds=20)
    assert holder.acquire()
    with database.read() as session:
        first = session.execute(select(Lease.until, Lease.beat_at)).one()
    time.sleep(0.01)
    assert holder.acquire()
    with database.read() as session:
        second = session.execute(select(Lease.until, Lease.beat_at)).one()
    assert second.until > first.until and second.beat_at > first.beat_at


def test_expired_lease_can_be_acquired_by_another_holder(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    assert first.acquire()
    expire(database, "clock")
    assert second.acquire()
    assert not first.acquire()


def test_lease_expires_after_its_ttl(database: Database) -> None:
    first, second = LeaseHolder(database, "clock", ttl_seconds=2), LeaseHolder(database, "clock")
    assert first.acquire()
    assert not second.acquire()
    deadline = time.monotonic() + 20
    while not second.acquire():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_stale_holder_does_not_hold_the_lease(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    first.acquire()
    expire(database, "clock")
    assert not is_held(database, first), "an expired lease is not held, even if no other holder has it"
    second.acquire()
    assert not is_held(database, first)
    assert is_held(database, second)


def test_released_lease_is_free_at_once(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    first.acquire()
    first.release()
    assert not is_held(database, first)
    assert second.acquire()


def test_stale_holder_cannot_release_the_lease_of_its_successor(database: Database) -> None:
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    first.acquire()
    expire(database, "clock")
    second.acquire()
    first.release()
    assert is_held(database, second)


def test_holder_that_never_acquired_holds_nothing(database: Database) -> None:
    assert not is_held(database, LeaseHolder(database, "clock"))


def test_leases_expire_by_server_time_on_postgresql(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.metadata.tables["lease"]])
    first, second = LeaseHolder(database, "clock"), LeaseHolder(database, "clock")
    assert first.acquire()
    # The clock of this machine is wrong, the server's is not.
    with time_machine.travel("2031-01-01 00:00:00", tick=True):
        assert not second.acquire()
        assert is_held(database, first)
    database.close()


def test_checking_a_lease_locks_it_until_the_commit(postgres_url: str) -> None:
    database = Database(postgres_url)
    Lease.metadata.create_all(database.engine, tables=[Lease.metadata.tables["lease"]])
    first, second = LeaseHolder(database, "clock", ttl_seconds=2), LeaseHolder(database, "clock")
    first.acquire()
    taken: list[bool] = []
    with database.write() as session:
        assert first.is_held(session)
        # The lease expires in the middle of its holder's transaction.
        time.sleep(2.1)
        thread = threading.Thread(target=lambda: taken.append(second.acquire()))
        thread.start()
        time.sleep(0.3)
        assert taken == []
    thread.join(scale_budget(10))
    database.close()
    assert taken == [True]
