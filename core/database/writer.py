"""SQLite's one writer: a fair lock, and a thread that commits small units together."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from core.database.types import T, Transaction


class FairLock:
    """A fair lock: whoever came first goes first. ``threading.Lock`` lets a busy thread starve the others."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._held = False

    def acquire(self, timeout: float) -> bool:
        with self._guard:
            if not self._held:
                self._held = True
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        try:
            if turn.wait(timeout):
                return True
        except BaseException:  # Ctrl-C while waiting: a turn given to somebody who has left would never be passed on
            if self._leave(turn):
                self.release()
            raise
        return self._leave(turn)

    def _leave(self, turn: threading.Event) -> bool:
        """Stop waiting; True when the turn came in the instant of giving up."""
        with self._guard:
            if turn.is_set():
                return True
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._held = False


class WriterThread:
    """Runs small units of work one after the other in a thread of its own, each in its own transaction."""

    def __init__(self, transaction: Callable[[Callable[[Transaction], Any]], Any]) -> None:
        """``transaction`` runs one unit and commits it."""
        self._transaction = transaction
        self._queue: queue.SimpleQueue[tuple[Callable[[Transaction], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Callable[[Transaction], T]) -> Future[T]:
        """Queue a unit; the future has its result or its exception after the commit."""
        future: Future[T] = Future()
        self._queue.put((unit, future))
        return future

    def stop(self) -> None:
        """Finish what is queued, for ten seconds at most."""
        self._queue.put(None)
        self._thread.join(timeout=10)

    def _loop(self) -> None:
        while (queued := self._queue.get()) is not None:
            unit, future = queued
            try:
                _settle(future, self._transaction(unit))
            except Exception as error:
                _settle(future, error)


def _settle(future: Future[Any], result: object) -> None:
    """Set the future's result. The caller may have cancelled it, which must not end the thread."""
    with suppress(InvalidStateError):
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
