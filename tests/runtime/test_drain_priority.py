"""Who steps aside for whom, and for how long."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from runtime.drain_priority import BACKLOG_REMAINDER_SECONDS, POLL_SECONDS, DrainPriority
from tests.waiting import wait_until

PILE = 10


def make(seconds: float, call: Callable[[str], None] = print) -> DrainPriority:
    return DrainPriority(seconds, PILE, call)


def piled_up(_most: int) -> int:
    return PILE


def test_nobody_waits_when_nothing_of_the_first_rank_piles_up() -> None:
    began = time.monotonic()
    assert make(5.0).yield_to_ingest("notices", lambda _most: PILE - 1)
    assert time.monotonic() - began < 1


def test_the_second_rank_waits_until_the_pile_is_gone() -> None:
    answers = iter([PILE, PILE, 0])
    assert make(10.0).yield_to_ingest("notices", lambda _most: next(answers))
    assert next(answers, None) is None


def test_the_last_of_a_pile_is_waited_for_but_not_for_long() -> None:
    precedence = make(10.0)
    answers = iter([PILE, 1, 0])
    assert precedence.yield_to_ingest("notices", lambda _most: next(answers))
    assert next(answers, None) is None
    began = time.monotonic()
    answers = iter([PILE])
    assert precedence.yield_to_ingest("notices", lambda _most: next(answers, 1))
    assert BACKLOG_REMAINDER_SECONDS <= time.monotonic() - began < 5


def test_a_pile_that_does_not_go_is_not_waited_for() -> None:
    began = time.monotonic()
    assert make(0.1).yield_to_ingest("notices", piled_up)
    assert 0.1 <= time.monotonic() - began < 5


def test_after_its_patience_the_second_rank_has_as_long_for_itself_and_then_steps_aside_again() -> None:
    precedence = make(0.3)
    assert precedence.yield_to_ingest("notices", piled_up)
    began = time.monotonic()
    assert precedence.yield_to_ingest("notices", piled_up)
    assert time.monotonic() - began < 0.1
    time.sleep(0.4)
    began = time.monotonic()
    assert precedence.yield_to_ingest("notices", piled_up)
    assert time.monotonic() - began >= 0.3


def test_one_waits_for_all_and_those_sent_away_are_called_when_the_way_is_free() -> None:
    called: list[str] = []
    precedence = make(30.0, called.append)
    pieces = [PILE]
    waiting = threading.Thread(target=precedence.yield_to_ingest, args=("facts", lambda _most: pieces[0]))
    waiting.start()
    try:
        wait_until(lambda: not precedence.yield_to_ingest("notices", lambda _most: 0))
        began = time.monotonic()
        assert not precedence.yield_to_ingest("timers", piled_up)
        assert not precedence.yield_to_ingest("notices", piled_up)
        assert time.monotonic() - began < 1
        assert called == []
    finally:
        pieces[0] = 0
        waiting.join(10)
    assert called == ["notices", "timers"]
    assert precedence.yield_to_ingest("notices", lambda _most: 0)


def test_a_count_that_fails_sends_nobody_away_for_good() -> None:
    precedence = make(5.0)
    for answers in ([], [PILE]):
        left = iter(answers)
        with pytest.raises(StopIteration):
            precedence.yield_to_ingest("notices", lambda _most, left=left: next(left))  # type: ignore[misc]
    assert precedence.yield_to_ingest("notices", lambda _most: 0)


def test_whoever_waits_looks_now_and_then() -> None:
    asked: list[float] = []

    def count(_most: int) -> int:
        asked.append(time.monotonic())
        return PILE

    make(0.5).yield_to_ingest("notices", count)
    assert 2 < len(asked) <= 0.5 / POLL_SECONDS + 2
    assert all(later - earlier > POLL_SECONDS / 2 for earlier, later in pairwise(asked))
