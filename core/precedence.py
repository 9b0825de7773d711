"""Precedence: work of the second rank steps aside while work of the first rank piles up, for half of the time at most."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LOOK_SECONDS = 0.05


class Precedence:
    """One instance for all threads of a process that do work of the second rank."""

    def __init__(self, seconds: float) -> None:
        """``seconds``: how long the second rank steps aside at most; then it has as long for itself, whatever comes in."""
        self._seconds = seconds
        self._ours_until = -math.inf

    def step_aside(self, is_piled_up: Callable[[], bool]) -> bool:
        """Wait until the first rank has no pile of work, as ``is_piled_up`` says; False when it still has one."""
        ends = time.monotonic() + self._seconds
        while time.monotonic() > self._ours_until:  # another thread may have waited long enough
            if not is_piled_up():
                return True
            if time.monotonic() >= ends:
                self._ours_until = time.monotonic() + self._seconds
                break
            time.sleep(max(0.0, min(LOOK_SECONDS, ends - time.monotonic())))
        return False
