"""How many threads of one process share a kind of work: one while it is quick, any number while each item waits for others.

Threads that are never idle only take the interpreter and the database's turn from each other.
"""

from __future__ import annotations

import threading


class AdaptiveConcurrency:
    """``slow_seconds``: from this time an item on, more hands make the work quicker."""

    def __init__(self, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds
        self._slow = False
        self._threads = 0
        self._missed_request = False
        self._guard = threading.Lock()

    def record(self, items: int, seconds: float) -> None:
        """What a member has just seen."""
        if items:
            self._slow = seconds / items > self._slow_seconds

    def should_add_thread(self) -> bool:
        """Whether others should be called to help."""
        return self._slow

    def enter(self) -> bool:
        """Take part; False when those at work are enough: they will look once more before they leave."""
        with self._guard:
            if self._threads and not self._slow:
                self._missed_request = True
                return False
            self._threads += 1
            return True

    def exit(self) -> bool:
        """The end of taking part; True when somebody was sent away meanwhile, and what he came for may be left undone."""
        with self._guard:
            self._threads -= 1
            called, self._missed_request = self._missed_request, False
            return called
