"""How many threads share a kind of work."""

from __future__ import annotations

from runtime.concurrency import AdaptiveConcurrency


def test_quick_work_is_done_by_one() -> None:
    crew = AdaptiveConcurrency(slow_seconds=0.01)
    assert crew.enter()
    crew.record(items=50, seconds=0.1)
    assert not crew.enter()
    assert not crew.should_add_thread()


def test_slow_work_is_shared() -> None:
    crew = AdaptiveConcurrency(slow_seconds=0.01)
    assert crew.enter()
    crew.record(items=50, seconds=5.0)
    assert crew.should_add_thread()
    assert crew.enter()


def test_work_that_became_quick_again_takes_no_new_hands() -> None:
    crew = AdaptiveConcurrency(slow_seconds=0.01)
    assert crew.enter()
    crew.record(items=1, seconds=1.0)
    crew.record(items=1, seconds=0.001)
    assert not crew.enter()


def test_who_found_nothing_to_do_has_learnt_nothing_of_the_pace() -> None:
    crew = AdaptiveConcurrency(slow_seconds=0.01)
    assert crew.enter()
    crew.record(items=1, seconds=1.0)
    crew.record(items=0, seconds=0.001)
    assert crew.should_add_thread()


def test_who_sent_somebody_away_looks_once_more() -> None:
    crew = AdaptiveConcurrency(slow_seconds=0.01)
    assert crew.enter()
    assert not crew.enter()
    assert crew.exit(), "what the other came for may have come too late for us"
    assert crew.enter()
    assert not crew.exit()


def test_the_place_is_free_after_leaving() -> None:
    crew = AdaptiveConcurrency(slow_seconds=0.01)
    assert crew.enter()
    assert not crew.exit()
    assert crew.enter()
