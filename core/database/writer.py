"""SQLite's one writer: a fair lock, and a thread that runs queued units one after the other."""

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
    """A lock that threads get in the order in which they asked. With ``threading.Lock`` a busy thread starves the others."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._held = False

    def acquire(self, timeout: float) -> bool:
        """Acquire the lock, waiting at most ``timeout`` seconds; return whether this thread has it."""
        with self._guard:
            if not self._held:
                self._held = True
                return True
            granted = threading.Event()
            self._waiting.append(granted)
        try:
            if granted.wait(timeout):
                return True
        except BaseException:
            # Ctrl-C while waiting: a lock granted to a thread that no longer waits would never be released.
            if self._stop_waiting(granted):
                self.release()
            raise
        return self._stop_waiting(granted)

    def _stop_waiting(self, granted: threading.Event) -> bool:
        """Leave the queue; return True when the lock was granted in the same instant."""
        with self._guard:
            if granted.is_set():
                return True
            self._waiting.remove(granted)
            return False

    def release(self) -> None:
        """Pass the lock to the thread that waits longest, if any."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._held = False


class WriterThread:
    """A thread that runs small units one after the other, each in its own transaction."""

    def __init__(self, transaction: Callable[[Callable[[Transaction], Any]], Any]) -> None:
        """``transaction`` runs one unit, commits it and returns its result."""
        self._transaction = transaction
        self._queue: queue.SimpleQueue[tuple[Callable[[Transaction], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="writer", daemon=True)
        self._thread.start()

    def submit(self, unit: Callable[[Transaction], T]) -> Future[T]:
        """Queue ``unit``; the future has its result or its exception after the commit."""
        future: Future[T] = Future()
        self._queue.put((unit, future))
        return future

    def stop(self) -> None:
        """Finish the queued units, waiting ten seconds at most."""
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
    """Set the result of ``future``, ignoring a future that its caller has cancelled."""
    with suppress(InvalidStateError):
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
