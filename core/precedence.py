"""Precedence: work of the second rank steps aside while work of the first rank piles up, for half of the time at most."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 0.05


class Precedence:
    """One instance for all threads of a process that do work of the second rank."""

    def __init__(self, seconds: float) -> None:
        """``seconds``: how long the second rank steps aside at most; then it has as long for itself, whatever comes in."""
        self._seconds = seconds
        self._ours_until = -math.inf
        self._seen_at = -math.inf
        self._looking = threading.Lock()

    def step_aside(self, is_piled_up: Callable[[], bool]) -> bool:
        """Wait until the first rank has no pile of work, as ``is_piled_up`` says; False when it still has one."""
        ends = time.monotonic() + self._seconds
        while time.monotonic() > self._ours_until:  # another thread may have waited long enough
            if not self._sees_pile(is_piled_up):
                return True
            if time.monotonic() >= ends:
                self._ours_until = time.monotonic() + self._seconds
                break
            time.sleep(max(0.0, min(LOOK_SECONDS, ends - time.monotonic())))
        return False

    def _sees_pile(self, is_piled_up: Callable[[], bool]) -> bool:
        """One thread looks for all that wait: each look is a question to the database that those of the first rank use."""
        with self._looking:
            if time.monotonic() - self._seen_at < LOOK_SECONDS:
                return True
            found = is_piled_up()
            if found:
                self._seen_at = time.monotonic()
            return found
