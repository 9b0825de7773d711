"""Drain priority: which drains wait for ingest, and for how long."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from runtime.drain_priority import BACKLOG_REMAINDER_SECONDS, POLL_SECONDS, DrainPriority
from tests.waiting import scale_budget, wait_until

BACKLOG = 10


def make_priority(max_wait_seconds: float, request: Callable[[str], None] = print) -> DrainPriority:
    return DrainPriority(max_wait_seconds, BACKLOG, request)


def count_backlog(_limit: int) -> int:
    return BACKLOG


def test_drain_runs_at_once_below_backlog() -> None:
    started = time.monotonic()
    assert make_priority(5.0).yield_to_ingest("notices", lambda _limit: BACKLOG - 1)
    assert time.monotonic() - started < 1


def test_drain_waits_until_backlog_is_gone() -> None:
    counts = iter([BACKLOG, BACKLOG, 0])
    assert make_priority(10.0).yield_to_ingest("notices", lambda _limit: next(counts))
    assert next(counts, None) is None


def test_drain_waits_for_rest_of_backlog_for_a_short_time() -> None:
    priority = make_priority(10.0)
    counts = iter([BACKLOG, 1, 0])
    assert priority.yield_to_ingest("notices", lambda _limit: next(counts))
    assert next(counts, None) is None
    started = time.monotonic()
    counts = iter([BACKLOG])
    assert priority.yield_to_ingest("notices", lambda _limit: next(counts, 1))
    assert BACKLOG_REMAINDER_SECONDS <= time.monotonic() - started < 5


def test_drain_waits_no_longer_than_its_limit_for_lasting_backlog() -> None:
    started = time.monotonic()
    assert make_priority(0.1).yield_to_ingest("notices", count_backlog)
    assert 0.1 <= time.monotonic() - started < 5


def test_drain_runs_as_long_as_it_has_waited_and_then_yields_again() -> None:
    priority = make_priority(0.3)
    assert priority.yield_to_ingest("notices", count_backlog)
    started = time.monotonic()
    assert priority.yield_to_ingest("notices", count_backlog)
    assert time.monotonic() - started < 0.1
    time.sleep(0.4)
    started = time.monotonic()
    assert priority.yield_to_ingest("notices", count_backlog)
    assert time.monotonic() - started >= 0.3


def test_one_thread_waits_and_drains_turned_away_are_requested_after_the_wait() -> None:
    requested: list[str] = []
    priority = make_priority(30.0, requested.append)
    open_items = [BACKLOG]
    waiting = threading.Thread(target=priority.yield_to_ingest, args=("facts", lambda _limit: open_items[0]))
    waiting.start()
    try:
        wait_until(lambda: not priority.yield_to_ingest("notices", lambda _limit: 0))
        started = time.monotonic()
        assert not priority.yield_to_ingest("timers", count_backlog)
        assert not priority.yield_to_ingest("notices", count_backlog)
        assert time.monotonic() - started < 1
        assert requested == []
    finally:
        open_items[0] = 0
        waiting.join(scale_budget(10))
    assert requested == ["notices", "timers"]
    assert priority.yield_to_ingest("notices", lambda _limit: 0)


def test_failed_count_leaves_no_thread_marked_as_waiting() -> None:
    priority = make_priority(5.0)
    for counts in ([], [BACKLOG]):
        left = iter(counts)
        with pytest.raises(StopIteration):
            priority.yield_to_ingest("notices", lambda _limit, left=left: next(left))  # type: ignore[misc]
    assert priority.yield_to_ingest("notices", lambda _limit: 0)


def test_waiting_thread_polls_at_interval() -> None:
    polled: list[float] = []

    def count(_limit: int) -> int:
        polled.append(time.monotonic())
        return BACKLOG

    make_priority(0.5).yield_to_ingest("notices", count)
    assert 2 < len(polled) <= 0.5 / POLL_SECONDS + 2
    assert all(later - earlier > POLL_SECONDS / 2 for earlier, later in pairwise(polled))
