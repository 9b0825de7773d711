"""Databases for the tests of the sources."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.database.session import Database
from tests.ingest.sources.support import make_tables
from tests.servers.dovecot import DovecotServer


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An SQLite database with all tables."""
    database = make_tables(f"sqlite:///{tmp_path / 'casemill.db'}")
    yield database
    database.close()


@pytest.fixture
def either_database(database_url: str) -> Iterator[Database]:
    """A database with all tables: once SQLite, once PostgreSQL."""
    database = make_tables(database_url)
    yield database
    database.close()


@pytest.fixture
def desk(dovecot: DovecotServer) -> DovecotServer:
    """A Dovecot with the user ``desk``."""
    dovecot.add_user("desk")
    return dovecot
