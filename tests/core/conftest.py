"""An empty database with its tables, once on SQLite and once on PostgreSQL."""

from collections.abc import Iterator

import pytest

import core.blobs
import core.leases
import outbox.models  # noqa: F401 - registers its table
from core.database.session import Database
from core.database.types import Base


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    tables = [core.blobs.Blob.__table__, core.leases.Lease.__table__, Base.metadata.tables["outbox_fact"]]
    Base.metadata.create_all(database.engine, tables=tables)
    yield database
    database.close()
