"""Bringing the database to the schema this version needs."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from core.db import Database
from core.errors import CasemillError

LOCATION = Path(__file__).resolve().parent.parent / "migrations"
#: A number of our own for PostgreSQL's advisory lock: two processes that start at once migrate one after the other.
LOCK = 7_251_946_301


def upgrade(database: Database) -> None:
    """Run the migrations that have not run yet. Safe to call from several processes at once."""
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")  # however long the other one takes
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def current(database: Database) -> str | None:
    """The revision the database is at, None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str | None:
    """The revision this version needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def require(database: Database) -> None:
    """Raise unless the database is at the revision this version needs."""
    if current(database) != head():
        raise CasemillError("the database does not have this version's tables", mend="run `casemill migrate`")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(LOCATION))
    return config
