"""Drain requests never disturb their callers."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from runtime import drain_requests


@pytest.fixture(autouse=True)
def disconnected() -> Iterator[None]:
    drain_requests.connect(None)
    yield
    drain_requests.connect(None)


def test_request_without_broker_is_ignored() -> None:
    drain_requests.request_drain("ingest.drain")


def test_request_reaches_connected_function() -> None:
    requested: list[str] = []
    drain_requests.connect(requested.append)
    drain_requests.request_drain("ingest.drain")
    assert requested == ["ingest.drain"]
    drain_requests.connect(None)
    drain_requests.request_drain("ingest.drain")
    assert requested == ["ingest.drain"]


def test_broker_error_is_logged_by_type_only(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: str) -> None:
        raise ConnectionError("canary text")

    drain_requests.connect(fail)
    with caplog.at_level(logging.WARNING):
        drain_requests.request_drain("ingest.drain")
    (record,) = caplog.records
    assert vars(record)["error"] == "ConnectionError"
    assert "canary" not in record.getMessage()
    assert record.exc_info is None
