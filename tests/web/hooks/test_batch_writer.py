"""Which posts share a commit, and when a post times out."""

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
from tests.waiting import scale_budget
from web.hooks import batch_writer
from web.hooks.batch_writer import BatchWriter, StoredArrival

Batches = list[int]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    """The number of posts of each batch."""
    sizes: Batches = []
    store_arrivals = batch_writer.store_arrivals

    def count_batch(session: object, arrivals: list[Arrival]) -> list[StoredArrival]:
        sizes.append(len(arrivals))
        return store_arrivals(session, arrivals)  # type: ignore[arg-type]

    monkeypatch.setattr(batch_writer, "store_arrivals", count_batch)
    return sizes


def arrival(number: int, words: str = "Please call") -> Arrival:
    identity = f"55/{number}"
    return Arrival(FORMSTACK, "form", "form:55", str(number), f"{words} {number}".encode(), clock.now(), identity)


def run(database: Database, scenario: Callable[[BatchWriter], Awaitable[None]]) -> None:
    """Run ``scenario`` in an event loop for at most a minute."""

    async def run_with_timeout() -> None:
        async with asyncio.timeout(60):
            await scenario(BatchWriter(database))

    asyncio.run(run_with_timeout())


async def store(writer: BatchWriter, *numbers: int) -> list[StoredArrival]:
    return await asyncio.gather(*(writer.store(arrival(number)) for number in numbers))


def test_posts_of_parallel_senders_share_commits(database: Database, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "GATHER_SECONDS", 2)

    async def scenario(writer: BatchWriter) -> None:
        async def send_three(sender: int) -> list[StoredArrival]:
            return [(await store(writer, 100 * sender + number))[0] for number in range(3)]

        results = await asyncio.gather(*map(send_three, range(16)))
        assert len({stored.item_id for three in results for stored in three if not stored.is_known}) == 48

    run(database, scenario)
    assert batches == [1, 16, 16, 15]


def test_single_post_is_stored_without_wait(database: Database, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "GATHER_SECONDS", 1_000)

    async def scenario(writer: BatchWriter) -> None:
        for number in range(5):
            await store(writer, number)

    run(database, scenario)
    assert batches == [1] * 5


def test_batch_waits_only_gather_time_for_missing_posts(database: Database, batches: Batches) -> None:
    async def scenario(writer: BatchWriter) -> None:
        await store(writer, *range(8))
        await store(writer, 100)
        await asyncio.sleep(10 * batch_writer.GATHER_SECONDS)
        await store(writer, 200)

    run(database, scenario)
    assert batches == [1, 7, 1, 1]


def test_batch_size_is_limited(database: Database, batches: Batches) -> None:
    async def scenario(writer: BatchWriter) -> None:
        for start in (0, 1000):
            await store(writer, *range(start, start + 2 * batch_writer.MAX_BATCH))

    run(database, scenario)
    assert max(batches) == batch_writer.MAX_BATCH
    assert sum(batches) == 4 * batch_writer.MAX_BATCH


def test_repeated_submission_within_batch_is_new_once(database: Database, batches: Batches) -> None:
    async def scenario(writer: BatchWriter) -> None:
        first, *others = await asyncio.gather(*(writer.store(arrival(1, words)) for words in ("one", "one", "two", "one")))
        assert not first.is_known
        assert all(
            stored.is_known and stored.item_id == first.item_id and stored.stored_sha256 == first.stored_sha256
            for stored in others
        )
        assert [stored.received_sha256 == first.received_sha256 for stored in others] == [True, False, True]

    run(database, scenario)
    assert batches == [1, 3]


def test_posts_of_batch_are_due_in_order_of_arrival(database: Database, batches: Batches) -> None:
    numbers = [5, 40, 3, 27, 8, 31, 1]

    async def scenario(writer: BatchWriter) -> None:
        await store(writer, *numbers)

    run(database, scenario)
    with database.read() as session:
        due = session.execute(select(InboundItem.identity).order_by(InboundItem.due_at)).scalars().all()
    assert due == [f"55/{number}" for number in numbers]
    assert batches == [1, 6]


def test_each_post_times_out_on_its_own_and_is_stored_later(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "STORE_SECONDS", 0.3)
    free, store_arrivals = threading.Event(), batch_writer.store_arrivals
    monkeypatch.setattr(
        batch_writer,
        "store_arrivals",
        lambda session, arrivals: free.wait(scale_budget(60)) and store_arrivals(session, arrivals),
    )
    timed_out: list[int] = []

    async def scenario(writer: BatchWriter) -> None:
        loop = asyncio.get_running_loop()

        async def try_to_store(number: int) -> None:
            await asyncio.sleep(number / 10)
            started = loop.time()
            with pytest.raises(TimeoutError):
                await writer.store(arrival(number))
            assert loop.time() - started > 0.25
            timed_out.append(number)

        await asyncio.gather(*map(try_to_store, range(4)))
        monkeypatch.setattr(batch_writer, "STORE_SECONDS", 30)
        free.set()
        results = await store(writer, 9, 0, 3)
        assert [stored.is_known for stored in results] == [False, True, True]

    run(database, scenario)
    assert timed_out == [0, 1, 2, 3]
