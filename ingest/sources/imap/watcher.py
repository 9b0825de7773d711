"""Watch one mailbox: one thread, one connection and one lease for each.

A mailbox's state is (mailbox, folder, UIDVALIDITY, last UID), never ``\\Seen``. Bytes, ledger rows and cursor are one commit;
the watcher sends the server a command that changes it only after that commit (``mail-rules.md``, "Fetch without loss").
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
from ingest.sources.imap.cursors import MailboxErrors
from ingest.sources.imap.failures import FailureTracker
from ingest.sources.imap.fetch import FetchInterruptedError
from ingest.sources.imap.intake import MailboxIntake
from ingest.sources.imap.moves import MessageMover
from ingest.sources.imap.session import MAIL_ERRORS, ImapSession, error_code
from ingest.sources.imap.sign_in import SIGN_IN_REFUSALS
from ingest.sources.imap.start_position import StartPositionFinder

log = logging.getLogger("casemill.sources.imap")

#: Errors in a row from which on a mailbox counts as unreachable and is tried rarely.
ALERT_ERRORS = 5
MAX_PAUSE_SECONDS = 600.0
#: Pauses before the alert, and from the alert on; half of each is random.
FIRST_BACKOFF = Backoff(first=timedelta(seconds=1), maximum=timedelta(seconds=8), jitter=0.5)
ALERT_BACKOFF = Backoff(first=timedelta(seconds=30), maximum=timedelta(seconds=MAX_PAUSE_SECONDS), jitter=0.5)
#: Between two attempts while another process holds the lease or the database is unavailable.
RETRY_SECONDS = 2.0
#: A connection that is lost again within this time is not reopened at once a second time.
FLAPPING_SECONDS = 30.0
#: After so few messages the watcher waits a moment for more: in a steady stream each poll would otherwise find a single one.
FEW_MESSAGES = 20
GATHER_SECONDS = 0.1
#: For so long a watcher keeps the lease while it waits after a refused sign-in. Then it releases the lease, because another
#: process may have credentials that work.
REFUSED_SIGN_IN_SECONDS = 5.0


def pause_after(errors: int, *, at_once: bool, jitter: float) -> float:
    """Return the seconds to wait after ``errors`` failures in a row; ``jitter`` is in 0..1.

    A connection lost for the first time is reopened ``at_once``. From five errors in a row on, pauses grow to ten minutes.
    """
    if errors <= 1 and at_once:
        return 0.0
    backoff, failures = (FIRST_BACKOFF, errors) if errors < ALERT_ERRORS else (ALERT_BACKOFF, errors - ALERT_ERRORS + 1)
    return backoff.after(failures, chance=jitter).total_seconds()


class MailboxWatcher:
    """Watches one mailbox until ``stop``.

    ``lease_seconds`` is the TTL of the lease: other processes wait at most so long for a watcher that has died.
    ``handoff`` is the queue of a pipeline in the same process.
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
        handoff: HandoffQueue | None = None,
    ) -> None:
        self.name = name
        self._mailbox = mailbox
        self._database = database
        self._max_message_bytes = limits.message_bytes
        self._stop = stop
        self._handoff = handoff
        self._lease = HeldLease(database, cursors.source_of(name), ttl_seconds=lease_seconds)
        self._start_position = StartPositionFinder(name, mailbox, database, self._lease)
        self._failures = FailureTracker()
        self._uidvalidity = cursors.NO_UIDVALIDITY
        self._was_connected = False
        self._lost_at = -FLAPPING_SECONDS
        self._sign_in_again_at = 0.0
        self._is_database_unavailable = False

    def run(self) -> None:
        """Acquire the lease and watch until ``stop`` (a thread's target); start again after an error or a lost lease."""
        while not self._stop.is_set():
            try:
                if self._lease.acquire():
                    with self._lease:
                        self._log_database_change(None)
                        self._run_sessions()
            except LeaseLostError:
                log.warning("imap lease lost", extra={"mailbox": self.name})
            except Exception as error:
                if not is_unavailable(error):
                    raise
                self._log_database_change(error)
            self._stop.wait(RETRY_SECONDS)

    def _run_sessions(self) -> None:
        self._stop.wait(min(REFUSED_SIGN_IN_SECONDS, max(0.0, self._sign_in_again_at - time.monotonic())))
        while not self._is_stopped() and time.monotonic() >= self._sign_in_again_at:
            self._was_connected = False
            try:
                with ImapSession(self._mailbox) as session:
                    self._poll_until_stopped(session)
            except FetchInterruptedError as error:
                self._failures.count_interruption(error.uids)
                self._back_off(error.cause)
            except MAIL_ERRORS as error:
                self._back_off(error)

    def _poll_until_stopped(self, session: ImapSession) -> None:
        intake = self._make_intake(session)
        self._was_connected = True
        while not self._is_stopped():
            count = intake.poll()
            if 0 < count < FEW_MESSAGES:
                self._stop.wait(GATHER_SECONDS)
            session.wait(self._mailbox.poll_seconds, self._is_stopped, self._stop)

    def _make_intake(self, session: ImapSession) -> MailboxIntake:
        position = self._start_position.find_position(session)
        if position.uidvalidity != self._uidvalidity:
            self._uidvalidity, self._failures = position.uidvalidity, FailureTracker()
        prefix = cursors.place_prefix(self._mailbox.folder, position.uidvalidity)
        mover = MessageMover(self._database, cursors.source_of(self.name), prefix) if self._mailbox.move_to else None
        return MailboxIntake(
            session,
            position,
            name=self.name,
            folder=self._mailbox.folder,
            database=self._database,
            lease=self._lease,
            failures=self._failures,
            mover=mover,
            handoff=self._handoff,
            max_bytes=self._max_message_bytes,
            is_stopped=self._is_stopped,
            on_first_commit=self._log_recovery,
        )

    def _is_stopped(self) -> bool:
        return self._stop.is_set() or not self._lease.is_held

    def _back_off(self, error: BaseException) -> None:
        """Record the error, log an alert at the fifth in a row, and wait. The first loss of a good connection has no pause."""
        code = error_code(error)
        state = self._database.transaction(lambda db: cursors.record_error(db, self.name, code))
        since = state.answered_at.isoformat(timespec="seconds") if state.answered_at else "start"
        details = {"mailbox": self.name, "error": code, "errors": state.in_a_row, "since": since}
        if state.in_a_row == ALERT_ERRORS:
            log.error("imap mailbox unreachable", extra=details)
        else:
            log.warning("imap mailbox error", extra=details)
        at_once = self._was_connected and time.monotonic() - self._lost_at >= FLAPPING_SECONDS
        self._lost_at = time.monotonic()
        pause = pause_after(state.in_a_row, at_once=at_once, jitter=random.random())  # noqa: S311 - not a secret
        if code in SIGN_IN_REFUSALS:
            self._sign_in_again_at = time.monotonic() + pause
        else:
            self._stop.wait(pause)

    def _log_recovery(self, before: MailboxErrors) -> None:
        if before.in_a_row >= ALERT_ERRORS:
            log.error("imap mailbox reachable again", extra={"mailbox": self.name, "errors": before.in_a_row})

    def _log_database_change(self, error: Exception | None) -> None:
        """Log once that the database is unavailable, and once that it is available again; the mail stays on the server."""
        if (error is not None) == self._is_database_unavailable:
            return
        self._is_database_unavailable = error is not None
        if error is not None:
            details = {"mailbox": self.name, "error": type(error).__name__}
            log.warning("mailbox watcher waiting for the database", extra=details)
        else:
            log.warning("mailbox watcher resumed, database available again", extra={"mailbox": self.name})
