"""The clock jumps by a day forward and back, passes both changes of daylight saving time, and a year passes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.clock import ShiftedClock
from tests.faults.report import Row
from tests.faults.shared_trial import Traffic
from tests.faults.trial import FULL, Trial, modes
from tests.servers.smtp import Behaviour

DAY = 86_400
#: In New York: 2 to 3 o'clock is skipped; 1 to 2 o'clock is repeated.
CHANGES = (datetime(2027, 3, 14, 7, tzinfo=UTC), datetime(2027, 11, 7, 6, tzinfo=UTC))


@pytest.fixture
def clock(tmp_path: Path) -> ShiftedClock:
    return ShiftedClock(tmp_path / "clock")


@pytest.mark.fault("the clock jumps a day forward and back in the middle of the work")
@pytest.mark.parametrize("mode", modes("embedded"))
@pytest.mark.timeout(400)
def test_a_clock_that_jumps_by_a_day_loses_and_doubles_nothing(trial: Trial, clock: ShiftedClock, row: Row) -> None:
    jumps = (DAY, 0, DAY, 2 * DAY, DAY, 0) if FULL else (DAY, 2 * DAY, 0)
    row.runs = len(jumps)
    trial.start(environment=clock.environment)
    with Traffic(trial):
        for offset in jumps:
            time.sleep(1.0)
            clock.set_offset(offset)
    trial.settle(60)
    assert set(trial.stop().values()) == {0}
    trial.check()


@pytest.mark.fault("processes whose clocks are a day apart: the workers' is wrong, the others' are right")
@pytest.mark.parametrize("mode", ["scaled"])
@pytest.mark.timeout(400)
def test_workers_with_a_wrong_clock_lose_and_double_nothing(trial: Trial, clock: ShiftedClock, row: Row) -> None:
    offsets = (DAY, -DAY) if FULL else (DAY,)
    row.runs = len(offsets)
    trial.start()
    for offset in offsets:
        trial.kill("workers")
        clock.set_offset(offset)
        with Traffic(trial):
            trial.start("workers", environment=clock.environment, ready=False)
            time.sleep(4)
    trial.kill("workers")
    trial.start("workers", ready=False)
    trial.settle(60)
    assert set(trial.stop().values()) == {0}
    trial.check()


@pytest.mark.fault("changes of daylight saving time, in America/New_York")
@pytest.mark.parametrize("mode", modes("embedded"))
@pytest.mark.timeout(400)
def test_a_change_of_daylight_saving_time_changes_nothing(trial: Trial, clock: ShiftedClock, row: Row) -> None:
    changes = CHANGES if FULL else CHANGES[1:]
    row.runs = len(changes)
    for change in changes:
        clock.set_offset((change - timedelta(seconds=4) - datetime.now(UTC)).total_seconds())
        trial.start(environment=clock.environment)
        for _ in range(12):
            trial.send_form()
            time.sleep(0.5)
        trial.settle(60)
        assert set(trial.stop().values()) == {0}
    trial.check()


@pytest.mark.fault("the same webhook a year later")
@pytest.mark.parametrize("mode", modes("embedded"))
@pytest.mark.timeout(400)
def test_the_same_webhook_a_year_later_makes_no_second_ticket(trial: Trial, clock: ShiftedClock) -> None:
    trial.start(environment=clock.environment)
    form = trial.send_form()
    trial.settle()
    clock.set_offset(366 * DAY)
    assert [trial.post(form) for _ in range(3)] == [200] * 3
    trial.settle()
    assert set(trial.stop().values()) == {0}
    trial.check()


@pytest.mark.fault("4xx for more than five days: given up, with a follow-up for the owner; it goes out no more")
@pytest.mark.parametrize("mode", modes("embedded"))
@pytest.mark.timeout(400)
def test_a_mail_put_off_for_five_days_is_given_up(trial: Trial, clock: ShiftedClock, row: Row) -> None:
    count = trial.system.count
    trial.servers.smtp.set_behaviour(Behaviour(dot="451 4.3.0 Try later"))
    trial.start(environment=clock.environment)
    for day in range(6):
        clock.set_offset(day * DAY)
        attempt = f"delivery WHERE id = 1 AND (attempts > {day} OR finished_at IS NOT NULL)"
        trial.make_retries_due()
        # New mail makes the delivery worker claim all that is due, without waiting for the scheduler.
        trial.send_mail()
        trial.wait(lambda attempt=attempt: trial.make_retries_due() or count(attempt) == 1, f"an attempt on day {day}", 60)  # type: ignore[func-returns-value]
    trial.servers.smtp.set_behaviour(Behaviour())
    trial.settle(make_retries_due=True)
    assert count("delivery WHERE state = 'failed' AND reason_code = 'gave_up'") == 1
    clock.set_offset(0)
    assert set(trial.stop().values()) == {0}
    trial.check()
