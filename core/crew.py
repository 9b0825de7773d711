"""How many threads of one process share a kind of work: one while it is quick, any number while each item waits for others.

Threads that are never idle only take the interpreter and the database's turn from each other.
"""

from __future__ import annotations

import threading


class Crew:
    """``slow_seconds``: from this time an item on, more hands make the work quicker."""

    def __init__(self, slow_seconds: float) -> None:
        self._slow_seconds = slow_seconds
        self._slow = False
        self._members = 0
        self._called = False
        self._guard = threading.Lock()

    def note(self, items: int, seconds: float) -> None:
        """What a member has just seen."""
        if items:
            self._slow = seconds / items > self._slow_seconds

    def wants_more(self) -> bool:
        """Whether others should be called to help."""
        return self._slow

    def join(self) -> bool:
        """Take part; False when those at work are enough: they will look once more before they leave."""
        with self._guard:
            if self._members and not self._slow:
                self._called = True
                return False
            self._members += 1
            return True

    def leave(self) -> bool:
        """The end of taking part; True when somebody was sent away meanwhile, and what he came for may be left undone."""
        with self._guard:
            self._members -= 1
            called, self._called = self._called, False
            return called
