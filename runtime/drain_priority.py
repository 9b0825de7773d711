"""Drain priority: low-priority drains wait while the ingest backlog is large, for half of the time at most.

Reason and measurements: docs/decisions/batching-and-drain-priority.md.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.05
#: For this long after a backlog was last seen, low-priority drains wait for the remaining items, however few.
BACKLOG_REMAINDER_SECONDS = 0.25


class DrainPriority:
    """Lets low-priority drains yield to ingest. All threads of a process share one instance.

    Only one thread waits: ingest needs the others.
    """

    def __init__(self, max_wait_seconds: float, backlog: int, request: Callable[[str], None]) -> None:
        """Ingest goes first from ``backlog`` open items on.

        A low-priority drain waits ``max_wait_seconds`` at most, and then runs for as long, even if more arrives. After the wait
        ``request`` is called with the name of each drain that was turned away.
        """
        self._max_wait_seconds = max_wait_seconds
        self._backlog = backlog
        self._request = request
        self._priority_until = -math.inf
        self._backlog_seen_at = -math.inf
        self._guard = threading.Lock()
        self._has_waiting_thread = False
        self._turned_away: set[str] = set()

    def yield_to_ingest(self, name: str, count: Callable[[int], int]) -> bool:
        """Wait until the ingest backlog is worked off, ``max_wait_seconds`` at most; return True when the drain may run.

        Returns False when another thread waits already: the caller gives up its thread, and the drain ``name`` is requested
        again after the wait. ``count(limit)`` returns the number of open items and need not count beyond ``limit``.
        """
        with self._guard:
            if self._has_waiting_thread:
                self._turned_away.add(name)
                return False
            if not self._has_backlog(count):
                return True
            self._has_waiting_thread = True
        try:
            self._wait(count)
        finally:
            with self._guard:
                self._has_waiting_thread = False
                names, self._turned_away = self._turned_away, set()
            for turned_away in sorted(names):
                self._request(turned_away)
        return True

    def _wait(self, count: Callable[[int], int]) -> None:
        deadline = time.monotonic() + self._max_wait_seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
            if not self._has_backlog(count):
                return
        self._priority_until = time.monotonic() + self._max_wait_seconds

    def _has_backlog(self, count: Callable[[int], int]) -> bool:
        now = time.monotonic()
        if now < self._priority_until:
            return False
        open_items = count(self._backlog)
        if open_items >= self._backlog:
            self._backlog_seen_at = now
        return open_items > 0 and now - self._backlog_seen_at <= BACKLOG_REMAINDER_SECONDS
