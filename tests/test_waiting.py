"""Budgets of the tests grow with the load of the machine, which is injected here."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import waiting
from tests.waiting import Deadline, LoadMeter, poll_until, scale_budget, wait_for_exit, wait_until

ROOT = Path(__file__).resolve().parents[1]


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def use_load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes every wait of the test see this load."""

    def use(measure: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        monkeypatch.setattr(waiting, "METER", LoadMeter(measure, clock))

    return use


@pytest.mark.parametrize(("slowness", "factor"), [(0.1, 1.0), (1.0, 1.0), (3.5, 3.5), (40.0, 8.0)])
def test_factor_is_the_measured_slowness_between_one_and_eight(slowness: float, factor: float) -> None:
    assert LoadMeter(lambda: slowness).factor() == factor


def test_load_is_sampled_at_most_every_two_seconds_and_falls_slowly() -> None:
    samples, clock = iter([5.0, 1.0, 1.0]), ManualClock()
    meter = LoadMeter(lambda: next(samples), clock)
    assert meter.factor() == meter.factor() == 5.0
    clock.seconds = waiting.SAMPLE_SECONDS
    assert meter.factor() == 3.0
    clock.seconds *= 2
    assert meter.factor() == 2.0


def test_measure_of_this_machine_is_a_positive_number() -> None:
    assert waiting.measure_slowness() > 0


def test_budget_on_a_busy_machine_is_multiplied_by_the_load(use_load: Callable[..., None]) -> None:
    use_load(lambda: 4.0)
    assert scale_budget(30) == 120
    assert Deadline(30).budget == 120


def test_deadline_moves_when_the_load_begins_during_the_wait_and_stays_when_it_ends(use_load: Callable[..., None]) -> None:
    load, clock = [1.0], ManualClock()
    use_load(lambda: load[0], clock)
    deadline = Deadline(10, clock)
    load[0], clock.seconds = 3.0, 11
    assert not deadline.has_passed()
    load[0], clock.seconds = 1.0, 29
    assert not deadline.has_passed()
    clock.seconds = 31
    assert deadline.has_passed()


def test_state_that_comes_after_the_plain_budget_is_awaited_on_a_busy_machine(use_load: Callable[..., None]) -> None:
    use_load(lambda: 8.0)
    comes_at = time.monotonic() + 0.3
    wait_until(lambda: time.monotonic() > comes_at, 0.1)


def test_state_that_never_comes_ends_the_wait_after_the_scaled_budget(use_load: Callable[..., None]) -> None:
    use_load(lambda: 3.0)
    started = time.monotonic()
    assert not poll_until(lambda: False, 0.1)
    assert time.monotonic() - started >= 0.3
    with pytest.raises(AssertionError, match="not reached within"):
        wait_until(lambda: False, 0.01)


def test_process_that_ends_late_is_awaited_on_a_busy_machine_and_one_that_never_ends_is_not(
    use_load: Callable[..., None],
) -> None:
    use_load(lambda: 8.0)
    with subprocess.Popen(["sleep", "0.4"]) as process:
        assert wait_for_exit(process, 10) == 0
    with subprocess.Popen(["sleep", "600"]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            wait_for_exit(process, 0.05)
        process.kill()


@pytest.mark.parametrize(("slowness", "method", "code"), [(8.0, "signal", 0), (1.0, "signal", 1), (8.0, "thread", 0)])
def test_time_limit_of_a_test_is_multiplied_by_the_load(tmp_path: Path, slowness: float, method: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(f"""
            from tests import waiting
            waiting.METER = waiting.LoadMeter(lambda: {slowness})
            pytest_timeout_set_timer = waiting.set_test_timer
        """)
    )
    (tmp_path / "test_slow.py").write_text("import time\ndef test_slow(): time.sleep(1.5)\n")
    options = [
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
        "--timeout",
        "1",
        "--timeout-method",
        method,
        "-p",
        "no:schemathesis",
    ]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "test_slow.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
