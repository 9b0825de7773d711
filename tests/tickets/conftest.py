"""A world on an empty, migrated database, once on SQLite and once on PostgreSQL."""

from collections.abc import Iterator

import pytest

from core import migrations
from core.db import Database
from tests.tickets.world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    database = Database(database_url)
    migrations.upgrade(database)
    yield World(database)
    database.close()
