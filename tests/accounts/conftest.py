"""An empty database with its tables, once on SQLite and once on PostgreSQL."""

from collections.abc import Iterator

import pytest

from accounts.models import Staff
from core.database.session import Database
from core.database.types import Base

NAMES = ("staff", "absence", "team", "team_member", "company", "company_domain", "contact")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    Base.metadata.create_all(database.engine, tables=[Staff.metadata.tables[name] for name in NAMES])
    yield database
    database.close()
