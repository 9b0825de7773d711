"""Decide where to start reading a mailbox: at its cursor, or at a new one.

A new cursor is written when the mailbox is first read, after a change of UIDVALIDITY, and when ``since`` reaches further back.
From the cursor's ``first_uid`` on all mail is read; below it only mail from a certain day on, or none. A cursor below
``first_uid - 1`` is still reading that older mail, and continues with it after a crash.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date

from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database
from core.settings.sections import Mailbox
from ingest.ledger.models import MailboxCursor
from ingest.sources.held_lease import HeldLease
from ingest.sources.imap import cursors
from ingest.sources.imap.cursors import ReadPosition
from ingest.sources.imap.session import ImapSession

log = logging.getLogger("casemill.sources.imap")

SIGHTING_LOOKUP_BATCH = 1_000


class StartPositionFinder:
    """Finds the position at the start of each session. One for each watcher."""

    def __init__(self, name: str, mailbox: Mailbox, database: Database, lease: HeldLease) -> None:
        self._name = name
        self._mailbox = mailbox
        self._database = database
        self._lease = lease
        self._has_looked_back = False

    def find_position(self, session: ImapSession) -> ReadPosition:
        """Return the position to continue from. A new one is committed together with the number of messages left out."""
        with self._database.read() as db:
            row = cursors.load(db, self._name)
            since_day = self._find_since_day(db, row, session.selected.uidvalidity)
        if row is None:
            return self._write_position(_new_position(session, self._mailbox, since_day), session)
        if row.uidvalidity != session.selected.uidvalidity:
            log.warning("imap uidvalidity changed, reading mailbox again", extra={"mailbox": self._name})
            return self._write_position(_new_position(session, self._mailbox, since_day), session)
        return self._look_back(ReadPosition(row.uidvalidity, row.first_uid, row.last_uid, since_day), session)

    def _find_since_day(self, db: Session, row: MailboxCursor | None, uidvalidity: int) -> date | None:
        """Return the first day to read below ``first_uid``; None when ``since`` is "all" or nothing below it is read."""
        if isinstance(self._mailbox.since, date):
            return self._mailbox.since
        if row is None or self._mailbox.since == "all":
            return None
        is_reading_older = row.uidvalidity != uidvalidity or row.last_uid < row.first_uid - 1
        return cursors.find_first_day(db, self._name) if is_reading_older else None

    def _look_back(self, known: ReadPosition, session: ImapSession) -> ReadPosition:
        """Once for each watcher: rewind when ``since`` now reaches further back than when the cursor was written."""
        if self._has_looked_back or self._mailbox.since is None or known.last_uid < known.first_uid - 1:
            return known
        self._has_looked_back = True
        older = session.search_all(1, known.first_uid - 1, known.since_day) if known.first_uid > 1 else []
        unsighted = self._find_first_unsighted(older, known.uidvalidity)
        return known if unsighted is None else self._write_position(replace(known, last_uid=unsighted - 1), session)

    def _find_first_unsighted(self, uids: list[int], uidvalidity: int) -> int | None:
        source, prefix = cursors.source_of(self._name), cursors.place_prefix(self._mailbox.folder, uidvalidity)
        for start in range(0, len(uids), SIGHTING_LOOKUP_BATCH):
            chunk = uids[start : start + SIGHTING_LOOKUP_BATCH]
            with self._database.read() as db:
                sighted = cursors.find_sighted(db, source, [f"{prefix}{uid}" for uid in chunk])
            if len(sighted) < len(chunk):
                return next(uid for uid in chunk if f"{prefix}{uid}" not in sighted)
        return None

    def _write_position(self, position: ReadPosition, session: ImapSession) -> ReadPosition:
        left_out = self._count_left_out(position, session)

        def unit(db: Session) -> None:
            self._lease.check(db)
            cursors.write_position(db, self._name, position, left_out, clock.now())

        self._database.transaction(unit)
        details = {"mailbox": self._name, "from_uid": position.last_uid + 1, "left_out": left_out}
        log.info("imap read position set", extra=details)
        return position

    def _count_left_out(self, position: ReadPosition, session: ImapSession) -> int:
        count = session.selected.message_count
        if not count or self._mailbox.since == "all":
            return 0
        if position.since_day is None:
            return count
        return max(0, count - len(session.search_all(1, None, position.since_day)))


def _new_position(session: ImapSession, mailbox: Mailbox, since_day: date | None) -> ReadPosition:
    """Return a position in a folder with unknown UIDs: at the first message, at a day, or after the last message.

    After a change of UIDVALIDITY ``since_day`` is set for a mailbox for new mail only: some of its mail was not read yet.
    """
    selected = session.selected
    if mailbox.since == "all":
        return ReadPosition(selected.uidvalidity, 1, 0, None)
    return ReadPosition(selected.uidvalidity, selected.uidnext, 0 if since_day else selected.uidnext - 1, since_day)
