"""Durable intake for webhooks: posts that arrive together share one commit, and what is held in memory has a limit."""

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

BATCH = 64
#: How long the next batch waits for as many posts as were there a moment ago.
GATHER_SECONDS = 0.002
#: All that waits to be stored, together: what timed out stays in line and must not fill the memory.
MOST_WAITING = 1_000
MOST_WAITING_BYTES = 64 * 1024 * 1024
STORE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Kept:
    """The ledger's answer, with the SHA-256 of what was given and of what is stored: others when only the id is ``known``."""

    item_id: int
    known: bool
    given: str
    stored: str


@dataclass(frozen=True, slots=True)
class _Entry:
    arrival: Arrival
    answer: asyncio.Future[Kept]
    give_up_at: float


class BatchWriter:
    """Writes arrivals of one family in batches: one unit of work under way at a time, all that came meanwhile in the next.

    A batch costs more than the posts in it. Whoever was answered sends the next post soon, so the next batch waits a moment
    for as many as there were; a post that comes alone waits for nobody.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Entry] = deque()
        #: In the order in which they give up; those already answered leave when they are the first.
        self._unanswered: deque[_Entry] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._expected = 0
        self._patience: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._count = 0
        self._bytes = 0

    async def store(self, arrival: Arrival) -> Kept:
        """Returns once the arrival is committed.

        Raises BusyError when too many wait, TimeoutError after five seconds, and the database's own errors. An arrival
        that timed out stays in line and is stored when the database is back: its sender may never send it again.
        """
        if self._count >= MOST_WAITING or self._bytes + len(arrival.raw) > MOST_WAITING_BYTES:
            raise BusyError("too many posts wait for the database", hint="try again in a moment")
        entry = self._line_up(arrival)
        if not self._under_way and len(self._waiting) >= self._expected:
            self._start()
        return await entry.answer

    def _line_up(self, arrival: Arrival) -> _Entry:
        loop = asyncio.get_running_loop()
        entry = _Entry(arrival, loop.create_future(), loop.time() + STORE_SECONDS)
        self._waiting.append(entry)
        self._unanswered.append(entry)
        if self._timer is None:
            self._timer = loop.call_at(entry.give_up_at, self._give_up)
        self._count += 1
        self._bytes += len(arrival.raw)
        return entry

    def _gather(self, expected: int) -> None:
        """Begin the next batch, or wait for that many posts if more than one are expected."""
        self._expected = min(expected, BATCH)
        if len(self._waiting) >= self._expected or expected == 1:
            self._start()
        else:
            self._patience = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._start)

    def _start(self) -> None:
        """Begin a batch of what waits, if anything does."""
        self._expected = 0
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self._under_way = len(batch)
        if batch:
            self._submit(batch)

    def _submit(self, batch: Sequence[_Entry]) -> None:
        loop = asyncio.get_running_loop()
        unit = partial(keep, arrivals=[entry.arrival for entry in batch])
        # The future is never cancelled: the unit may be running, and its commit counts whether anybody waits or not.
        self._database.submit(unit).add_done_callback(partial(self._hand_over, loop, batch))

    def _hand_over(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Entry], future: Future[list[Kept]]) -> None:
        with suppress(RuntimeError):  # the loop has ended; what was committed is found by the sweep
            loop.call_soon_threadsafe(self._settle, batch, future)

    def _settle(self, batch: Sequence[_Entry], future: Future[list[Kept]]) -> None:
        error = future.exception()
        if error is not None and len(batch) > 1 and not is_unavailable(error):
            for entry in batch:  # one of them is bad: each by itself, so that it fails alone
                self._submit([entry])
            return
        self._answer(batch, future)
        self._under_way -= len(batch)
        if not self._under_way:
            self._gather(len(batch) + len(self._waiting))

    def _answer(self, batch: Sequence[_Entry], future: Future[list[Kept]]) -> None:
        error = future.exception()
        if error is None:
            request_drain("ingest.drain")
        for position, entry in enumerate(batch):
            self._count -= 1
            self._bytes -= len(entry.arrival.raw)
            if entry.answer.done():  # its sender was told to come again, or is gone
                continue
            if error is not None:
                entry.answer.set_exception(error)
            else:
                entry.answer.set_result(future.result()[position])
        self._forget_answered()

    def _give_up(self) -> None:
        """Tell those whose time is over to come again. One timer serves all, as each costs something."""
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._unanswered and self._unanswered[0].give_up_at <= loop.time():
            entry = self._unanswered.popleft()
            if not entry.answer.done():
                entry.answer.set_exception(TimeoutError())
        self._forget_answered()
        if self._unanswered:
            self._timer = loop.call_at(self._unanswered[0].give_up_at, self._give_up)

    def _forget_answered(self) -> None:
        while self._unanswered and self._unanswered[0].answer.done():
            self._unanswered.popleft()


def keep(session: Transaction, arrivals: Sequence[Arrival]) -> list[Kept]:
    """Accept what is new; leave what is known as it was, whatever the content that came now. Answers in the order given."""
    keys = [(arrival.family, arrival.identity) for arrival in arrivals]
    known = find_known(session, keys)  # first, so that nothing is stored of what is known
    fresh: dict[ItemKey, Arrival] = {}
    for key, arrival in zip(keys, arrivals, strict=True):
        if key not in known:
            fresh.setdefault(key, arrival)
    accepted = dict(zip(fresh, accept(session, list(fresh.values()), clock.now()), strict=True))
    raced = [key for key, one in accepted.items() if one.known]  # another process was first, just now
    known |= find_known(session, raced)
    told = []
    for key, arrival in zip(keys, arrivals, strict=True):
        if key in known:
            item_id, stored = known[key]
            told.append(Kept(item_id, True, blobs.digest(arrival.raw), stored))
        else:
            one = accepted[key]
            told.append(Kept(one.item_id, False, one.sha256, one.sha256))
            known[key] = one.item_id, one.sha256  # whoever sent it in the same moment sent it again
    return told
