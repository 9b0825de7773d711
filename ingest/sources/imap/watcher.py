"""The IMAP watcher: one thread, one connection and one lease for each mailbox.

State is (mailbox, folder, UIDVALIDITY, last UID), never ``\\Seen``. Bytes, ledger rows and cursor are one commit, and only
after it is the server told anything (``mail-rules.md``, "Fetch without loss").
"""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import timedelta

from core.backoff import Backoff
from core.database.session import Database, is_unavailable
from core.settings.sections import Limits, Mailbox
from ingest.ledger.handoff import HandoffQueue
from ingest.sources.held_lease import HeldLease, LeaseLostError
from ingest.sources.imap import cursors
from ingest.sources.imap.cursors import Trouble
from ingest.sources.imap.failures import FailureBook
from ingest.sources.imap.fetch import FetchBrokenError
from ingest.sources.imap.intake import Intake
from ingest.sources.imap.moves import Moves
from ingest.sources.imap.session import MAIL_ERRORS, ImapSession, error_code
from ingest.sources.imap.sign_in import SIGN_IN_REFUSALS
from ingest.sources.imap.start_position import Contact

log = logging.getLogger("casemill.sources")

#: Errors in a row after which a mailbox is called unreachable and asked rarely.
ALERT_ERRORS = 5
MAX_PAUSE = 600.0
#: Pauses before the alert, and from the alert on; half of each is chosen at random.
FIRST_BACKOFF = Backoff(first=timedelta(seconds=1), maximum=timedelta(seconds=8), jitter=0.5)
ALERT_BACKOFF = Backoff(first=timedelta(seconds=30), maximum=timedelta(seconds=MAX_PAUSE), jitter=0.5)
#: Seconds between two tries for a lease or a database that is not to be had.
WAIT_PAUSE = 2.0
#: A connection lost again within this many seconds is not taken up at once a second time.
FLAPPING_SECONDS = 30.0
#: After so few messages the next ones may gather for a moment: in a steady stream each look would find a single one.
FEW = 20
GATHER_SECONDS = 0.1
#: After a refused sign-in the lease is let go so often: another process may have what this one lacks.
REST_SECONDS = 5.0


def pause_after(errors: int, *, at_once: bool, jitter: float) -> float:
    """Seconds to wait after ``errors`` failures in a row; ``jitter`` is in 0..1.

    A connection lost for the first time is taken up ``at_once``; five errors in a row and more wait up to ten minutes.
    """
    if errors <= 1 and at_once:
        return 0.0
    backoff, failures = (FIRST_BACKOFF, errors) if errors < ALERT_ERRORS else (ALERT_BACKOFF, errors - ALERT_ERRORS + 1)
    return backoff.after(failures, chance=jitter).total_seconds()


class MailboxWatcher:
    """Watches one mailbox until ``stop``. ``lease_seconds`` is how long a dead watcher keeps the others waiting at most.

    ``intray`` is that of a pipeline in the same process.
    """

    def __init__(
        self,
        name: str,
        mailbox: Mailbox,
        database: Database,
        limits: Limits,
        stop: threading.Event,
        *,
        lease_seconds: float = 15.0,
        intray: HandoffQueue | None = None,
    ) -> None:
        self.name = name
        self._mailbox = mailbox
        self._database = database
        self._limit = limits.message_bytes
        self._stop = stop
        self._intray = intray
        self._tenure = HeldLease(database, cursors.source_of(name), seconds=lease_seconds)
        self._contact = Contact(name, mailbox, database, self._tenure)
        self._book = FailureBook()
        self._uidvalidity = cursors.NEVER
        self._was_connected = False
        self._lost_at = -FLAPPING_SECONDS
        self._rests_until = 0.0
        self._database_away = False

    def run(self) -> None:
        """Thread body: take the lease, watch, and begin again after whatever befell it, until ``stop``."""
        while not self._stop.is_set():
            try:
                if self._tenure.begin():
                    with self._tenure:
                        self._note_database(None)
                        self._serve()
            except LeaseLostError:
                log.warning("lease lost", extra={"mailbox": self.name})
            except Exception as error:
                if not is_unavailable(error):
                    raise
                self._note_database(error)
            self._stop.wait(WAIT_PAUSE)

    def _serve(self) -> None:
        self._stop.wait(min(REST_SECONDS, max(0.0, self._rests_until - time.monotonic())))
        while not self._over() and time.monotonic() >= self._rests_until:
            self._was_connected = False
            try:
                with ImapSession(self._mailbox) as session:
                    self._watch(session)
            except FetchBrokenError as error:
                self._book.note_break(error.uids)
                self._back_off(error.cause)
            except MAIL_ERRORS as error:
                self._back_off(error)

    def _watch(self, session: ImapSession) -> None:
        intake = self._prepare(session)
        self._was_connected = True
        while not self._over():
            found = intake.poll()
            if 0 < found < FEW:
                self._stop.wait(GATHER_SECONDS)
            session.wait(self._mailbox.poll_seconds, self._over, self._stop)

    def _prepare(self, session: ImapSession) -> Intake:
        position = self._contact.find_position(session)
        if position.uidvalidity != self._uidvalidity:
            self._uidvalidity, self._book = position.uidvalidity, FailureBook()
        prefix = cursors.place_prefix(self._mailbox.folder, position.uidvalidity)
        moves = Moves(self._database, cursors.source_of(self.name), prefix) if self._mailbox.move_to else None
        return Intake(
            session,
            position,
            name=self.name,
            folder=self._mailbox.folder,
            database=self._database,
            tenure=self._tenure,
            book=self._book,
            moves=moves,
            intray=self._intray,
            limit=self._limit,
            over=self._over,
            on_answer=self._note_recovery,
        )

    def _over(self) -> bool:
        return self._stop.is_set() or not self._tenure.held

    def _back_off(self, error: BaseException) -> None:
        """Record the failure, raise the alert once, and wait; the first loss of a good connection is mended at once."""
        code = error_code(error)
        trouble = self._database.transaction(lambda db: cursors.note_error(db, self.name, code))
        since = trouble.answered_at.isoformat(timespec="seconds") if trouble.answered_at else "start"
        details = {"mailbox": self.name, "error": code, "errors": trouble.errors, "since": since}
        if trouble.errors == ALERT_ERRORS:
            log.error("mailbox unreachable", extra=details)
        else:
            log.warning("mailbox trouble", extra=details)
        at_once = self._was_connected and time.monotonic() - self._lost_at >= FLAPPING_SECONDS
        self._lost_at = time.monotonic()
        pause = pause_after(trouble.errors, at_once=at_once, jitter=random.random())  # noqa: S311 - not a secret
        if code in SIGN_IN_REFUSALS:
            self._rests_until = time.monotonic() + pause
        else:
            self._stop.wait(pause)

    def _note_recovery(self, trouble: Trouble) -> None:
        if trouble.errors >= ALERT_ERRORS:
            details = {"mailbox": self.name, "errors": trouble.errors}
            log.error("mailbox answers again", extra=details)

    def _note_database(self, error: Exception | None) -> None:
        """Say once that the database is away, and once that it is back: mail stays where it is meanwhile."""
        if (error is not None) != self._database_away:
            self._database_away = error is not None
            state = "away" if error else "back"
            details = {"mailbox": self.name, "state": state, "error": type(error).__name__ if error else None}
            log.warning("the database is away or back again", extra=details)
