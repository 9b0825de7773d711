"""Back-off formulas, and the numbers of every caller: they are tuned values that a change of the formula must not move."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.backoff import Backoff, LinearBackoff
from core.database import session
from ingest.ledger import claims
from ingest.sources import backfill
from ingest.sources.imap.watcher import pause_after
from notify import attempts as delivery_attempts
from outbox import relay


def seconds(backoff: Backoff, attempts: range) -> list[float]:
    return [backoff.after(number).total_seconds() for number in attempts]


def test_pause_doubles_with_each_failure_up_to_maximum() -> None:
    backoff = Backoff(first=timedelta(seconds=3), maximum=timedelta(seconds=20))
    assert seconds(backoff, range(1, 6)) == [3, 6, 12, 20, 20]


@pytest.mark.parametrize("attempts", [-1, 0, 1])
def test_fewer_than_one_failure_waits_first_pause(attempts: int) -> None:
    assert Backoff(timedelta(seconds=3), timedelta(seconds=20)).after(attempts) == timedelta(seconds=3)


def test_first_pause_longer_than_maximum_is_cut_to_maximum() -> None:
    assert Backoff(timedelta(minutes=1), maximum=timedelta(seconds=6)).after(1) == timedelta(seconds=6)


def test_any_number_of_failures_waits_maximum_without_overflow() -> None:
    assert Backoff(timedelta(minutes=1), timedelta(hours=4)).after(1_000_000) == timedelta(hours=4)


def test_jitter_is_share_of_pause_that_chance_decides() -> None:
    backoff = Backoff(timedelta(seconds=10), timedelta(seconds=40), jitter=0.5)
    assert [backoff.after(2, chance=chance).total_seconds() for chance in (0.0, 0.5, 1.0)] == [10, 15, 20]


def test_linear_pause_grows_by_one_random_step_for_each_failure() -> None:
    backoff = LinearBackoff(shortest=1.0, longest=3.0)
    assert [backoff.after(3, chance=chance) for chance in (0.0, 0.5, 1.0)] == [3.0, 6.0, 9.0]


def test_failed_inbound_item_waits_two_seconds_to_ten_minutes() -> None:
    assert seconds(claims.RETRY_BACKOFF, range(1, 12)) == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


def test_failed_fact_waits_two_seconds_to_ten_minutes() -> None:
    assert seconds(relay.RETRY_BACKOFF, range(1, 12)) == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


def test_deferred_delivery_waits_one_minute_to_four_hours() -> None:
    assert seconds(delivery_attempts.RETRY_BACKOFF, range(1, 11)) == [60, 120, 240, 480, 960, 1920, 3840, 7680, 14400, 14400]


def test_mailbox_waits_one_to_eight_seconds_then_half_a_minute_to_ten_minutes() -> None:
    assert [pause_after(errors, at_once=False, jitter=1.0) for errors in range(1, 11)] == [1, 2, 4, 8, 30, 60, 120, 240, 480, 600]
    assert [pause_after(errors, at_once=False, jitter=0.0) for errors in (1, 4, 5, 10)] == [0.5, 4, 15, 300]


def test_form_list_waits_one_minute_up_to_its_longest_pause() -> None:
    backoff = Backoff(backfill.FIRST_PAUSE, backfill.MAX_PAUSE)
    assert seconds(backoff, range(1, 13)) == [60 * minutes for minutes in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024)]


def test_transaction_waits_ten_to_fifty_milliseconds_for_each_failure() -> None:
    backoff = session.RETRY_BACKOFF
    assert [backoff.after(attempt, chance=0.0) for attempt in (1, 2, 4)] == pytest.approx([0.01, 0.02, 0.04])
    assert [backoff.after(attempt, chance=1.0) for attempt in (1, 2, 4)] == pytest.approx([0.05, 0.10, 0.20])
