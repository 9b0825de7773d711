"""The database of a command: open it, migrate the embedded one, query or change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from core.database.session import Database
    from core.settings import Settings


@contextmanager
def open_database() -> Iterator[tuple[Settings, Database]]:
    """Open the configured database. The embedded one is created and migrated; PostgreSQL needs ``casemill migrate`` first."""
    from core import settings
    from core.database.session import Database

    loaded = settings.load()
    database = Database(loaded.database)
    try:
        prepare_database(database)
        yield loaded, database
    finally:
        database.close()


def prepare_database(database: Database) -> None:
    """Migrate the embedded database. For PostgreSQL, raise :class:`CasemillError` when it has not been migrated."""
    from core import migrations

    if database.is_sqlite:
        migrations.upgrade(database)
        seed_message_templates(database)
    else:
        migrations.require_current_schema(database)


def seed_message_templates(database: Database) -> None:
    """Store the message templates of this version. Templates that staff have edited stay as they are."""
    from core import clock
    from tickets import message_templates

    folder = Path(__file__).resolve().parent.parent / "templates" / "email" / "billing_support"
    with database.read() as session:
        if not message_templates.needs_seeding(session, folder):
            return
    database.transaction(lambda session: message_templates.seed(session, folder, clock.now()))


def is_database_missing(settings: Settings) -> bool:
    """Return whether the embedded database has not been created yet."""
    from sqlalchemy.engine import make_url

    url = make_url(settings.database)
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


@contextmanager
def open_existing_database(settings: Settings) -> Iterator[Database]:
    """Open a database that exists and is migrated, without creating one.

    Raises :class:`CasemillError` when there is none or its tables are of another version.
    """
    from core import migrations
    from core.database.session import Database
    from core.errors import NotFoundError

    if is_database_missing(settings):
        hint = "change to the folder of your casemill.toml, set CASEMILL_CONFIG, or run `casemill init`"
        raise NotFoundError("there is no database here yet", hint=hint)
    database = Database(settings.database)
    try:
        migrations.require_current_schema(database)
        yield database
    finally:
        database.close()


def query_existing_database(query: Callable[[Session], Any]) -> Any:
    """Return what ``query`` reads from the existing database."""
    from core import settings

    with open_existing_database(settings.load()) as database, database.read() as session:
        return query(session)


def change_existing_database(unit: Callable[[Session], Any]) -> Any:
    """Run ``unit`` in one transaction of the existing database and return its result."""
    from core import settings

    with open_existing_database(settings.load()) as database:
        return database.transaction(unit)
