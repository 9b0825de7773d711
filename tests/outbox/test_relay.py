"""The relay hands each fact to its readers once, whatever fails beside it."""

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


def put(database: Database, *given: Fact) -> None:
    database.transaction(lambda session: append_facts(session, given, clock.now()))


def reader(seen: list[Fact], fails: Callable[[Fact], bool] = lambda _: False) -> relay.FactHandler:
    """Writes a row for each fact, as readers do; raises for some."""

    def read(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        for fact in batch:
            assert isinstance(fact, TicketCreated)
            if fails(fact):
                raise ValueError("canary text")
            session.execute(insert(Lease).values(name=f"ticket {fact.ticket_id}", beat_at=now))
        seen.extend(batch)

    return read


def written(database: Database) -> int:
    with database.read() as session:
        return session.execute(select(func.count()).select_from(Lease)).scalar_one()


def rows(database: Database) -> list[OutboxFact]:
    with database.read() as session:
        return list(session.execute(select(OutboxFact).order_by(OutboxFact.id)).scalars())


def change(database: Database, *which: ColumnElement[bool], **values: Any) -> None:
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
def test_a_fact_comes_back_as_it_was_written(database: Database, fact: Fact) -> None:
    put(database, fact)
    (row,) = rows(database)
    assert read_fact(row.kind, row.payload) == fact
    assert KINDS[row.kind] is type(fact)


def test_each_fact_is_handed_over_once_and_in_order(database: Database) -> None:
    given = [TicketCreated(number, True) for number in range(250)]
    put(database, *given)
    seen: list[Fact] = []
    assert drain(database, {TicketCreated.kind: (reader(seen),)}) == 250
    assert seen == given
    assert relay.relay_batch(database, {TicketCreated.kind: (reader(seen),)}) == 0
    assert all(row.done_at is not None for row in rows(database))


def test_all_readers_of_a_kind_get_the_fact_and_no_other(database: Database) -> None:
    first: list[str] = []
    second: list[str] = []
    put(database, TicketCreated(1, True), TicketAssigned(1, 2, 3, "x"))
    subscriptions: relay.Subscriptions = {
        TicketCreated.kind: (
            lambda _, batch, __: first.extend(fact.kind for fact in batch),
            lambda _, batch, __: second.extend(fact.kind for fact in batch),
        ),
    }
    assert drain(database, subscriptions) == 2
    assert first == second == [TicketCreated.kind]


def test_a_fact_without_a_reader_is_done(database: Database) -> None:
    put(database, TicketCreated(1, True))
    assert drain(database, {}) == 1
    assert rows(database)[0].done_at is not None


def test_a_fact_that_is_not_due_waits(database: Database) -> None:
    put(database, TicketCreated(1, True))
    change(database, due_at=clock.now() + timedelta(hours=1))
    seen: list[Fact] = []
    assert relay.relay_batch(database, {TicketCreated.kind: (reader(seen),)}) == 0
    assert seen == []


def test_a_failing_reader_pushes_on_its_fact_only_and_the_others_go_on(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    put(database, *(TicketCreated(number, True) for number in range(10)))
    seen: list[Fact] = []
    with caplog.at_level(logging.INFO):
        done = relay.relay_batch(database, {TicketCreated.kind: (reader(seen, lambda fact: fact == TicketCreated(4, True)),)})
    assert done == 9 and written(database) == 9
    (poison,) = [row for row in rows(database) if row.done_at is None]
    assert poison.payload["ticket_id"] == 4
    assert (poison.attempts, poison.error) == (1, "ValueError")
    assert poison.due_at > clock.now()
    assert "canary" not in caplog.text


def test_what_a_reader_wrote_before_it_failed_is_gone(database: Database) -> None:
    put(database, TicketCreated(1, True))

    def fail_after_writing(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        session.execute(insert(Lease).values(name="half"))
        raise ValueError

    assert relay.relay_batch(database, {TicketCreated.kind: (fail_after_writing,)}) == 0
    assert written(database) == 0
    assert rows(database)[0].attempts == 1


def test_a_fact_that_failed_is_tried_again_until_it_succeeds(database: Database) -> None:
    put(database, TicketCreated(1, True))
    seen: list[Fact] = []
    for _ in range(3):
        relay.relay_batch(database, {TicketCreated.kind: (reader(seen, lambda _: True),)})
        change(database, due_at=clock.now())
    assert rows(database)[0].attempts == 3
    assert relay.relay_batch(database, {TicketCreated.kind: (reader(seen),)}) == 1
    assert seen == [TicketCreated(1, True)]


def test_the_pause_grows_to_ten_minutes_and_never_out_of_bounds(database: Database) -> None:
    put(database, TicketCreated(1, True), TicketCreated(2, True))
    pauses = []
    for attempts in (0, 3, 60, 5000):
        change(database, OutboxFact.id == 1, attempts=attempts, due_at=clock.now() - timedelta(seconds=1))
        relay.relay_batch(database, {TicketCreated.kind: (reader([], lambda fact: fact == TicketCreated(1, True)),)})
        pauses.append((rows(database)[0].due_at - clock.now()).total_seconds())
    assert rows(database)[1].done_at is not None, "the one behind it is not held up"
    assert [round(pause, -1) for pause in pauses] == [0, 20, 600, 600]


def test_a_fact_of_an_unknown_kind_waits_for_the_version_that_knows_it(database: Database) -> None:
    put(database, TicketCreated(1, True))
    now = clock.now()
    unknown = {"kind": "billing.task_sent", "payload": {"task_id": 7}, "created_at": now, "due_at": now}
    database.transaction(lambda session: session.execute(insert(OutboxFact), [unknown]) and None)
    put(database, TicketCreated(2, True))
    seen: list[Fact] = []
    assert drain(database, {TicketCreated.kind: (reader(seen),)}) == 2
    (waiting,) = [row for row in rows(database) if row.done_at is None]
    assert (waiting.kind, waiting.error) == ("billing.task_sent", "KeyError")


def test_a_fact_with_other_fields_than_this_version_knows_waits_too(database: Database) -> None:
    put(database, TicketCreated(1, True))
    change(database, payload={"ticket_id": 1, "answer": True, "language": "es"})
    assert relay.relay_batch(database, {}) == 0
    assert rows(database)[0].error == "TypeError"


def test_a_reader_that_meets_an_error_of_its_own_statement_does_not_stop_the_relay(postgres_url: str) -> None:
    database = Database(postgres_url)
    Base.metadata.create_all(database.engine, tables=[Base.metadata.tables[name] for name in ("outbox_fact", "lease")])
    too_large = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(20_000))

    def write(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        for fact in batch:
            name = too_large if fact == TicketCreated(1, True) else "fits"
            session.execute(insert(Lease).values(name=name))  # too large for the index: an OperationalError

    put(database, TicketCreated(1, True), TicketCreated(2, True))
    assert relay.relay_batch(database, {TicketCreated.kind: (write,)}) == 1
    database.close()


def test_a_database_that_is_away_counts_against_no_fact(database: Database) -> None:
    put(database, TicketCreated(1, True))

    def cut_off(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        raise OperationalError("", {}, ConnectionResetError(), connection_invalidated=True)

    with pytest.raises(OperationalError):
        relay.relay_batch(database, {TicketCreated.kind: (cut_off,)})
    assert (rows(database)[0].attempts, rows(database)[0].error) == (0, None)


def test_relays_at_once_do_not_double(database: Database) -> None:
    put(database, *(TicketCreated(number, True) for number in range(400)))
    seen: list[Fact] = []
    gate = threading.Barrier(4)

    def slow(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        time.sleep(0.02)
        reader(seen)(session, batch, now)

    def run() -> None:
        gate.wait()
        drain(database, {TicketCreated.kind: (slow,)})

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain(database, {TicketCreated.kind: (slow,)})
    assert len(seen) == len(set(seen)) == 400
    assert written(database) == 400


def test_on_postgresql_relays_work_side_by_side(postgres_url: str) -> None:
    database = Database(postgres_url)
    Base.metadata.create_all(database.engine, tables=[Base.metadata.tables["outbox_fact"]])
    put(database, *(TicketCreated(number, True) for number in range(200)))
    met = threading.Barrier(2, timeout=10)
    done: list[int] = []

    def together(session: Session, batch: Sequence[Fact], now: datetime) -> None:
        met.wait()  # passes only when two relays hold facts at the same time

    threads = [
        threading.Thread(target=lambda: done.append(relay.relay_batch(database, {TicketCreated.kind: (together,)}))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close()
    assert done == [100, 100]


def test_facts_done_long_ago_are_forgotten_and_no_others(database: Database) -> None:
    put(database, *(TicketCreated(number, True) for number in range(3)))
    now = datetime.now(UTC)
    for number, done_at in ((1, now - timedelta(days=8)), (2, now - timedelta(days=6))):
        change(database, OutboxFact.id == number, done_at=done_at)
    assert relay.delete_done(database, timedelta(days=7)) == 1
    assert [row.payload["ticket_id"] for row in rows(database)] == [1, 2]
    assert relay.delete_done(database, timedelta(days=7)) == 0


def test_nothing_to_append_is_no_statement(database: Database) -> None:
    put(database)
    assert rows(database) == []
