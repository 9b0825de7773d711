"""Which posts share a commit, and when a post gives up waiting for one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from core import clock
from core.database.session import Database
from ingest.ledger.models import InboundItem
from ingest.ledger.types import FORMSTACK, Arrival
from web.hooks import batch_writer
from web.hooks.batch_writer import BatchWriter, Kept

Batches = list[int]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """How many posts each batch had."""
    sizes: Batches = []
    keep = batch_writer.keep

    def counted(session: object, arrivals: list[Arrival]) -> list[Kept]:
        sizes.append(len(arrivals))
        return keep(session, arrivals)  # type: ignore[arg-type]

    monkeypatch.setattr(batch_writer, "keep", counted)
    return sizes


def arrival(number: int, words: str = "Please call") -> Arrival:
    identity = f"55/{number}"
    return Arrival(FORMSTACK, "form", "form:55", str(number), f"{words} {number}".encode(), clock.now(), identity)


def run(database: Database, story: Callable[[BatchWriter], Awaitable[None]]) -> None:
    """Run ``story`` in an event loop, in which it has a minute."""

    async def whole() -> None:
        async with asyncio.timeout(60):
            await story(BatchWriter(database))

    asyncio.run(whole())


async def store(door: BatchWriter, *numbers: int) -> list[Kept]:
    return await asyncio.gather(*(door.store(arrival(number)) for number in numbers))


def test_posts_that_come_together_again_share_one_commit(
    database: Database, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "GATHER_SECONDS", 2)

    async def story(door: BatchWriter) -> None:
        async def send_three(sender: int) -> list[Kept]:
            return [(await store(door, 100 * sender + number))[0] for number in range(3)]

        answers = await asyncio.gather(*map(send_three, range(16)))
        assert len({kept.item_id for three in answers for kept in three if not kept.known}) == 48

    run(database, story)
    assert batches == [1, 16, 16, 15]


def test_a_post_that_comes_alone_waits_for_nobody(database: Database, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "GATHER_SECONDS", 1_000)

    async def story(door: BatchWriter) -> None:
        for number in range(5):
            await store(door, number)

    run(database, story)
    assert batches == [1] * 5


def test_whoever_does_not_come_again_is_waited_for_a_moment_only(database: Database, batches: Batches) -> None:
    async def story(door: BatchWriter) -> None:
        await store(door, *range(8))
        await store(door, 100)
        await asyncio.sleep(10 * batch_writer.GATHER_SECONDS)
        await store(door, 200)

    run(database, story)
    assert batches == [1, 7, 1, 1]


def test_no_batch_is_larger_than_the_limit(database: Database, batches: Batches) -> None:
    async def story(door: BatchWriter) -> None:
        for start in (0, 1000):
            await store(door, *range(start, start + 2 * batch_writer.BATCH))

    run(database, story)
    assert max(batches) == batch_writer.BATCH
    assert sum(batches) == 4 * batch_writer.BATCH


def test_one_submission_many_times_in_a_batch_is_new_once(database: Database, batches: Batches) -> None:
    async def story(door: BatchWriter) -> None:
        first, *others = await asyncio.gather(*(door.store(arrival(1, words)) for words in ("one", "one", "two", "one")))
        assert not first.known
        assert all(kept.known and kept.item_id == first.item_id and kept.stored == first.stored for kept in others)
        assert [kept.given == first.given for kept in others] == [True, False, True]

    run(database, story)
    assert batches == [1, 3]


def test_the_posts_of_a_batch_are_due_in_the_order_in_which_they_came(database: Database, batches: Batches) -> None:
    numbers = [5, 40, 3, 27, 8, 31, 1]

    async def story(door: BatchWriter) -> None:
        await store(door, *numbers)

    run(database, story)
    with database.read() as session:
        due = session.execute(select(InboundItem.identity).order_by(InboundItem.due_at)).scalars().all()
    assert due == [f"55/{number}" for number in numbers]
    assert batches == [1, 6]


def test_each_post_gives_up_when_its_own_time_is_over_and_is_stored_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "STORE_SECONDS", 0.3)
    free, keep = threading.Event(), batch_writer.keep
    monkeypatch.setattr(batch_writer, "keep", lambda session, arrivals: free.wait(60) and keep(session, arrivals))
    given_up: list[int] = []

    async def story(door: BatchWriter) -> None:
        loop = asyncio.get_running_loop()

        async def try_to_store(number: int) -> None:
            await asyncio.sleep(number / 10)
            started = loop.time()
            with pytest.raises(TimeoutError):
                await door.store(arrival(number))
            assert loop.time() - started > 0.25
            given_up.append(number)

        await asyncio.gather(*map(try_to_store, range(4)))
        monkeypatch.setattr(batch_writer, "STORE_SECONDS", 30)
        free.set()
        answers = await store(door, 9, 0, 3)
        assert [kept.known for kept in answers] == [False, True, True]

    run(database, story)
    assert given_up == [0, 1, 2, 3]
