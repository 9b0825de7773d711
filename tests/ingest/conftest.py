from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from core.settings.sections import Limits
from ingest.parser_pool import ParserPool
from tests.ingest.support import Room, open_room, settings_for


@pytest.fixture(scope="session")
def parser_pool() -> Iterator[ParserPool]:
    """The parser children of this run."""
    pool = ParserPool(Limits(parser_processes=2))
    yield pool
    pool.close()


@pytest.fixture
def make_pool() -> Iterator[Callable[..., ParserPool]]:
    """Makes pools of one child; keywords are limits."""
    with ExitStack() as stack:

        def make(**limits: float) -> ParserPool:
            pool = ParserPool(Limits.model_validate({"parser_processes": 1, **limits}))
            stack.callback(pool.close)
            return pool

        yield make


@pytest.fixture
def make_room(database_url: str, tmp_path: Path, parser_pool: ParserPool) -> Iterator[Callable[..., Room]]:
    """Makes pipelines on the test's database; keywords are further settings."""
    with ExitStack() as stack:

        def make(pool: ParserPool = parser_pool, **further: Any) -> Room:
            room = open_room(settings_for(database_url, tmp_path, **further), pool)
            stack.callback(room.database.close)
            return room

        yield make


@pytest.fixture
def room(make_room: Callable[..., Room]) -> Room:
    """A pipeline with two mailboxes and a form, on an empty database."""
    return make_room()
