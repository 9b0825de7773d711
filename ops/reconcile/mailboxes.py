"""A mailbox held against the ledger: every UID that counts has a sighting, or is still to be read (reliability.md, promise 6).

The server is asked first and the ledger afterwards: a watcher at work can then only make a message known, never a gap. Folders
are opened read-only; a gap is repaired through the ledger, and the cursor, which is its watcher's, is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database
from core.reasons import Reason
from core.settings.sections import Limits, Mailbox
from ingest.ledger.models import MailboxCursor
from ingest.sources.imap import cursors, fetch
from ingest.sources.imap.fetch import About, FetchBrokenError
from ingest.sources.imap.session import MAIL_ERRORS, ImapSession, error_code
from ops.reconcile import moved_mail
from ops.reconcile.mailbox_reader import fetch_all, look_up, read_sighted, to_arrivals
from ops.reconcile.result import LATE, Gap, SourceComparison, spell, store

#: Of what is not read yet, so much is asked for its date.
MOST_LATE = 1_000


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has of one folder and UIDVALIDITY: the cursor, and UID → when it was moved, if it was."""

    cursor: MailboxCursor
    moved: dict[int, datetime | None]


class MailboxCheck:
    """Holds one mailbox against the ledger; :meth:`run` once."""

    def __init__(self, name: str, mailbox: Mailbox, database: Database, limits: Limits, *, repair: bool) -> None:
        self._name = name
        self._mailbox = mailbox
        self._database = database
        self._limit = limits.message_bytes
        self._repair = repair
        self._source = cursors.source_of(name)
        self._balance = SourceComparison(self._source)

    def run(self) -> SourceComparison:
        """The balance; a server that cannot be asked is its problem. Raises only when the database is away."""
        try:
            with ImapSession(self._mailbox.model_copy(update={"move_to": ""})) as session:
                self._compare(session)
            if self._mailbox.move_to and self._balance.problem is None:
                moved_mail.compare(self._balance, self._mailbox, self._database, self._limit, repair=self._repair)
        except FetchBrokenError as error:
            self._balance.problem = _unreachable(self._mailbox, error.cause)
        except MAIL_ERRORS as error:
            self._balance.problem = _unreachable(self._mailbox, error)
        return self._balance

    def _compare(self, session: ImapSession) -> None:
        with self._database.read() as db:
            cursor = cursors.load(db, self._name)
            day = self._day(db, cursor)
        if cursor is None:
            self._balance.server = session.selected.exists
            self._balance.notes.append("it was never read: is `casemill watch` running?")
            return
        if cursor.uidvalidity != session.selected.uidvalidity:
            self._balance.server = session.selected.exists
            self._balance.problem = _renumbered(cursor.uidvalidity, session.selected.uidvalidity)
            return
        on_server = _find_counting(session, self._mailbox, cursor, day)
        self._settle(session, on_server, self._read_known(cursor))

    def _day(self, db: Session, cursor: MailboxCursor | None) -> date | None:
        """From when mail below the cursor's first UID counts; None: none of it does."""
        if isinstance(self._mailbox.since, date):
            return self._mailbox.since
        rewinding = cursor is not None and cursor.last_uid < cursor.first_uid - 1
        return cursors.first_day(db, self._name) if rewinding else None

    def _read_known(self, before: MailboxCursor) -> Known:
        prefix = cursors.place_prefix(self._mailbox.folder, before.uidvalidity)
        with self._database.read() as db:
            cursor = cursors.load(db, self._name) or before  # before the sightings: it never passes one that is not there
            return Known(cursor, read_sighted(db, self._source, prefix))

    def _settle(self, session: ImapSession, on_server: Sequence[int], known: Known) -> None:
        prefix = cursors.place_prefix(self._mailbox.folder, session.selected.uidvalidity)
        missing = [uid for uid in on_server if uid not in known.moved]
        gaps = [uid for uid in missing if uid <= known.cursor.last_uid]
        unread = [uid for uid in missing if uid > known.cursor.last_uid]
        late = self._find_late(session, unread)
        balance = self._balance
        balance.server, balance.ledger, balance.unread = len(on_server), len(known.moved), len(unread) - len(late)
        balance.gaps += [Gap(f"{prefix}{uid}", "unknown_message", "passed by, and not in the ledger") for uid in gaps]
        balance.gaps += [Gap(f"{prefix}{one.uid}", "late_message", _late(one)) for one in late]
        self._note_gone(session, set(on_server), known)
        if self._repair and gaps:
            self._take(session, prefix, gaps)

    def _find_late(self, session: ImapSession, unread: Sequence[int]) -> list[About]:
        before = clock.now() - LATE
        found = look_up(session, unread[:MOST_LATE])
        return [about for about in found if about.received_at < before]

    def _note_gone(self, session: ImapSession, on_server: set[int], known: Known) -> None:
        here = [uid for uid in known.moved if uid < session.selected.uidnext and uid not in on_server]
        gone = sum(known.moved[uid] is None for uid in here)
        waiting = sum(known.moved[uid] is None for uid in on_server if uid in known.moved)
        if gone:
            self._balance.notes.append(f"{gone:,} messages that were taken are no longer in {self._mailbox.folder}")
        if waiting and self._mailbox.move_to:
            self._balance.notes.append(f"{waiting:,} messages that were taken are still to be moved to {self._mailbox.move_to}")

    def _take(self, session: ImapSession, prefix: str, uids: Sequence[int]) -> None:
        """Fetch and accept as the watcher does; what cannot be had stays a gap, and what is gone meanwhile is none."""
        for start in range(0, len(uids), fetch.BATCH_MESSAGES):
            for outcomes in fetch_all(session, uids[start : start + fetch.BATCH_MESSAGES], self._limit):
                arrivals = to_arrivals(self._source, prefix, outcomes)
                self._balance.mark_repaired(store(self._database, arrivals), "accepted now")


def _find_counting(session: ImapSession, mailbox: Mailbox, cursor: MailboxCursor, day: date | None) -> list[int]:
    """The UIDs that were to be read: all, or those from the first UID on and older ones from a day on."""
    if mailbox.since == "all":
        return session.search_all(1, None, None)
    older = session.search_all(1, cursor.first_uid - 1, day) if day is not None and cursor.first_uid > 1 else []
    return older + session.search_all(cursor.first_uid, None, None)


def _late(about: About) -> str:
    return f"there for {spell(clock.now() - about.received_at)} and not read: is `casemill watch` running?"


def _renumbered(known: int, found: int) -> Reason:
    text = f"UIDVALIDITY is {found} on the server and {known} in the ledger: the watcher has yet to read the folder again"
    return Reason("changed_uidvalidity", text)


def _unreachable(mailbox: Mailbox, error: BaseException) -> Reason:
    code = error_code(error)
    return Reason(code, f"{mailbox.host}:{mailbox.port}: {code.replace('_', ' ')}; `casemill doctor` says what to do")
