"""Hints never get in the way of those who give them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from runtime import drain_requests


@pytest.fixture(autouse=True)
def unplugged() -> Iterator[None]:
    drain_requests.connect(None)
    yield
    drain_requests.connect(None)


def test_without_a_broker_a_hint_is_nothing() -> None:
    drain_requests.request_drain("ingest.drain")


def test_a_hint_reaches_whoever_is_connected() -> None:
    given: list[str] = []
    drain_requests.connect(given.append)
    drain_requests.request_drain("ingest.drain")
    assert given == ["ingest.drain"]
    drain_requests.connect(None)
    drain_requests.request_drain("ingest.drain")
    assert given == ["ingest.drain"]


def test_a_broker_that_raises_is_logged_by_kind_only(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: str) -> None:
        raise ConnectionError("canary text")

    drain_requests.connect(fail)
    with caplog.at_level(logging.WARNING):
        drain_requests.request_drain("ingest.drain")
    (record,) = caplog.records
    assert vars(record)["error"] == "ConnectionError"
    assert "canary" not in record.getMessage()
    assert record.exc_info is None
