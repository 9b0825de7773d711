"""Waiting for a state: the one way in which tests wait for other threads, processes and servers.

A budget says how long a step may take on an idle machine. Every budget here is multiplied by the load factor of the machine, so
that a test fails because the state never came, and not because five other programs had the processor. A long budget costs nothing
when the state comes: every wait ends as soon as it does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

PAUSE_SECONDS = 0.02
DEFAULT_SECONDS = 30.0
SAMPLE_SECONDS = 2.0
MAX_FACTOR = 8.0

WORK_ROUNDS = 200_000
#: Measured on the two idle cores of the machine on which the budgets were chosen, Python 3.11.
IDLE_WORK_SECONDS = 0.011


def measure_slowness() -> float:
    """Return how many times longer work takes now than on an idle machine: the larger of two measures.

    1. Threads that want a core, for each core: what other programs take away. Load average and threads running at this moment.
    2. The time of a fixed piece of work: a slow or throttled processor has no queue.
    """
    return max(_threads_per_core(), _time_work() / IDLE_WORK_SECONDS)


def _threads_per_core() -> float:
    counts = Path("/proc/loadavg")
    running = float(counts.read_text("ascii").split()[3].partition("/")[0]) if counts.exists() else 0.0
    return max(os.getloadavg()[0], running) / (os.cpu_count() or 1)


def _time_work() -> float:
    started, total = time.perf_counter(), 0
    for number in range(WORK_ROUNDS):
        total += number * number
    return time.perf_counter() - started


class LoadMeter:
    """The load factor of the machine, from 1 (idle) to 8, sampled at most every two seconds.

    A rise counts at once and a fall by half a sample: work that was held up by a load is not done when the load ends.
    """

    def __init__(self, measure: Callable[[], float] = measure_slowness, clock: Callable[[], float] = time.monotonic) -> None:
        self._measure = measure
        self._clock = clock
        self._next_sample = 0.0
        self._smoothed = 1.0

    def factor(self) -> float:
        """Return the factor by which budgets are multiplied now."""
        now = self._clock()
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE_SECONDS
            sample = self._measure()
            self._smoothed = max(sample, (self._smoothed + sample) / 2)
        return min(MAX_FACTOR, max(1.0, self._smoothed))


METER = LoadMeter()


def scale_budget(seconds: float) -> float:
    """Return the budget for an operation that takes a time-out itself: a socket, a thread's join, subprocess.run."""
    return seconds * METER.factor()


class Deadline:
    """The end of a wait that begins now. The largest load factor seen while it lasts counts, also that of a later load."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._started = clock()
        self._factor = METER.factor()

    @property
    def budget(self) -> float:
        """Seconds from the begin of the wait, as the load has been so far."""
        return self._seconds * self._factor

    def has_passed(self) -> bool:
        """Return whether the budget is used up, after a look at the load."""
        self._factor = max(self._factor, METER.factor())
        return self.remaining() < 0

    def remaining(self) -> float:
        """Return the seconds left; negative when the budget is used up."""
        return self.budget - (self._clock() - self._started)


def poll_until(condition: Callable[[], object], seconds: float = DEFAULT_SECONDS, pause: float = PAUSE_SECONDS) -> bool:
    """Return True as soon as ``condition`` holds, False when it has not held within the budget."""
    deadline = Deadline(seconds)
    while not condition():
        if deadline.has_passed():
            return False
        time.sleep(pause)
    return True


def wait_until(condition: Callable[[], object], seconds: float = DEFAULT_SECONDS) -> None:
    """Wait for ``condition``; raises AssertionError when it does not hold within the budget."""
    assert poll_until(condition, seconds), f"the state was not reached within {scale_budget(seconds):.0f} s"


def wait_for_exit(process: subprocess.Popen[Any], seconds: float) -> int:
    """Wait for the end of a process and return its exit code; raises subprocess.TimeoutExpired after the budget."""
    deadline = Deadline(seconds)
    while not deadline.has_passed():
        try:
            return process.wait(max(0.05, min(SAMPLE_SECONDS, deadline.remaining())))
        except subprocess.TimeoutExpired:
            continue
    raise subprocess.TimeoutExpired(process.args, deadline.budget)


def set_test_timer(item: pytest.Item, settings: Any) -> bool:
    """Set pytest-timeout's timer for a test; it ends the test only when the scaled budget is used up as well.

    ``settings`` are the plugin's. With its thread method, which cannot be asked again, only the load at the begin counts.
    """
    from pytest_timeout import pytest_timeout_set_timer as set_timer

    deadline = Deadline(settings.timeout)
    if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
        set_timer(item, settings._replace(timeout=deadline.budget))
        return True
    set_timer(item, settings)
    expire = signal.getsignal(signal.SIGALRM)

    def expire_when_passed(number: int, frame: Any) -> None:
        if deadline.has_passed():
            assert callable(expire)
            expire(number, frame)
        else:
            signal.setitimer(signal.ITIMER_REAL, max(deadline.remaining(), PAUSE_SECONDS))

    signal.signal(signal.SIGALRM, expire_when_passed)
    return True
