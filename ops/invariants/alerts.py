"""The clock's alarm: an invariant that breaks, and one that holds again, is said once in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from core.database.session import Database
from core.findings import Finding
from core.settings import Settings
from ops.invariants.checks import check

log = logging.getLogger("casemill.ops")

#: Seconds between two looks.
EVERY = 15.0


class Alarm:
    """Remembers, in this process only, what was said. Both ways a change must be seen twice in a row before it is said.

    What lasts for one look only (a process that has just started, work in full swing) is nothing to wake anybody for.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._changing: set[str] = set()
        self._told: dict[str, int] = {}

    def look(self) -> None:
        """Judge all invariants and say what has changed."""
        with self._database.read() as session:
            found = check(session, self._settings, self._database.now(session))
        self.note(found)

    def note(self, found: Iterable[Finding]) -> None:
        """Say what has changed with ``found``, the judgements of one look."""
        changing = set()
        for one in found:
            level = self._told.get(one.code, 0)
            if (one.is_violated and one.level <= level) or (not one.is_violated and not level):
                continue
            if one.code not in self._changing:
                changing.add(one.code)
                continue
            self._say(one)
        self._changing = changing

    def _say(self, one: Finding) -> None:
        details = {"code": one.code, "count": one.count, "due": one.oldest.isoformat() if one.oldest else None}
        if one.is_violated:
            self._told[one.code] = one.level
            log.error("an invariant is broken", extra=details)
        else:
            self._told.pop(one.code, None)
            log.error("an invariant holds again", extra=details)
