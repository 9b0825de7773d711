"""Who steps aside for whom, and for how long."""

import threading
import time
from itertools import pairwise

from core.precedence import LOOK_SECONDS, Precedence


def test_nobody_waits_when_nothing_of_the_first_rank_piles_up() -> None:
    began = time.monotonic()
    assert Precedence(5.0).step_aside(lambda: False)
    assert time.monotonic() - began < 1


def test_the_second_rank_waits_until_the_pile_is_gone() -> None:
    answers = iter([True, True, False])
    assert Precedence(10.0).step_aside(lambda: next(answers))
    assert next(answers, None) is None


def test_a_pile_that_does_not_go_is_not_waited_for() -> None:
    began = time.monotonic()
    assert not Precedence(0.1).step_aside(lambda: True)
    assert 0.1 <= time.monotonic() - began < 5


def test_after_its_patience_the_second_rank_has_as_long_for_itself_and_then_steps_aside_again() -> None:
    precedence = Precedence(0.2)
    asked: list[float] = []

    def is_piled_up() -> bool:
        asked.append(time.monotonic())
        return True

    assert not precedence.step_aside(is_piled_up)
    before, since = len(asked), time.monotonic()
    while not precedence.step_aside(is_piled_up) and len(asked) == before:
        assert time.monotonic() - since < 5
    assert 0.1 < asked[before] - since < 1


def test_when_one_has_waited_long_enough_nobody_waits_on() -> None:
    precedence = Precedence(0.4)
    ends: list[float] = []

    def wait() -> None:
        precedence.step_aside(lambda: True)
        ends.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join(5)
    assert ends[1] - ends[0] < 0.15


def test_one_thread_looks_for_all_that_wait() -> None:
    precedence = Precedence(0.5)
    asked: list[float] = []

    def is_piled_up() -> bool:
        asked.append(time.monotonic())
        return True

    threads = [threading.Thread(target=precedence.step_aside, args=(is_piled_up,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert asked
    assert all(later - earlier >= LOOK_SECONDS for earlier, later in pairwise(asked))
