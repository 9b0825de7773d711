"""Sending: claim, decide, render and freeze, then hand over one by one, each step durable before the next.

The commit of the intent to send n+1 also records that n was sent: one commit a mail.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from core import claims as core_claims
from core import clock
from core.database.session import Database, is_unavailable
from core.database.types import Transaction
from core.errors import BusyError
from core.failpoints import failpoint
from core.settings import Settings
from core.signing import Signer
from notify import attempts, claims, outcomes, rate_limits
from notify.attempts import Record
from notify.claims import Claimed, ClaimLostError
from notify.message_builder import MessageBuilder, reason_of
from notify.render import Renderer
from notify.transport import AmbiguousOutcome, PermanentFailure, RelayUnavailable, TemporaryFailure, Transport
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.notify")

BATCH = 50
#: How long one sender leaves a closed way out alone; with the clock's 5 s, mail goes on 15 s after its return.
RELAY_PAUSE_SECONDS = 10.0
#: After this long on one mail, those that wait behind it are let go, and other workers may take them.
PATIENCE_SECONDS = 10.0
#: How long an outcome is kept for a database that is away: it is known here only, and forgotten it would be ambiguous.
OUTCOME_SECONDS = 30.0
CLOSE_SECONDS = 5.0


@dataclass(slots=True)
class _Run:
    """One batch under one claim; ``record`` is the outcome that is not yet written, ``guard`` is held while it is.

    ``waiting`` are those that were not begun and are still ours.
    """

    token: str
    ids: Sequence[int]
    waiting: set[int]
    record: Record | None = None
    current: int | None = None
    intended: bool = False
    since: float = 0.0
    released: bool = False
    guard: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, one: Claimed) -> None:
        self.current, self.intended, self.since = one.id, False, time.monotonic()

    def drags(self) -> bool:
        """Whether the mail in hand takes so long that the others should not wait for it."""
        return self.current is not None and not self.released and time.monotonic() - self.since > PATIENCE_SECONDS


class DeliveryWorker:
    """Sends what is due. One instance a thread: its sender keeps a connection."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        renderer: Renderer,
        signer: Signer,
        sender: Transport,
        *,
        stopping: threading.Event | None = None,
    ) -> None:
        """Once ``stopping`` is set, the mail in hand is the last one, and the rest is given back."""
        self._database = database
        self._settings = settings
        self._freezer = MessageBuilder(settings, renderer, signer)
        self._sender = sender
        self._stopping = stopping or threading.Event()
        self._closed = False
        self._busy = threading.Lock()
        self._closed_until = 0.0

    def drain(self) -> int:
        """Work on one batch of due deliveries; returns how many it took. Raises only when the database is away."""
        with self._busy:
            if self._is_ending() or time.monotonic() < self._closed_until:
                return 0
            taken = self._take()
        if taken:
            request_drain("outbox.drain")
        return taken

    def close(self) -> None:
        """Let the mail in hand end, give back the rest, and let go of the connection. It may come from another thread."""
        self._closed = True
        # A connection must not be ended in the middle of a message; one that hangs ends with the process.
        if self._busy.acquire(timeout=CLOSE_SECONDS):
            try:
                self._sender.close()
            finally:
                self._busy.release()

    def _is_ending(self) -> bool:
        return self._closed or self._stopping.is_set()

    def _take(self) -> int:
        token = core_claims.new_token()
        taken, batch = claims.claim(
            self._database, token, BATCH, lambda session, rows: rate_limits.admit(session, token, rows, self._settings)
        )
        run = _Run(token, [one.id for one in batch], {one.id for one in batch})
        if batch:
            failpoint("notify.claimed")
            with core_claims.kept(lambda: self._hold(run)):
                try:
                    self._send_all(run, self._freeze_all(run, batch))
                finally:
                    self._write_record(run)
                    if run.waiting:
                        self._database.transaction(lambda session: claims.give_back(session, token, sorted(run.waiting)))
        return taken

    def _hold(self, run: _Run) -> None:
        """Every few seconds, from another thread, while a slow server answers: nobody and nothing waits for it."""
        claims.renew(self._database, run.token, run.ids)
        self._write_record(run)
        if run.drags():
            run.released = True
            keep = [one for one in run.ids if one != run.current]
            if self._database.transaction(lambda session: claims.give_back(session, run.token, keep)):
                request_drain("notify.drain")

    def _freeze_all(self, run: _Run, batch: Sequence[Claimed]) -> list[Claimed]:
        """Render what was never rendered, and commit the bytes before the first attempt."""
        ready: list[Claimed] = []
        spoilt: list[Record] = []
        for one in batch:
            try:
                ready.append(one if one.frozen is not None else self._freezer.freeze(one, clock.now()))
            except Exception as error:
                # Whatever is wrong with one notice, the others go.
                kind = type(error).__name__
                log.error("a notice could not be made", extra={"delivery": one.id, "mailing": one.mailing, "error": kind})
                spoilt.append(outcomes.failed(one, reason_of(error), "", tried_at=None))
                run.waiting.discard(one.id)
        new = {one.id for one in batch if one.frozen is None}
        made = [one for one in ready if one.id in new]
        if made or spoilt:
            self._database.core_transaction(lambda session: _write_made(session, run.token, made, spoilt))
        failpoint("notify.frozen")
        return ready

    def _send_all(self, run: _Run, batch: Sequence[Claimed]) -> None:
        for one in batch:
            if run.released or self._is_ending():
                return
            run.begin(one)
            try:
                self._send(run, one)
            except ClaimLostError:
                run.waiting.discard(one.id)
                log.warning("a delivery was no longer ours before it was sent", extra={"delivery": one.id})
            except RelayUnavailable as error:
                log.warning("the way out is closed", extra={"error": type(error).__name__})
                self._closed_until = time.monotonic() + RELAY_PAUSE_SECONDS
                return
            finally:
                run.current = None

    def _send(self, run: _Run, one: Claimed) -> None:
        """One attempt; afterwards ``run.record`` holds what it came to."""
        assert one.frozen is not None  # noqa: S101 - frozen just before
        envelope_from = self._freezer.envelope_sender(one)
        try:
            reply = self._sender.transmit(envelope_from, one.recipient, one.frozen, one.key, lambda: self._intend(run, one))
        except (RelayUnavailable, ClaimLostError, SQLAlchemyError, BusyError):
            raise
        except AmbiguousOutcome as error:
            self._keep(run, one, outcomes.ambiguous(one, error.reply))
        except TemporaryFailure as error:
            self._keep(run, one, self._later(one, error.reply))
        except PermanentFailure as error:
            self._keep(run, one, outcomes.refused(one, error.reply))
        except Exception as error:
            # A fault of our own: this one waits, and nothing behind it does.
            kind = type(error).__name__
            log.error("sending failed unexpectedly", extra={"delivery": one.id, "error": kind})
            reply = f"sending failed with {kind}"
            self._keep(run, one, outcomes.ambiguous(one, reply) if run.intended else self._later(one, reply))
        else:
            failpoint("notify.accepted")
            self._keep(run, one, outcomes.sent(one, reply))

    def _later(self, one: Claimed, reply: str) -> Record:
        return outcomes.later(one, reply, self._settings.notices.give_up_days)

    def _intend(self, run: _Run, one: Claimed) -> None:
        """Called just before the final dot: write the last outcome and this intent in one commit."""

        with run.guard:
            try:
                attempts.intend(self._database, run.token, one, run.record)
            except ClaimLostError:
                run.record = None
                raise
            run.record, run.intended = None, True
            run.waiting.discard(one.id)
        failpoint("notify.intent")

    def _keep(self, run: _Run, one: Claimed, record: Record) -> None:
        self._write_record(run)
        run.record = record
        run.waiting.discard(one.id)

    def _write_record(self, run: _Run) -> None:
        """Write the outcome that is kept, and wait for a database that is away: nobody else knows it."""
        ends = time.monotonic() + OUTCOME_SECONDS
        with run.guard:
            while (record := run.record) is not None:
                try:
                    self._database.core_transaction(partial(attempts.write, token=run.token, record=record))
                    run.record = None
                except Exception as error:
                    if not is_unavailable(error) or time.monotonic() > ends:
                        run.record = None  # from now on nobody knows, and so it will be ambiguous
                        raise
                    time.sleep(0.5)


def _write_made(session: Transaction, token: str, made: Sequence[Claimed], spoilt: Sequence[Record]) -> None:
    claims.freeze(session, token, made)
    for record in spoilt:
        attempts.write(session, token, record)
