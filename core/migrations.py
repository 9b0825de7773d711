"""Database migrations: bring the database to the schema that this version needs."""

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
#: An arbitrary key for PostgreSQL's advisory lock: processes that start at the same time migrate one after the other.
ADVISORY_LOCK_ID = 7_251_946_301
#: How long a process waits for another one's migrations: a large table takes minutes.
LOCK_TIMEOUT_SECONDS = 1800


def upgrade(database: Database) -> None:
    """Run all outstanding migrations in one transaction. Safe to call from several processes at once.

    The transaction begins here on both databases: on SQLite Alembic would commit each migration by itself, and another
    process could run the next one in between.
    """
    # Checked first so that a start without outstanding migrations does not wait for a writer.
    if current_revision(database) == required_revision():
        return
    with database.engine.connect() as connection:
        if database.is_sqlite:
            _wait_for_write_lock(connection)
        with connection.begin():
            if not database.is_sqlite:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK_ID})")
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _wait_for_write_lock(connection: Connection) -> None:
    """Let ``connection`` wait for SQLite's write lock when its transaction begins; afterwards the pool does not reuse it."""
    sqlite = connection.connection.driver_connection
    assert isinstance(sqlite, sqlite3.Connection)  # noqa: S101 - for mypy
    sqlite.execute(f"PRAGMA busy_timeout={LOCK_TIMEOUT_SECONDS * 1000}")
    connection.detach()


def current_revision(database: Database) -> str | None:
    """Return the revision of the database, None when it is empty."""
    with database.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def required_revision() -> str | None:
    """Return the revision that this version needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def require_current_schema(database: Database) -> None:
    """Raise :class:`CasemillError` unless the database is at the revision that this version needs."""
    if current_revision(database) != required_revision():
        raise CasemillError("the database does not have this version's tables", hint="run `casemill migrate`")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
    return config
