"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_SECONDS = 0.02


def poll_until(condition: Callable[[], object], seconds: float = 30) -> bool:
    """Whether ``condition`` comes true within ``seconds``."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for ``condition``; fails when it does not come."""
    assert poll_until(condition, seconds), "it did not happen in time"
