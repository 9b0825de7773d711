"""Precedence: work of the second rank steps aside while work of the first rank piles up, for half of the time at most."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.05
#: So long after a pile was seen the last of it, however little, is waited for as well.
BACKLOG_REMAINDER_SECONDS = 0.25


class DrainPriority:
    """One instance for all threads of a process that do work of the second rank.

    One of them waits for all: those of the first rank need the others.
    """

    def __init__(self, max_wait_seconds: float, backlog: int, request: Callable[[str], None]) -> None:
        """``pile``: from how many pieces of work on the first rank goes first.

        ``seconds``: how long the second rank steps aside at most; then it has as long for itself, whatever comes in. ``call``
        is told the names of the work that was sent away, once there is no more reason to.
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
        """Wait until the first rank has no pile of work, and is through with the last one, or for as long as it may.

        False when somebody else waits already: who wants to do work called ``name`` is to leave it, and is called again.
        ``count`` tells how many pieces the first rank has, and need count no further than it is told.
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
            for one in sorted(names):
                self._request(one)
        return True

    def _wait(self, count: Callable[[int], int]) -> None:
        ends = time.monotonic() + self._max_wait_seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
            if not self._has_backlog(count):
                return
        self._priority_until = time.monotonic() + self._max_wait_seconds

    def _has_backlog(self, count: Callable[[int], int]) -> bool:
        now = time.monotonic()
        if now < self._priority_until:
            return False
        found = count(self._backlog)
        if found >= self._backlog:
            self._backlog_seen_at = now
        return found > 0 and now - self._backlog_seen_at <= BACKLOG_REMAINDER_SECONDS
