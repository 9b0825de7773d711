"""Stores webhook posts durably: posts that arrive together share one commit, and pending posts have a limit of memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from core import blobs, clock
from core.database.session import Database, is_unavailable
from core.database.types import Transaction
from core.errors import BusyError
from ingest.ledger.accept import accept, find_known
from ingest.ledger.types import Arrival, ItemKey
from runtime.drain_requests import request_drain

#: The most posts in one transaction.
MAX_BATCH = 64
#: How long the next batch waits for as many posts as arrived a moment ago (docs/decisions/batched-webhook-commits.md).
GATHER_SECONDS = 0.002
#: All posts that wait to be stored, including those whose sender was already answered 503: they must not fill the memory.
MAX_PENDING = 1_000
MAX_PENDING_BYTES = 64 * 1024 * 1024
STORE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class StoredArrival:
    """The ledger row of a post.

    ``is_known`` is true when the ledger had the id before; the two hashes differ when the post has other content than the row.
    """

    item_id: int
    is_known: bool
    received_sha256: str
    stored_sha256: str


@dataclass(frozen=True, slots=True)
class _PendingPost:
    arrival: Arrival
    result: asyncio.Future[StoredArrival]
    deadline: float


class BatchWriter:
    """Writes arrivals of one family in batches, one transaction at a time. For one event loop.

    Posts that arrive while a batch is written form the next batch. A batch costs more than the posts in it, and senders that
    were just answered send their next post soon, so the next batch waits a moment for as many posts as before; after a single
    post there is no wait.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_PendingPost] = deque()
        # In the order of their deadlines; answered posts are dropped once they come first.
        self._unanswered: deque[_PendingPost] = deque()
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._expected = 0
        self._gather_timer: asyncio.TimerHandle | None = None
        self._in_progress = 0
        self._pending_count = 0
        self._pending_bytes = 0

    async def store(self, arrival: Arrival) -> StoredArrival:
        """Store ``arrival`` and return once it is committed.

        Raises BusyError when too many posts are pending, TimeoutError after five seconds, and the errors of the database. An
        arrival that timed out stays in the queue and is stored when the database is back: its sender may not send it again.
        """
        if self._pending_count >= MAX_PENDING or self._pending_bytes + len(arrival.raw) > MAX_PENDING_BYTES:
            raise BusyError("too many posts wait for the database", hint="try again in a few seconds")
        post = self._enqueue(arrival)
        if not self._in_progress and len(self._queue) >= self._expected:
            self._start_batch()
        return await post.result

    def _enqueue(self, arrival: Arrival) -> _PendingPost:
        loop = asyncio.get_running_loop()
        post = _PendingPost(arrival, loop.create_future(), loop.time() + STORE_SECONDS)
        self._queue.append(post)
        self._unanswered.append(post)
        if self._deadline_timer is None:
            self._deadline_timer = loop.call_at(post.deadline, self._expire_posts)
        self._pending_count += 1
        self._pending_bytes += len(arrival.raw)
        return post

    def _start_or_gather(self, expected: int) -> None:
        """Start the next batch, or wait a moment for ``expected`` posts when they are more than one."""
        self._expected = min(expected, MAX_BATCH)
        if len(self._queue) >= self._expected or expected == 1:
            self._start_batch()
        else:
            self._gather_timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._start_batch)

    def _start_batch(self) -> None:
        """Write the posts in the queue, up to the size of a batch."""
        self._expected = 0
        if self._gather_timer is not None:
            self._gather_timer.cancel()
            self._gather_timer = None
        batch = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        self._in_progress = len(batch)
        if batch:
            self._submit(batch)

    def _submit(self, batch: Sequence[_PendingPost]) -> None:
        loop = asyncio.get_running_loop()
        unit = partial(store_arrivals, arrivals=[post.arrival for post in batch])
        # The future is never cancelled: the transaction may be running, and its commit counts even when no sender waits.
        self._database.submit(unit).add_done_callback(partial(self._return_to_loop, loop, batch))

    def _return_to_loop(
        self, loop: asyncio.AbstractEventLoop, batch: Sequence[_PendingPost], future: Future[list[StoredArrival]]
    ) -> None:
        # The loop may have ended with the process; the sweep finds what was committed.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._finish_batch, batch, future)

    def _finish_batch(self, batch: Sequence[_PendingPost], future: Future[list[StoredArrival]]) -> None:
        error = future.exception()
        if error is not None and len(batch) > 1 and not is_unavailable(error):
            # One post of the batch is bad: each is retried alone, so that only the bad one fails.
            for post in batch:
                self._submit([post])
            return
        self._answer(batch, future)
        self._in_progress -= len(batch)
        if not self._in_progress:
            self._start_or_gather(len(batch) + len(self._queue))

    def _answer(self, batch: Sequence[_PendingPost], future: Future[list[StoredArrival]]) -> None:
        error = future.exception()
        if error is None:
            request_drain("ingest.drain")
        for position, post in enumerate(batch):
            self._pending_count -= 1
            self._pending_bytes -= len(post.arrival.raw)
            # The post timed out, or its sender disconnected.
            if post.result.done():
                continue
            if error is not None:
                post.result.set_exception(error)
            else:
                post.result.set_result(future.result()[position])
        self._drop_answered()

    def _expire_posts(self) -> None:
        """Answer the posts past their deadline with TimeoutError. One timer serves all posts, because a timer each is costly."""
        loop = asyncio.get_running_loop()
        self._deadline_timer = None
        while self._unanswered and self._unanswered[0].deadline <= loop.time():
            post = self._unanswered.popleft()
            if not post.result.done():
                post.result.set_exception(TimeoutError())
        self._drop_answered()
        if self._unanswered:
            self._deadline_timer = loop.call_at(self._unanswered[0].deadline, self._expire_posts)

    def _drop_answered(self) -> None:
        while self._unanswered and self._unanswered[0].result.done():
            self._unanswered.popleft()


def store_arrivals(session: Transaction, arrivals: Sequence[Arrival]) -> list[StoredArrival]:
    """Accept new arrivals and return the ledger row of each, in order.

    The row of a known id is left as it is, even when the content differs.
    """
    keys = [(arrival.family, arrival.identity) for arrival in arrivals]
    # Known ids are looked up first, so that no bytes of theirs are stored.
    known = find_known(session, keys)
    fresh: dict[ItemKey, Arrival] = {}
    for key, arrival in zip(keys, arrivals, strict=True):
        if key not in known:
            fresh.setdefault(key, arrival)
    accepted = dict(zip(fresh, accept(session, list(fresh.values()), clock.now()), strict=True))
    # Another process may have accepted the same id in the meantime.
    raced = [key for key, row in accepted.items() if row.known]
    known |= find_known(session, raced)
    stored = []
    for key, arrival in zip(keys, arrivals, strict=True):
        if key in known:
            item_id, stored_sha256 = known[key]
            stored.append(StoredArrival(item_id, True, blobs.digest(arrival.raw), stored_sha256))
        else:
            row = accepted[key]
            stored.append(StoredArrival(row.item_id, False, row.sha256, row.sha256))
            # The same id may occur again in this batch; from here on it is known.
            known[key] = row.item_id, row.sha256
    return stored
