from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from core.settings.sections import Limits
from ingest.parser_pool import ParserPool
from tests.ingest.support import IngestHarness, open_harness, settings_for


@pytest.fixture(scope="session")
def parser_pool() -> Iterator[ParserPool]:
    """Return the parser pool shared by all tests of the session."""
    pool = ParserPool(Limits(parser_processes=2))
    yield pool
    pool.close()


@pytest.fixture
def make_pool() -> Iterator[Callable[..., ParserPool]]:
    """Return a function that creates pools of one process; its keywords are limits."""
    with ExitStack() as stack:

        def make(**limits: float) -> ParserPool:
            pool = ParserPool(Limits.model_validate({"parser_processes": 1, **limits}))
            stack.callback(pool.close)
            return pool

        yield make


@pytest.fixture
def make_harness(database_url: str, tmp_path: Path, parser_pool: ParserPool) -> Iterator[Callable[..., IngestHarness]]:
    """Return a function that creates pipelines on the test's database; its keywords are further settings."""
    with ExitStack() as stack:

        def make(pool: ParserPool = parser_pool, **further: Any) -> IngestHarness:
            harness = open_harness(settings_for(database_url, tmp_path, **further), pool)
            stack.callback(harness.database.close)
            return harness

        yield make


@pytest.fixture
def harness(make_harness: Callable[..., IngestHarness]) -> IngestHarness:
    """Return a pipeline with two mailboxes and a form, on an empty database."""
    return make_harness()
