"""Who is staff, for commands that need no database: it is asked where there is one, else the configuration says."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.database.session import Database
    from core.settings import Settings


class StaffLookup:
    """Opens the database at the first question, and asks it no more once it gave no answer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._database: Database | None = None
        self._is_unavailable = False

    def find(self, addresses: Collection[str]) -> Collection[str]:
        """Those of the addresses that staff have."""
        from sqlalchemy.exc import SQLAlchemyError

        from cli.services import open_existing_database
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
        """Let go of the database."""
        self._stack.close()
