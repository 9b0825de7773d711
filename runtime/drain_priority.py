"""Precedence: work of the second rank steps aside while work of the first rank piles up, for half of the time at most."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.05
#: So long after a pile was seen the last of it, however little, is waited for as well.
REST_SECONDS = 0.25


class DrainPriority:
    """One instance for all threads of a process that do work of the second rank.

    One of them waits for all: those of the first rank need the others.
    """

    def __init__(self, seconds: float, pile: int, call: Callable[[str], None]) -> None:
        """``pile``: from how many pieces of work on the first rank goes first.

        ``seconds``: how long the second rank steps aside at most; then it has as long for itself, whatever comes in. ``call``
        is told the names of the work that was sent away, once there is no more reason to.
        """
        self._seconds = seconds
        self._pile = pile
        self._call = call
        self._ours_until = -math.inf
        self._piled_at = -math.inf
        self._guard = threading.Lock()
        self._is_waited = False
        self._sent_away: set[str] = set()

    def yield_to_ingest(self, name: str, count: Callable[[int], int]) -> bool:
        """Wait until the first rank has no pile of work, and is through with the last one, or for as long as it may.

        False when somebody else waits already: who wants to do work called ``name`` is to leave it, and is called again.
        ``count`` tells how many pieces the first rank has, and need count no further than it is told.
        """
        with self._guard:
            if self._is_waited:
                self._sent_away.add(name)
                return False
            if not self._has_backlog(count):
                return True
            self._is_waited = True
        try:
            self._wait(count)
        finally:
            with self._guard:
                self._is_waited = False
                names, self._sent_away = self._sent_away, set()
            for one in sorted(names):
                self._call(one)
        return True

    def _wait(self, count: Callable[[int], int]) -> None:
        ends = time.monotonic() + self._seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
            if not self._has_backlog(count):
                return
        self._ours_until = time.monotonic() + self._seconds

    def _has_backlog(self, count: Callable[[int], int]) -> bool:
        now = time.monotonic()
        if now < self._ours_until:
            return False
        found = count(self._pile)
        if found >= self._pile:
            self._piled_at = now
        return found > 0 and now - self._piled_at <= REST_SECONDS
