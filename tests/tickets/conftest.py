"""A world on an empty database with its tables, once on SQLite and once on PostgreSQL."""

from collections.abc import Iterator

import pytest

import ingest.models  # noqa: F401 - all tables are to be known
import notify.models  # noqa: F401
from core.db import Base, Database
from tests.tickets.world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    database = Database(database_url)
    Base.metadata.create_all(database.engine)  # as the migrations make them (tests/core/test_migrations.py), but quicker
    yield World(database)
    database.close()
