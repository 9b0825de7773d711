"""The relay passes each fact to its handlers once, even when others fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database
from core.database.types import Base
from core.leases import Lease
from outbox import relay
from outbox.append import append_facts, read_fact
from outbox.facts import KINDS, Fact, NoticeSettled, TicketAssigned, TicketCreated
from outbox.models import OutboxFact

SETTLED = NoticeSettled(1, 2, "ticket_created", "sent", "accepted", "The mail server accepted it", "dana@practice.example")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    Base.metadata.create_all(database.engine, tables=[Base.metadata.tables[name] for name in ("outbox_fact", "lease")])
    yield database
    database.close()


def append(database: Database, *facts: Fact) -> None:
    database.transaction(lambda session: append_facts(session, facts, clock.now()))


def make_handler(seen: list[Fact], fails: Callable[[Fact], bool] = lambda _: False) -> relay.FactHandler:
    """Return a handler that writes a row for each fact and raises for those that ``fails`` names."""

    def handle(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        for fact in batch:
            assert isinstance(fact, TicketCreated)
            if fails(fact):
                raise ValueError("canary text")
            session.execute(insert(Lease).values(name=f"ticket {fact.ticket_id}", beat_at=now))
        seen.extend(batch)

    return handle


def count_written(database: Database) -> int:
    with database.read() as session:
        return session.execute(select(func.count()).select_from(Lease)).scalar_one()


def read_rows(database: Database) -> list[OutboxFact]:
    with database.read() as session:
        return list(session.execute(select(OutboxFact).order_by(OutboxFact.id)).scalars())


def update_rows(database: Database, *which: ColumnElement[bool], **values: Any) -> None:
    def unit(session: Session) -> None:
        session.execute(update(OutboxFact).where(*which).values(values))

    database.transaction(unit)


def drain(database: Database, subscriptions: relay.Subscriptions) -> int:
    total = 0
    while done := relay.relay_batch(database, subscriptions):
        total += done
    return total


@pytest.mark.parametrize("fact", [TicketCreated(1, True), TicketCreated(2, False, "no_address", "It has none"),
                                  TicketAssigned(1, 2, 3, "Ada is the consultant – ünïcode"), SETTLED])  # fmt: skip
def test_fact_is_read_as_it_was_written(database: Database, fact: Fact) -> None:
    append(database, fact)
    (row,) = read_rows(database)
    assert read_fact(row.kind, row.payload) == fact
    assert KINDS[row.kind] is type(fact)


def test_each_fact_is_relayed_once_and_in_order(database: Database) -> None:
    facts = [TicketCreated(number, True) for number in range(250)]
    append(database, *facts)
    seen: list[Fact] = []
    assert drain(database, {TicketCreated.kind: (make_handler(seen),)}) == 250
    assert seen == facts
    assert relay.relay_batch(database, {TicketCreated.kind: (make_handler(seen),)}) == 0
    assert all(row.done_at is not None for row in read_rows(database))


def test_all_handlers_of_a_kind_get_the_facts_of_that_kind_only(database: Database) -> None:
    first: list[str] = []
    second: list[str] = []
    append(database, TicketCreated(1, True), TicketAssigned(1, 2, 3, "x"))
    subscriptions: relay.Subscriptions = {
        TicketCreated.kind: (
            lambda _, batch, __: first.extend(fact.kind for fact in batch),
            lambda _, batch, __: second.extend(fact.kind for fact in batch),
        ),
    }
    assert drain(database, subscriptions) == 2
    assert first == second == [TicketCreated.kind]


def test_fact_without_handler_is_done(database: Database) -> None:
    append(database, TicketCreated(1, True))
    assert drain(database, {}) == 1
    assert read_rows(database)[0].done_at is not None


def test_fact_waits_until_it_is_due(database: Database) -> None:
    append(database, TicketCreated(1, True))
    update_rows(database, due_at=clock.now() + timedelta(hours=1))
    seen: list[Fact] = []
    assert relay.relay_batch(database, {TicketCreated.kind: (make_handler(seen),)}) == 0
    assert seen == []


def test_failing_handler_postpones_its_fact_only(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    append(database, *(TicketCreated(number, True) for number in range(10)))
    seen: list[Fact] = []
    with caplog.at_level(logging.INFO):
        done = relay.relay_batch(
            database, {TicketCreated.kind: (make_handler(seen, lambda fact: fact == TicketCreated(4, True)),)}
        )
    assert done == 9 and count_written(database) == 9
    (poison,) = [row for row in read_rows(database) if row.done_at is None]
    assert poison.payload["ticket_id"] == 4
    assert (poison.attempts, poison.error) == (1, "ValueError")
    assert poison.due_at > clock.now()
    assert "canary" not in caplog.text


def test_writes_of_a_failed_handler_are_rolled_back(database: Database) -> None:
    append(database, TicketCreated(1, True))

    def fail_after_writing(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        session.execute(insert(Lease).values(name="half"))
        raise ValueError

    assert relay.relay_batch(database, {TicketCreated.kind: (fail_after_writing,)}) == 0
    assert count_written(database) == 0
    assert read_rows(database)[0].attempts == 1


def test_failed_fact_is_retried_until_it_succeeds(database: Database) -> None:
    append(database, TicketCreated(1, True))
    seen: list[Fact] = []
    for _ in range(3):
        relay.relay_batch(database, {TicketCreated.kind: (make_handler(seen, lambda _: True),)})
        update_rows(database, due_at=clock.now())
    assert read_rows(database)[0].attempts == 3
    assert relay.relay_batch(database, {TicketCreated.kind: (make_handler(seen),)}) == 1
    assert seen == [TicketCreated(1, True)]


def test_pause_of_failed_fact_grows_to_ten_minutes(database: Database) -> None:
    append(database, TicketCreated(1, True), TicketCreated(2, True))
    pauses = []
    for attempts in (0, 3, 60, 5000):
        update_rows(database, OutboxFact.id == 1, attempts=attempts, due_at=clock.now() - timedelta(seconds=1))
        relay.relay_batch(database, {TicketCreated.kind: (make_handler([], lambda fact: fact == TicketCreated(1, True)),)})
        pauses.append((read_rows(database)[0].due_at - clock.now()).total_seconds())
    assert read_rows(database)[1].done_at is not None, "a failing fact must not hold up the next one"
    assert [round(pause, -1) for pause in pauses] == [0, 20, 600, 600]


def test_fact_of_unknown_kind_waits_for_a_version_that_knows_it(database: Database) -> None:
    append(database, TicketCreated(1, True))
    now = clock.now()
    unknown = {"kind": "billing.task_sent", "payload": {"task_id": 7}, "created_at": now, "due_at": now}
    database.transaction(lambda session: session.execute(insert(OutboxFact), [unknown]) and None)
    append(database, TicketCreated(2, True))
    seen: list[Fact] = []
    assert drain(database, {TicketCreated.kind: (make_handler(seen),)}) == 2
    (waiting,) = [row for row in read_rows(database) if row.done_at is None]
    assert (waiting.kind, waiting.error) == ("billing.task_sent", "KeyError")


def test_fact_with_unknown_fields_waits_too(database: Database) -> None:
    append(database, TicketCreated(1, True))
    update_rows(database, payload={"ticket_id": 1, "answer": True, "language": "es"})
    assert relay.relay_batch(database, {}) == 0
    assert read_rows(database)[0].error == "TypeError"


def test_operational_error_of_one_statement_does_not_stop_the_relay(postgres_url: str) -> None:
    database = Database(postgres_url)
    Base.metadata.create_all(database.engine, tables=[Base.metadata.tables[name] for name in ("outbox_fact", "lease")])
    too_large = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(20_000))

    def write(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        for fact in batch:
            name = too_large if fact == TicketCreated(1, True) else "fits"
            # The name too large for the index raises an OperationalError.
            session.execute(insert(Lease).values(name=name))

    append(database, TicketCreated(1, True), TicketCreated(2, True))
    assert relay.relay_batch(database, {TicketCreated.kind: (write,)}) == 1
    database.close()


def test_unavailable_database_counts_as_no_attempt(database: Database) -> None:
    append(database, TicketCreated(1, True))

    def lose_connection(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        raise OperationalError("", {}, ConnectionResetError(), connection_invalidated=True)

    with pytest.raises(OperationalError):
        relay.relay_batch(database, {TicketCreated.kind: (lose_connection,)})
    assert (read_rows(database)[0].attempts, read_rows(database)[0].error) == (0, None)


def test_concurrent_relays_pass_each_fact_once(database: Database) -> None:
    append(database, *(TicketCreated(number, True) for number in range(400)))
    seen: list[Fact] = []
    start = threading.Barrier(4)

    def slow(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        time.sleep(0.02)
        make_handler(seen)(session, batch, now)

    def run() -> None:
        start.wait()
        drain(database, {TicketCreated.kind: (slow,)})

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain(database, {TicketCreated.kind: (slow,)})
    assert len(seen) == len(set(seen)) == 400
    assert count_written(database) == 400


def test_relays_run_in_parallel_on_postgresql(postgres_url: str) -> None:
    database = Database(postgres_url)
    Base.metadata.create_all(database.engine, tables=[Base.metadata.tables["outbox_fact"]])
    append(database, *(TicketCreated(number, True) for number in range(200)))
    barrier = threading.Barrier(2, timeout=10)
    done: list[int] = []

    def handle(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        # Passes only when two relays hold facts at the same time.
        barrier.wait()

    threads = [
        threading.Thread(target=lambda: done.append(relay.relay_batch(database, {TicketCreated.kind: (handle,)}))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert done == [100, 100]


def test_only_facts_done_long_ago_are_deleted(database: Database) -> None:
    append(database, *(TicketCreated(number, True) for number in range(3)))
    now = datetime.now(UTC)
    for number, done_at in ((1, now - timedelta(days=8)), (2, now - timedelta(days=6))):
        update_rows(database, OutboxFact.id == number, done_at=done_at)
    assert relay.delete_done(database, timedelta(days=7)) == 1
    assert [row.payload["ticket_id"] for row in read_rows(database)] == [1, 2]
    assert relay.delete_done(database, timedelta(days=7)) == 0


def test_appending_no_facts_writes_nothing(database: Database) -> None:
    append(database)
    assert read_rows(database) == []
