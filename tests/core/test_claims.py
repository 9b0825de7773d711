"""Claims are renewed while their worker lives."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from core import claims


def test_tokens_are_unique() -> None:
    assert len({claims.new_token() for _ in range(1000)}) == 1000


def test_claim_is_renewed_from_another_thread_while_block_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEW_INTERVAL_SECONDS", 0.02)
    renewed: list[int] = []
    with claims.renew_periodically(lambda: renewed.append(threading.get_ident())):
        time.sleep(0.2)
    assert len(renewed) >= 3
    assert threading.get_ident() not in renewed


def test_claim_is_not_renewed_after_block_ends_with_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "RENEW_INTERVAL_SECONDS", 0.02)
    renewed: list[None] = []
    with pytest.raises(ZeroDivisionError), claims.renew_periodically(lambda: renewed.append(None)):
        time.sleep(0.05)
        _ = 1 // 0
    count = len(renewed)
    time.sleep(0.1)
    assert len(renewed) == count
    assert not [thread for thread in threading.enumerate() if thread.name == "claim-renewal"]


def test_failed_renewal_is_logged_by_type_and_retried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(claims, "RENEW_INTERVAL_SECONDS", 0.02)

    def fail() -> None:
        raise OSError("canary text")

    with caplog.at_level(logging.WARNING), claims.renew_periodically(fail):
        time.sleep(0.15)
    assert len(caplog.records) >= 2
    assert {vars(record)["error"] for record in caplog.records} == {"OSError"}
    assert "canary" not in caplog.text


def test_claims_of_dead_worker_are_released_within_thirty_seconds() -> None:
    assert claims.CLAIM_TTL.total_seconds() + 5 <= 30, "sweeps add up to five seconds (reliability.md, promise 4)"
    assert claims.CLAIM_TTL.total_seconds() >= claims.RENEW_INTERVAL_SECONDS * 3, "two renewals may be lost"
