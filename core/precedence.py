"""Precedence: in one process, work of the second rank steps aside while work of the first rank is under way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


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

    def step_aside(self) -> bool:
        """Wait until no work of the first rank is under way; False when it still is after ``seconds``."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, self._seconds)
