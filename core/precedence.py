"""Precedence: in one process, work of the second rank steps aside while work of the first rank is under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOOK_SECONDS = 0.05


class Precedence:
    """``seconds`` is how long the second rank steps aside at most, so that it goes on whatever comes in."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._under_way = 0
        self._changed = threading.Condition()

    @contextmanager
    def first(self) -> Iterator[None]:
        """Work of the first rank, from its begin to its end; any number at a time."""
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def step_aside(self, elsewhere: Callable[[], bool] = lambda: False) -> bool:
        """Wait until no work of the first rank is under way here or, as ``elsewhere`` says, in another process.

        False when it still is after ``seconds``.
        """
        ends = time.monotonic() + self._seconds
        while self._wait_here(ends):
            if not elsewhere():
                return True
            time.sleep(max(0.0, min(LOOK_SECONDS, ends - time.monotonic())))
        return False

    def _wait_here(self, ends: float) -> bool:
        with self._changed:
            left = ends - time.monotonic()
            return left > 0 and self._changed.wait_for(lambda: not self._under_way, left)
