"""Durable intake for webhooks: posts that arrive together share one commit, and what is held in memory has a limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from core import blobs, clock
from core.db import Database, is_unavailable
from core.errors import BusyError
from core.hints import hint
from core.sets import among_given, listed
from ingest import ledger
from ingest.ledger import Arrival
from ingest.models import InboundItem

BATCH = 64
#: All that waits to be stored, together: what timed out stays in line and must not fill the memory.
MOST_WAITING = 1_000
MOST_WAITING_BYTES = 64 * 1024 * 1024
STORE_SECONDS = 5.0
_ITEM = cast(Table, InboundItem.__table__)
_KNOWN = select(_ITEM.c.identity, _ITEM.c.id, _ITEM.c.sha256).where(
    _ITEM.c.family == bindparam("family"), among_given(_ITEM.c.identity)
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The ledger's answer: ``sha256`` is that of the content kept, another one than given when ``known`` with other content."""

    item_id: int
    known: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class _Entry:
    arrival: Arrival
    answer: asyncio.Future[Kept]


class Intake:
    """Writes arrivals of one family in batches: one unit of work under way at a time, all that came meanwhile in the next."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Entry] = deque()
        self._under_way = 0
        self._count = 0
        self._bytes = 0

    async def store(self, arrival: Arrival) -> Kept:
        """Returns once the arrival is committed.

        Raises BusyError when too many wait, TimeoutError after five seconds, and the database's own errors. An arrival
        that timed out stays in line and is stored when the database is back: its sender may never send it again.
        """
        if self._count >= MOST_WAITING or self._bytes + len(arrival.raw) > MOST_WAITING_BYTES:
            raise BusyError("too many posts wait for the database", mend="try again in a moment")
        entry = self._line_up(arrival)
        if not self._under_way:
            self._start()
        timer = asyncio.get_running_loop().call_later(STORE_SECONDS, _give_up, entry.answer)
        try:
            return await entry.answer
        finally:
            timer.cancel()

    def _line_up(self, arrival: Arrival) -> _Entry:
        entry = _Entry(arrival, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._count += 1
        self._bytes += len(arrival.raw)
        return entry

    def _start(self) -> None:
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
        if self._under_way <= 0:
            self._start()

    def _answer(self, batch: Sequence[_Entry], future: Future[list[Kept]]) -> None:
        error = future.exception()
        if error is None:
            hint("ingest.drain")
        for position, entry in enumerate(batch):
            self._count -= 1
            self._bytes -= len(entry.arrival.raw)
            if entry.answer.done():  # its sender was told to come again, or is gone
                continue
            if error is not None:
                entry.answer.set_exception(error)
            else:
                entry.answer.set_result(future.result()[position])


def keep(session: Session, arrivals: Sequence[Arrival]) -> list[Kept]:
    """Accept what is new; leave what is known as it was, whatever the content that came now. Answers in the order given."""
    identities = {arrival.identity for arrival in arrivals}
    before = _find(session, arrivals[0].family, identities)
    fresh = {arrival.identity: arrival for arrival in reversed(arrivals) if arrival.identity not in before}
    accepted = ledger.accept(session, list(fresh.values()), clock.now())
    found = {
        identity: Kept(one.item_id, one.known, blobs.digest(arrival.raw))
        for (identity, arrival), one in zip(fresh.items(), accepted, strict=True)
    }
    raced = {identity for identity, one in found.items() if one.known}  # another process was first, just now
    known = before | (_find(session, arrivals[0].family, raced) if raced else {})
    return _tell(arrivals, found | known)


def _tell(arrivals: Sequence[Arrival], found: dict[str, Kept]) -> list[Kept]:
    told: list[Kept] = []
    seen: set[str] = set()
    for arrival in arrivals:
        one = found[arrival.identity]
        told.append(Kept(one.item_id, True, one.sha256) if arrival.identity in seen else one)
        seen.add(arrival.identity)
    return told


def _find(session: Session, family: str, identities: set[str]) -> dict[str, Kept]:
    # Without the ORM, and put together once: half the time of a small batch was that.
    rows = session.connection().execute(_KNOWN, {"family": family, "listed": listed(identities)})
    return {identity: Kept(item_id, True, sha256) for identity, item_id, sha256 in rows}


def _give_up(answer: asyncio.Future[Kept]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
