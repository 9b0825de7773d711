"""Move accepted messages to another folder: after the commit, and again at the next poll where it failed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database
from core.failpoints import failpoint
from ingest.sources.imap import cursors
from ingest.sources.imap.session import CONNECTION_ERRORS, MAIL_ERRORS, ImapSession, error_code

log = logging.getLogger("casemill.sources.imap")

MAX_MOVE_MESSAGES = 100


class MessageMover:
    """Moves messages of one folder. :attr:`unmoved` holds the UIDs that are accepted and still there.

    ``prefix`` is ``folder/uidvalidity/``.
    """

    def __init__(self, database: Database, source: str, prefix: str) -> None:
        self._database = database
        self._source = source
        self._prefix = prefix
        with database.read() as db:
            self.unmoved = set(cursors.find_unmoved(db, source, prefix))

    def move(self, session: ImapSession, uids: Iterable[int]) -> None:
        """Move ``uids``. A message that the server refuses to move stays in :attr:`unmoved`.

        Raises the errors of a lost connection.
        """
        ordered = sorted(uids)
        self.unmoved |= set(ordered)
        refused = 0
        for start in range(0, len(ordered), MAX_MOVE_MESSAGES):
            refused += self._move_batch(session, ordered[start : start + MAX_MOVE_MESSAGES])
        if refused:
            log.warning("imap messages not moved, retrying at next poll", extra={"source": self._source, "count": refused})

    def _move_batch(self, session: ImapSession, uids: Sequence[int]) -> int:
        """Move a batch, or each message alone when the batch fails; return how many the server refused."""
        try:
            session.move(uids)
        except CONNECTION_ERRORS:
            raise
        except MAIL_ERRORS as error:
            log.info("imap move refused", extra={"source": self._source, "error": error_code(error), "count": len(uids)})
            return 1 if len(uids) == 1 else sum(self._move_batch(session, [uid]) for uid in uids)
        failpoint("imap.moved")
        self._record_moved(uids)
        return 0

    def _record_moved(self, uids: Sequence[int]) -> None:
        places = [f"{self._prefix}{uid}" for uid in uids]

        def unit(db: Session) -> None:
            cursors.record_moved(db, self._source, places, clock.now())

        self._database.transaction(unit)
        self.unmoved -= set(uids)
