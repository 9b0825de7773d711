"""How many threads share a kind of work."""

from __future__ import annotations

from core.crew import Crew


def test_quick_work_is_done_by_one() -> None:
    crew = Crew(slow_seconds=0.01)
    assert crew.join()
    crew.note(items=50, seconds=0.1)
    assert not crew.join()
    assert not crew.wants_more()


def test_slow_work_is_shared() -> None:
    crew = Crew(slow_seconds=0.01)
    assert crew.join()
    crew.note(items=50, seconds=5.0)
    assert crew.wants_more()
    assert crew.join()


def test_work_that_became_quick_again_takes_no_new_hands() -> None:
    crew = Crew(slow_seconds=0.01)
    assert crew.join()
    crew.note(items=1, seconds=1.0)
    crew.note(items=1, seconds=0.001)
    assert not crew.join()


def test_who_found_nothing_to_do_has_learnt_nothing_of_the_pace() -> None:
    crew = Crew(slow_seconds=0.01)
    assert crew.join()
    crew.note(items=1, seconds=1.0)
    crew.note(items=0, seconds=0.001)
    assert crew.wants_more()


def test_who_sent_somebody_away_looks_once_more() -> None:
    crew = Crew(slow_seconds=0.01)
    assert crew.join()
    assert not crew.join()
    assert crew.leave(), "what the other came for may have come too late for us"
    assert crew.join()
    assert not crew.leave()


def test_the_place_is_free_after_leaving() -> None:
    crew = Crew(slow_seconds=0.01)
    assert crew.join()
    assert not crew.leave()
    assert crew.join()
