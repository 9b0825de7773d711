"""What commands share: the settings in force and an open, migrated database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.database.session import Database
    from core.settings import Settings


@contextmanager
def open_database() -> Iterator[tuple[Settings, Database]]:
    """Settings and database. The embedded database is migrated on the way; a server's must have been (``casemill migrate``)."""
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
    """Migrate the embedded database; of a server's, only make sure that it has been migrated."""
    from core import migrations

    if database.is_sqlite:
        migrations.upgrade(database)
        seed_message_templates(database)
    else:
        migrations.require_current_schema(database)


def seed_message_templates(database: Database) -> None:
    """Bring in the message templates that come along, as far as nobody has edited them."""
    from core import clock
    from tickets import message_templates

    folder = Path(__file__).resolve().parent.parent / "templates" / "email" / "billing_support"
    with database.read() as session:
        if not message_templates.needs_seeding(session, folder):
            return
    database.transaction(lambda session: message_templates.seed(session, folder, clock.now()))
