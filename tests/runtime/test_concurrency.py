"""Adaptive concurrency: how many threads share a kind of work."""

from __future__ import annotations

from runtime.concurrency import AdaptiveConcurrency


def test_quick_work_is_done_by_one_thread() -> None:
    concurrency = AdaptiveConcurrency(slow_seconds=0.01)
    assert concurrency.enter()
    concurrency.record(items=50, seconds=0.1)
    assert not concurrency.enter()
    assert not concurrency.should_add_thread()


def test_slow_work_is_shared_by_threads() -> None:
    concurrency = AdaptiveConcurrency(slow_seconds=0.01)
    assert concurrency.enter()
    concurrency.record(items=50, seconds=5.0)
    assert concurrency.should_add_thread()
    assert concurrency.enter()


def test_work_that_is_quick_again_takes_no_new_thread() -> None:
    concurrency = AdaptiveConcurrency(slow_seconds=0.01)
    assert concurrency.enter()
    concurrency.record(items=1, seconds=1.0)
    concurrency.record(items=1, seconds=0.001)
    assert not concurrency.enter()


def test_empty_batch_does_not_change_measured_pace() -> None:
    concurrency = AdaptiveConcurrency(slow_seconds=0.01)
    assert concurrency.enter()
    concurrency.record(items=1, seconds=1.0)
    concurrency.record(items=0, seconds=0.001)
    assert concurrency.should_add_thread()


def test_thread_that_leaves_looks_again_after_another_was_turned_away() -> None:
    concurrency = AdaptiveConcurrency(slow_seconds=0.01)
    assert concurrency.enter()
    assert not concurrency.enter()
    assert concurrency.exit(), "the work that the other came for may have arrived after the last look"
    assert concurrency.enter()
    assert not concurrency.exit()


def test_thread_can_enter_after_another_has_left() -> None:
    concurrency = AdaptiveConcurrency(slow_seconds=0.01)
    assert concurrency.enter()
    assert not concurrency.exit()
    assert concurrency.enter()
