"""Adaptive concurrency: how many threads of one process share a kind of work.

While items are quick, one thread does all of it: more threads would only compete for the interpreter and the database. Once an
item waits long for others, such as a mail server, any number of threads help.
"""

from __future__ import annotations

import threading


class AdaptiveConcurrency:
    """Counts the threads at work and decides whether another one may join; threads share one instance."""

    def __init__(self, slow_seconds: float) -> None:
        """More threads help when one item takes longer than ``slow_seconds``."""
        self._slow_seconds = slow_seconds
        self._slow = False
        self._threads = 0
        self._missed_request = False
        self._guard = threading.Lock()

    def record(self, items: int, seconds: float) -> None:
        """Record that a thread has processed ``items`` in ``seconds``."""
        if items:
            self._slow = seconds / items > self._slow_seconds

    def should_add_thread(self) -> bool:
        """Return whether more threads would make the work quicker."""
        return self._slow

    def enter(self) -> bool:
        """Let the calling thread join; return False when the threads at work are enough.

        One of those is then told by :meth:`exit` to look for work once more.
        """
        with self._guard:
            if self._threads and not self._slow:
                self._missed_request = True
                return False
            self._threads += 1
            return True

    def exit(self) -> bool:
        """Let the calling thread leave; return True when another was turned away meanwhile, so that work may be left over."""
        with self._guard:
            self._threads -= 1
            has_missed, self._missed_request = self._missed_request, False
            return has_missed
