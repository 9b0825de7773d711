"""Bringing the database to the schema this version needs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from core.database.session import Database
from core.errors import CasemillError

MIGRATIONS_FOLDER = Path(__file__).resolve().parent.parent / "migrations"
#: A number of our own for PostgreSQL's advisory lock: two processes that start at once migrate one after the other.
ADVISORY_LOCK_ID = 7_251_946_301
#: How long one waits for the other's migrations: a large table takes minutes.
LOCK_TIMEOUT_SECONDS = 1800


def upgrade(database: Database) -> None:
    """Run the migrations that have not run yet, in one transaction. Safe to call from several processes at once.

    On SQLite it is begun here as well: Alembic by itself would commit each migration there, and another process could run
    the next one in between.
    """
    if current_revision(database) == required_revision():
        return  # without waiting for whoever writes
    with database.engine.connect() as connection:
        if database.is_sqlite:
            _be_patient(connection)
        with connection.begin():
            if not database.is_sqlite:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK_ID})")
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _be_patient(connection: Connection) -> None:
    """Let it wait for SQLite's lock, which its transaction takes as it begins; the pool does not get it back."""
    sqlite = connection.connection.driver_connection
    assert isinstance(sqlite, sqlite3.Connection)  # noqa: S101 - for mypy
    sqlite.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT_SECONDS * 1000}")
    connection.detach()


def current_revision(database: Database) -> str | None:
    """The revision the database is at, None for an empty one."""
    with database.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def required_revision() -> str | None:
    """The revision this version needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def require_current_schema(database: Database) -> None:
    """Raise unless the database is at the revision this version needs."""
    if current_revision(database) != required_revision():
        raise CasemillError("the database does not have this version's tables", hint="run `casemill migrate`")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
    return config
