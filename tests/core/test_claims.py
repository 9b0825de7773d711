"""Claims are renewed while their holder lives."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from core import claims


def test_tokens_are_never_the_same() -> None:
    assert len({claims.new_token() for _ in range(1000)}) == 1000


def test_a_claim_is_renewed_from_another_thread_while_its_holder_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEW_INTERVAL_SECONDS", 0.02)
    renewed: list[int] = []
    with claims.renew_periodically(lambda: renewed.append(threading.get_ident())):
        time.sleep(0.2)
    assert len(renewed) >= 3
    assert threading.get_ident() not in renewed


def test_nothing_is_renewed_after_the_work_ended_even_by_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEW_INTERVAL_SECONDS", 0.02)
    renewed: list[None] = []
    with pytest.raises(ZeroDivisionError), claims.renew_periodically(lambda: renewed.append(None)):
        time.sleep(0.05)
        _ = 1 // 0
    count = len(renewed)
    time.sleep(0.1)
    assert len(renewed) == count
    assert not [thread for thread in threading.enumerate() if thread.name == "claim-renewal"]


def test_a_renewal_that_fails_is_logged_by_kind_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claims, "RENEW_INTERVAL_SECONDS", 0.02)

    def fail() -> None:
        raise OSError("canary text")

    with caplog.at_level(logging.WARNING), claims.renew_periodically(fail):
        time.sleep(0.15)
    assert len(caplog.records) >= 2
    assert {vars(record)["error"] for record in caplog.records} == {"OSError"}
    assert "canary" not in caplog.text


def test_a_dead_holders_rows_come_back_within_thirty_seconds() -> None:
    assert claims.CLAIM_TTL.total_seconds() + 5 <= 30, "the sweeps look every five seconds (reliability.md, promise 4)"
    assert claims.CLAIM_TTL.total_seconds() >= claims.RENEW_INTERVAL_SECONDS * 3, "two renewals may be lost"
