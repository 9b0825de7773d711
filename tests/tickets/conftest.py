"""A world on an empty database with its tables, once on SQLite and once on PostgreSQL."""

from collections.abc import Iterator

import pytest

import notify.models  # noqa: F401 - all tables are to be known
from core.database.session import Database
from tests.notify.conftest import database_url, kept_postgres_url, sqlite_template  # noqa: F401 - made once, emptied each time
from tests.tickets.world import World


@pytest.fixture
def world(database_url: str) -> Iterator[World]:  # noqa: F811
    database = Database(database_url)
    yield World(database)
    database.close()
