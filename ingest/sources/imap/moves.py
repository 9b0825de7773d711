"""Moving what was taken to another folder: after the commit, and again at the next poll where it failed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database
from core.failpoints import failpoint
from ingest.sources.imap import cursors
from ingest.sources.imap.session import BROKEN, MAIL_ERRORS, ImapSession, error_code

log = logging.getLogger("casemill.sources")

MOVE_MESSAGES = 100


class Moves:
    """The messages of one selected folder that are taken and still in it. ``prefix`` is ``folder/uidvalidity/``."""

    def __init__(self, database: Database, source: str, prefix: str) -> None:
        self._database = database
        self._source = source
        self._prefix = prefix
        with database.read() as db:
            self.waiting = set(cursors.unmoved(db, source, prefix))

    def move(self, session: ImapSession, uids: Iterable[int]) -> None:
        """Move ``uids``; what the server refuses stays in :attr:`waiting` and changes nothing else.

        Raises what a broken connection raises.
        """
        ordered = sorted(uids)
        self.waiting |= set(ordered)
        refused = 0
        for start in range(0, len(ordered), MOVE_MESSAGES):
            refused += self._move_batch(session, ordered[start : start + MOVE_MESSAGES])
        if refused:
            log.warning("messages not moved, will be tried again", extra={"source": self._source, "count": refused})

    def _move_batch(self, session: ImapSession, uids: Sequence[int]) -> int:
        """Move a batch, or each alone when it fails; answers how many were refused."""
        try:
            session.move(uids)
        except BROKEN:
            raise
        except MAIL_ERRORS as error:
            log.info("move refused", extra={"source": self._source, "error": error_code(error), "count": len(uids)})
            return 1 if len(uids) == 1 else sum(self._move_batch(session, [uid]) for uid in uids)
        failpoint("imap.moved")
        self._note(uids)
        return 0

    def _note(self, uids: Sequence[int]) -> None:
        places = [f"{self._prefix}{uid}" for uid in uids]

        def unit(db: Session) -> None:
            cursors.note_moved(db, self._source, places, clock.now())

        self._database.transaction(unit)
        self.waiting -= set(uids)
