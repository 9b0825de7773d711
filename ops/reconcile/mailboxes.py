"""Compare a mailbox with the ledger: every UID has a sighting, or is still to be read (reliability.md, promise 6).

1. Read the UIDs on the server first, because a watcher at work can then only add sightings and never cause a false gap.
2. Read the cursor and the sightings.
3. With ``repair``, fetch and accept the messages of the gaps. The cursor belongs to the watcher and is not changed.

Folders are opened read-only.
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
from ingest.sources.imap.fetch import FetchInterruptedError, MessageInfo
from ingest.sources.imap.session import MAIL_ERRORS, ImapSession, error_code
from ops.reconcile import moved_mail
from ops.reconcile.mailbox_reader import fetch_in_batches, read_infos, read_sighted, to_arrivals
from ops.reconcile.result import MAX_UNREAD_AGE, Gap, SourceComparison, accept_arrivals, format_age

#: Of the unread messages, only so many are asked for their date.
MAX_DATED_MESSAGES = 1_000


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The ledger's state of one folder and UIDVALIDITY: the cursor, and UID → when the message was moved, if it was."""

    cursor: MailboxCursor
    moved: dict[int, datetime | None]


class MailboxComparison:
    """Compares one mailbox with the ledger; :meth:`run` once."""

    def __init__(self, name: str, mailbox: Mailbox, database: Database, limits: Limits, *, repair: bool) -> None:
        self._name = name
        self._mailbox = mailbox
        self._database = database
        self._max_bytes = limits.message_bytes
        self._repair = repair
        self._source = cursors.source_of(name)
        self._comparison = SourceComparison(self._source)

    def run(self) -> SourceComparison:
        """Return the comparison; a server that cannot be read is its problem. Raises only when the database is unavailable."""
        try:
            with ImapSession(self._mailbox.model_copy(update={"move_to": ""})) as session:
                self._compare(session)
            if self._mailbox.move_to and self._comparison.problem is None:
                moved_mail.compare_moved(self._comparison, self._mailbox, self._database, self._max_bytes, repair=self._repair)
        except FetchInterruptedError as error:
            self._comparison.problem = _unreachable(self._mailbox, error.cause)
        except MAIL_ERRORS as error:
            self._comparison.problem = _unreachable(self._mailbox, error)
        return self._comparison

    def _compare(self, session: ImapSession) -> None:
        with self._database.read() as db:
            cursor = cursors.load(db, self._name)
            day = self._first_day(db, cursor)
        if cursor is None:
            self._comparison.server = session.selected.message_count
            self._comparison.notes.append("it was never read: check that `casemill watch` is running")
            return
        if cursor.uidvalidity != session.selected.uidvalidity:
            self._comparison.server = session.selected.message_count
            self._comparison.problem = _changed_uidvalidity(cursor.uidvalidity, session.selected.uidvalidity)
            return
        on_server = _find_expected(session, self._mailbox, cursor, day)
        self._compare_uids(session, on_server, self._read_ledger(cursor))

    def _first_day(self, db: Session, cursor: MailboxCursor | None) -> date | None:
        """Return the day from which mail below the cursor's first UID is read; None: none of it is."""
        if isinstance(self._mailbox.since, date):
            return self._mailbox.since
        rewinding = cursor is not None and cursor.last_uid < cursor.first_uid - 1
        return cursors.find_first_day(db, self._name) if rewinding else None

    def _read_ledger(self, before: MailboxCursor) -> LedgerState:
        prefix = cursors.place_prefix(self._mailbox.folder, before.uidvalidity)
        with self._database.read() as db:
            # The cursor before the sightings: it never passes a message without a sighting.
            cursor = cursors.load(db, self._name) or before
            return LedgerState(cursor, read_sighted(db, self._source, prefix))

    def _compare_uids(self, session: ImapSession, on_server: Sequence[int], known: LedgerState) -> None:
        prefix = cursors.place_prefix(self._mailbox.folder, session.selected.uidvalidity)
        missing = [uid for uid in on_server if uid not in known.moved]
        gaps = [uid for uid in missing if uid <= known.cursor.last_uid]
        unread = [uid for uid in missing if uid > known.cursor.last_uid]
        late = self._find_late(session, unread)
        comparison = self._comparison
        comparison.server, comparison.ledger, comparison.unread = len(on_server), len(known.moved), len(unread) - len(late)
        comparison.gaps += [Gap(f"{prefix}{uid}", "unknown_message", "read past, but not in the ledger") for uid in gaps]
        comparison.gaps += [Gap(f"{prefix}{one.uid}", "late_message", _describe_late(one)) for one in late]
        self._note_absent(session, set(on_server), known)
        if self._repair and gaps:
            self._repair_gaps(session, prefix, gaps)

    def _find_late(self, session: ImapSession, unread: Sequence[int]) -> list[MessageInfo]:
        before = clock.now() - MAX_UNREAD_AGE
        found = read_infos(session, unread[:MAX_DATED_MESSAGES])
        return [info for info in found if info.received_at < before]

    def _note_absent(self, session: ImapSession, on_server: set[int], known: LedgerState) -> None:
        absent = [uid for uid in known.moved if uid < session.selected.uidnext and uid not in on_server]
        gone = sum(known.moved[uid] is None for uid in absent)
        waiting = sum(known.moved[uid] is None for uid in on_server if uid in known.moved)
        if gone:
            self._comparison.notes.append(f"{gone:,} accepted messages are no longer in {self._mailbox.folder}")
        if waiting and self._mailbox.move_to:
            self._comparison.notes.append(f"{waiting:,} accepted messages are still to be moved to {self._mailbox.move_to}")

    def _repair_gaps(self, session: ImapSession, prefix: str, uids: Sequence[int]) -> None:
        """Fetch and accept the messages as the watcher does. A message that cannot be fetched stays a gap."""
        for start in range(0, len(uids), fetch.MAX_BATCH_MESSAGES):
            for outcomes in fetch_in_batches(session, uids[start : start + fetch.MAX_BATCH_MESSAGES], self._max_bytes):
                arrivals = to_arrivals(self._source, prefix, outcomes)
                self._comparison.mark_repaired(accept_arrivals(self._database, arrivals), "accepted now")


def _find_expected(session: ImapSession, mailbox: Mailbox, cursor: MailboxCursor, day: date | None) -> list[int]:
    """Return the UIDs that a watcher reads: all, or those from the first UID on and older ones from a day on."""
    if mailbox.since == "all":
        return session.search_all(1, None, None)
    older = session.search_all(1, cursor.first_uid - 1, day) if day is not None and cursor.first_uid > 1 else []
    return older + session.search_all(cursor.first_uid, None, None)


def _describe_late(info: MessageInfo) -> str:
    return f"there for {format_age(clock.now() - info.received_at)} and not read: check that `casemill watch` is running"


def _changed_uidvalidity(known: int, found: int) -> Reason:
    text = f"UIDVALIDITY is {found} on the server and {known} in the ledger: the watcher has not read the folder again yet"
    return Reason("changed_uidvalidity", text)


def _unreachable(mailbox: Mailbox, error: BaseException) -> Reason:
    code = error_code(error)
    return Reason(code, f"{mailbox.host}:{mailbox.port}: {code.replace('_', ' ')}; run `casemill doctor` to see what to do")
