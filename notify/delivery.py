"""The delivery worker: claim due deliveries, apply the limits, build the messages, send them one by one.

Each step is durable before the next begins:

1. Claim a batch and apply the rate limits, in one commit: a worker never sends what a limit stops.
2. Build the messages and store their bytes, in one commit: every attempt sends the same bytes.
3. For each mail, before its final dot, commit the intent to send it and the outcome of the mail before: one commit a mail
   (docs/decisions/delivery-outcomes-as-facts.md). A crash after the intent leaves the delivery ambiguous.
4. Commit the last outcome and release what was not begun.
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
from core.metrics import DELIVERIES
from core.settings import Settings
from core.signing import Signer
from notify import attempts, claims, rate_limits
from notify.attempts import AttemptOutcome
from notify.claims import ClaimedDelivery, ClaimLostError
from notify.message_builder import MessageBuilder, failure_reason
from notify.render import Renderer
from notify.transport import AmbiguousOutcome, PermanentFailure, RelayUnavailable, TemporaryFailure, Transport
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.notify")

BATCH_SIZE = 50
#: How long a worker waits before it connects to an unavailable relay again. With the sweep's 5 s, sending resumes within 15 s
#: of the relay's return.
RELAY_PAUSE_SECONDS = 10.0
#: After so long on one mail the worker releases the rest of its batch to other workers.
SLOW_MAIL_SECONDS = 10.0
#: How long an outcome is kept for an unavailable database. Only this process knows it; dropped, it becomes ambiguous.
OUTCOME_RETRY_SECONDS = 30.0
OUTCOME_RETRY_PAUSE_SECONDS = 0.5
CLOSE_TIMEOUT_SECONDS = 5.0


@dataclass(slots=True)
class _Batch:
    """A claimed batch. ``lock`` is held while ``outcome``, the last one that is not yet written, is written.

    ``unsent`` are the ids that are still claimed and whose intent is not committed.
    """

    token: str
    ids: Sequence[int]
    unsent: set[int]
    outcome: AttemptOutcome | None = None
    current_id: int | None = None
    is_intent_committed: bool = False
    started_at: float = 0.0
    is_released: bool = False
    # The sending thread and the renewal thread both write outcomes.
    lock: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, delivery: ClaimedDelivery) -> None:
        self.current_id, self.is_intent_committed, self.started_at = delivery.id, False, time.monotonic()

    def is_slow(self) -> bool:
        """Return whether the current mail takes so long that the rest of the batch must not wait for it."""
        is_waiting = self.current_id is not None and not self.is_released
        return is_waiting and time.monotonic() - self.started_at > SLOW_MAIL_SECONDS


class DeliveryWorker:
    """Sends due deliveries. One instance for each thread, since its transport keeps a connection."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        renderer: Renderer,
        signer: Signer,
        transport: Transport,
        *,
        stopping: threading.Event | None = None,
    ) -> None:
        """Once ``stopping`` is set, the worker finishes the current mail and releases the rest of its batch."""
        self._database = database
        self._settings = settings
        self._message_builder = MessageBuilder(settings, renderer, signer)
        self._transport = transport
        self._stopping = stopping or threading.Event()
        self._is_closed = False
        self._drain_lock = threading.Lock()
        self._relay_paused_until = 0.0

    def drain(self) -> int:
        """Work on one batch of due deliveries; returns how many were claimed. Raises only when the database is unavailable."""
        with self._drain_lock:
            if self._is_stopping() or time.monotonic() < self._relay_paused_until:
                return 0
            claimed = self._send_batch()
        # The outcomes are facts, which move tickets: the relay need not wait for its sweep.
        if claimed:
            request_drain("outbox.drain")
        return claimed

    def close(self) -> None:
        """Wait for the current mail, release the rest, and close the connection. Any thread may call this."""
        self._is_closed = True
        # A connection must not be closed in the middle of a message. One that hangs is left to the end of the process.
        if self._drain_lock.acquire(timeout=CLOSE_TIMEOUT_SECONDS):
            try:
                self._transport.close()
            finally:
                self._drain_lock.release()

    def _is_stopping(self) -> bool:
        return self._is_closed or self._stopping.is_set()

    def _send_batch(self) -> int:
        # A token for each batch: a late answer of an earlier batch never matches a delivery that was claimed again.
        token = core_claims.new_token()
        claimed, allowed = claims.claim(
            self._database,
            token,
            BATCH_SIZE,
            lambda session, rows: rate_limits.apply_limits(session, token, rows, self._settings),
        )
        batch = _Batch(token, [one.id for one in allowed], {one.id for one in allowed})
        if allowed:
            failpoint("notify.claimed")
            with core_claims.renew_periodically(lambda: self._renew(batch)):
                try:
                    self._send_all(batch, self._build_all(batch, allowed))
                finally:
                    self._write_outcome(batch)
                    if batch.unsent:
                        self._database.transaction(lambda session: claims.release(session, token, sorted(batch.unsent)))
        return claimed

    def _renew(self, batch: _Batch) -> None:
        """Renew the claim, write a finished outcome, and release the rest of a slow batch. Called from another thread."""
        claims.renew(self._database, batch.token, batch.ids)
        self._write_outcome(batch)
        if batch.is_slow():
            batch.is_released = True
            others = [one for one in batch.ids if one != batch.current_id]
            if self._database.transaction(lambda session: claims.release(session, batch.token, others)):
                request_drain("notify.drain")

    def _build_all(self, batch: _Batch, deliveries: Sequence[ClaimedDelivery]) -> list[ClaimedDelivery]:
        """Build the messages that are not built yet, and commit them before the first attempt."""
        ready: list[ClaimedDelivery] = []
        failures: list[AttemptOutcome] = []
        for one in deliveries:
            try:
                ready.append(one if one.frozen is not None else self._message_builder.build(one, clock.now()))
            except Exception as error:
                # Any exception: one damaged delivery must not stop the others.
                kind = type(error).__name__
                log.error("message build failed", extra={"delivery": one.id, "mailing": one.mailing, "error": kind})
                failures.append(attempts.failed_outcome(one, failure_reason(error), "", tried_at=None))
                batch.unsent.discard(one.id)
        unbuilt = {one.id for one in deliveries if one.frozen is None}
        built = [one for one in ready if one.id in unbuilt]
        if built or failures:
            self._database.core_transaction(lambda session: _store(session, batch.token, built, failures))
        failpoint("notify.frozen")
        return ready

    def _send_all(self, batch: _Batch, deliveries: Sequence[ClaimedDelivery]) -> None:
        for one in deliveries:
            if batch.is_released or self._is_stopping():
                return
            batch.begin(one)
            try:
                self._send(batch, one)
            except ClaimLostError:
                batch.unsent.discard(one.id)
                log.warning("delivery claim lost before sending", extra={"delivery": one.id})
            except RelayUnavailable as error:
                log.warning("smtp relay unavailable", extra={"error": type(error).__name__})
                self._relay_paused_until = time.monotonic() + RELAY_PAUSE_SECONDS
                return
            finally:
                batch.current_id = None

    def _send(self, batch: _Batch, one: ClaimedDelivery) -> None:
        """Make one attempt. Afterwards ``batch.outcome`` holds its outcome."""
        assert one.frozen is not None  # noqa: S101 - built just before
        envelope_from = self._message_builder.envelope_sender(one)
        try:
            reply = self._transport.transmit(
                envelope_from, one.recipient, one.frozen, one.key, lambda: self._commit_intent(batch, one)
            )
        # None of these is an outcome of this mail.
        except (RelayUnavailable, ClaimLostError, SQLAlchemyError, BusyError):
            raise
        except AmbiguousOutcome as error:
            self._set_outcome(batch, one, attempts.ambiguous_outcome(one, error.reply))
        except TemporaryFailure as error:
            self._set_outcome(batch, one, self._defer(one, error.reply))
        except PermanentFailure as error:
            self._set_outcome(batch, one, attempts.refused_outcome(one, error.reply))
        except Exception as error:
            # A fault of casemill: this delivery is deferred, and the ones behind it are sent.
            kind = type(error).__name__
            log.error("delivery attempt crashed", extra={"delivery": one.id, "error": kind})
            reply = f"sending failed with {kind}"
            is_ambiguous = batch.is_intent_committed
            self._set_outcome(batch, one, attempts.ambiguous_outcome(one, reply) if is_ambiguous else self._defer(one, reply))
        else:
            failpoint("notify.accepted")
            self._set_outcome(batch, one, attempts.sent_outcome(one, reply))

    def _defer(self, one: ClaimedDelivery, reply: str) -> AttemptOutcome:
        return attempts.deferred_outcome(one, reply, self._settings.notices.give_up_days)

    def _commit_intent(self, batch: _Batch, one: ClaimedDelivery) -> None:
        """Write the last outcome and this intent in one commit. The transport calls this just before the final dot."""
        with batch.lock:
            try:
                attempts.record_intent(self._database, batch.token, one, batch.outcome)
            except ClaimLostError:
                # The previous outcome was committed all the same.
                batch.outcome = None
                raise
            batch.outcome, batch.is_intent_committed = None, True
            batch.unsent.discard(one.id)
        failpoint("notify.intent")

    def _set_outcome(self, batch: _Batch, one: ClaimedDelivery, outcome: AttemptOutcome) -> None:
        # The outcome before is still unwritten where this attempt ended before its intent.
        self._write_outcome(batch)
        batch.outcome = outcome
        DELIVERIES.labels(one.mailing, outcome.changes["state"]).inc()
        batch.unsent.discard(one.id)

    def _write_outcome(self, batch: _Batch) -> None:
        """Write the outcome that is not yet written, and wait for an unavailable database: only this process knows it."""
        ends = time.monotonic() + OUTCOME_RETRY_SECONDS
        with batch.lock:
            while (outcome := batch.outcome) is not None:
                try:
                    self._database.core_transaction(partial(attempts.record_outcome, token=batch.token, outcome=outcome))
                    batch.outcome = None
                except Exception as error:
                    if not is_unavailable(error) or time.monotonic() > ends:
                        # Recovery will find the committed intent and make the delivery ambiguous.
                        batch.outcome = None
                        raise
                    time.sleep(OUTCOME_RETRY_PAUSE_SECONDS)


def _store(session: Transaction, token: str, built: Sequence[ClaimedDelivery], failures: Sequence[AttemptOutcome]) -> None:
    claims.store_messages(session, token, built)
    for outcome in failures:
        attempts.record_outcome(session, token, outcome)
