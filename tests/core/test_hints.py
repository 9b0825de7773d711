"""Hints never get in the way of those who give them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from core import hints


@pytest.fixture(autouse=True)
def unplugged() -> Iterator[None]:
    hints.connect(None)
    yield
    hints.connect(None)


def test_without_a_broker_a_hint_is_nothing() -> None:
    hints.hint("ingest.drain")


def test_a_hint_reaches_whoever_is_connected() -> None:
    given: list[str] = []
    hints.connect(given.append)
    hints.hint("ingest.drain")
    assert given == ["ingest.drain"]
    hints.connect(None)
    hints.hint("ingest.drain")
    assert given == ["ingest.drain"]


def test_a_broker_that_raises_is_logged_by_kind_only(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: str) -> None:
        raise ConnectionError("canary text")

    hints.connect(fail)
    with caplog.at_level(logging.WARNING):
        hints.hint("ingest.drain")
    (record,) = caplog.records
    assert vars(record)["error"] == "ConnectionError"
    assert "canary" not in record.getMessage()
    assert record.exc_info is None
