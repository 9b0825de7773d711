"""A furnished desk on an empty database, once on SQLite and once on PostgreSQL."""

from collections.abc import Iterator

import pytest

import ingest.ledger.models  # noqa: F401 - all tables are to be known
import notify.models  # noqa: F401
from tests.surveys.desk import Desk, make_desk


@pytest.fixture
def desk(database_url: str) -> Iterator[Desk]:
    desk = make_desk(database_url)
    yield desk
    desk.database.close()
