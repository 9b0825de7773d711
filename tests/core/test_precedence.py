"""Who steps aside for whom, and for how long."""

import threading
import time

from core.precedence import Precedence


def test_nobody_waits_when_nothing_of_the_first_rank_is_under_way() -> None:
    precedence = Precedence(5.0)
    with precedence.first():
        pass
    began = time.monotonic()
    assert precedence.step_aside()
    assert time.monotonic() - began < 1


def test_the_second_rank_waits_for_the_last_of_the_first() -> None:
    precedence = Precedence(10.0)
    ended, begun = threading.Event(), threading.Event()
    order: list[str] = []

    def second() -> None:
        begun.set()
        assert precedence.step_aside()
        order.append("second")
        ended.set()

    with precedence.first():
        with precedence.first():
            threading.Thread(target=second, daemon=True).start()
            assert begun.wait(5)
        order.append("one of the first")
        assert not ended.wait(0.05)
        order.append("the last of the first")
    assert ended.wait(5)
    assert order == ["one of the first", "the last of the first", "second"]


def test_the_second_rank_goes_on_after_its_patience_whatever_comes_in() -> None:
    precedence = Precedence(0.05)
    with precedence.first():
        assert not precedence.step_aside()


def test_work_that_fails_no_longer_counts() -> None:
    precedence = Precedence(0.05)
    try:
        with precedence.first():
            raise ValueError
    except ValueError:
        pass
    assert precedence.step_aside()


def test_the_second_rank_waits_for_work_elsewhere_too() -> None:
    answers = iter([True, True, False])
    assert Precedence(10.0).step_aside(lambda: next(answers))
    assert next(answers, None) is None


def test_work_elsewhere_that_does_not_end_is_not_waited_for() -> None:
    began = time.monotonic()
    assert not Precedence(0.1).step_aside(lambda: True)
    assert time.monotonic() - began < 5
