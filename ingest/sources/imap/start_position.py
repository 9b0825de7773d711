"""Where a mailbox is read from: its cursor, or a new one at the first contact, after a reset, or when ``since`` reaches back.

``first_uid`` of a cursor is where mail begins to count whatever its date; below it only a date (or nothing) lets it in.
A cursor that stands below ``first_uid - 1`` is on its way through what was there before, and says so after a crash too.
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
from ingest.sources.imap.cursors import Position
from ingest.sources.imap.session import ImapSession

log = logging.getLogger("casemill.sources")

SEEN_CHUNK = 1_000


class Contact:
    """The first thing done in a session: :meth:`find_position`. One for each watcher."""

    def __init__(self, name: str, mailbox: Mailbox, database: Database, tenure: HeldLease) -> None:
        self._name = name
        self._mailbox = mailbox
        self._database = database
        self._tenure = tenure
        self._looked_back = False

    def find_position(self, session: ImapSession) -> Position:
        """The place to go on from; a new one is committed together with the count of what is left out."""
        with self._database.read() as db:
            row = cursors.load(db, self._name)
            day = self._day(db, row, session.selected.uidvalidity)
        if row is None:
            return self._begin(_anew(session, self._mailbox, day), session)
        if row.uidvalidity != session.selected.uidvalidity:
            log.warning("uidvalidity changed, reading again", extra={"mailbox": self._name})
            return self._begin(_anew(session, self._mailbox, day), session)
        return self._look_back(Position(row.uidvalidity, row.first_uid, row.last_uid, day), session)

    def _day(self, db: Session, row: MailboxCursor | None, uidvalidity: int) -> date | None:
        """The first day that counts below ``first_uid``; None when ``since`` is "all", and where nothing below it is read."""
        if isinstance(self._mailbox.since, date):
            return self._mailbox.since
        if row is None or self._mailbox.since == "all":
            return None
        again = row.uidvalidity != uidvalidity or row.last_uid < row.first_uid - 1
        return cursors.first_day(db, self._name) if again else None

    def _look_back(self, known: Position, session: ImapSession) -> Position:
        """Once in a watcher's life: ``since`` may reach further back than when the cursor was made."""
        if self._looked_back or self._mailbox.since is None or known.last_uid < known.first_uid - 1:
            return known
        self._looked_back = True
        older = session.search_all(1, known.first_uid - 1, known.day) if known.first_uid > 1 else []
        unseen = self._first_unseen(older, known.uidvalidity)
        return known if unseen is None else self._begin(replace(known, last_uid=unseen - 1), session)

    def _first_unseen(self, uids: list[int], uidvalidity: int) -> int | None:
        source, prefix = cursors.source_of(self._name), cursors.place_prefix(self._mailbox.folder, uidvalidity)
        for start in range(0, len(uids), SEEN_CHUNK):
            chunk = uids[start : start + SEEN_CHUNK]
            with self._database.read() as db:
                seen = cursors.seen(db, source, [f"{prefix}{uid}" for uid in chunk])
            if len(seen) < len(chunk):
                return next(uid for uid in chunk if f"{prefix}{uid}" not in seen)
        return None

    def _begin(self, position: Position, session: ImapSession) -> Position:
        left_out = self._count_left_out(position, session)

        def unit(db: Session) -> None:
            self._tenure.check(db)
            cursors.begin(db, self._name, position, left_out, clock.now())

        self._database.transaction(unit)
        details = {"mailbox": self._name, "from_uid": position.last_uid + 1, "left_out": left_out}
        log.info("mailbox is read from a new place", extra=details)
        return position

    def _count_left_out(self, position: Position, session: ImapSession) -> int:
        exists = session.selected.exists
        if not exists or self._mailbox.since == "all":
            return 0
        if position.day is None:
            return exists
        return max(0, exists - len(session.search_all(1, None, position.day)))


def _anew(session: ImapSession, mailbox: Mailbox, day: date | None) -> Position:
    """A position in a folder whose UIDs are new to us: everything, from a day on, or only what arrives from now on.

    After a reset ``day`` takes the place of "now": some of what is there has not been seen yet.
    """
    selected = session.selected
    if mailbox.since == "all":
        return Position(selected.uidvalidity, 1, 0, None)
    return Position(selected.uidvalidity, selected.uidnext, 0 if day else selected.uidnext - 1, day)
