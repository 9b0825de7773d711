"""Which addresses belong to staff, for commands that work without a database."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.database.session import Database
    from core.settings import Settings


class StaffLookup:
    """Looks addresses up in the database; without one, or after it has failed once, in the configured teams."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._database: Database | None = None
        self._is_unavailable = False

    def find(self, addresses: Collection[str]) -> Collection[str]:
        """Return those of the addresses that belong to staff."""
        from sqlalchemy.exc import SQLAlchemyError

        from cli.context import open_existing_database
        from core.errors import CasemillError
        from ingest.inspection.explain import configured_staff
        from tickets import forwards

        if not self._is_unavailable:
            try:
                self._database = self._database or self._stack.enter_context(open_existing_database(self._settings))
                with self._database.read() as session:
                    return forwards.find_staff(session, addresses)
            except (CasemillError, SQLAlchemyError, OSError):
                self._is_unavailable = True
        return configured_staff(self._settings)(addresses)

    def close(self) -> None:
        """Close the database."""
        self._stack.close()
