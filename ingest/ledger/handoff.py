"""Hand-off queue: batches that a source of this process accepted already claimed, for the pipeline of the same process.

Accepting and claiming are one commit then, the pipeline does not search for due items, and the parsers do not wait for the
writer lock. In the ledger it is a claim like any other: when it expires, its items return to waiting.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from core.claims import CLAIM_TTL, Claim, new_token
from core.database.session import Database
from ingest.ledger import claims
from ingest.ledger.accept import due_time
from ingest.ledger.types import Accepted, Arrival, ClaimedItem

#: Fewer arrivals wait in the ledger, so that they are parsed and stored together with later ones.
MIN_HANDOFF_ITEMS = 20
#: Further arrivals wait in the ledger and are claimed later, so that no claim expires in the queue.
MAX_QUEUED_ITEMS = 500
#: A batch older than this has its claim renewed as it is taken.
RENEW_AFTER_SECONDS = CLAIM_TTL.total_seconds() / 3


@dataclass(frozen=True, slots=True)
class HandoffBatch:
    """Items claimed under one token; ``claimed_at`` is by `time.monotonic()`."""

    token: str
    items: Sequence[ClaimedItem]
    claimed_at: float = field(default_factory=time.monotonic)

    @property
    def needs_renewal(self) -> bool:
        return time.monotonic() - self.claimed_at > RENEW_AFTER_SECONDS


class HandoffQueue:
    """A first-in, first-out queue of claimed batches; safe to use from several threads."""

    def __init__(self, database: Database, batch_limit: int) -> None:
        """``batch_limit`` is how many items the pipeline processes in one batch."""
        self._database = database
        self._batch_limit = batch_limit
        self._batches: deque[HandoffBatch] = deque()
        self._queued_items = 0
        self._lock = threading.Lock()

    def claim(self, session: Session, count: int) -> Claim | None:
        """Return the claim under which ``count`` arrivals may be accepted in this transaction.

        Returns None when they are to wait in the ledger: when they are too few or too many for a batch, when the queue is full,
        and while due items wait in the ledger, because the oldest items are processed first.
        """
        fits = MIN_HANDOFF_ITEMS <= count <= self._batch_limit and self._queued_items + count <= MAX_QUEUED_ITEMS
        if not fits or claims.has_due_items(session, self._database):
            return None
        return Claim(new_token(), self._database.now(session) + CLAIM_TTL)

    def put(self, claim: Claim, arrivals: Sequence[Arrival], accepted: Sequence[Accepted], now: datetime) -> None:
        """Queue what was accepted under ``claim`` at ``now``, except items the ledger had before. Call it after the commit."""
        pairs = enumerate(zip(arrivals, accepted, strict=True))
        items = [_claimed_item(arrival, one, due_time(now, order)) for order, (arrival, one) in pairs if not one.known]
        if items:
            with self._lock:
                self._batches.append(HandoffBatch(claim.token, items))
                self._queued_items += len(items)

    def take(self) -> HandoffBatch | None:
        """Return the oldest batch, None when there is none.

        The claim of a batch that waited long is renewed first; items that the claim has lost since are left out.
        """
        while (batch := self._pop()) is not None and batch.needs_renewal:
            held = claims.renew(self._database, batch.token)
            if held:
                return HandoffBatch(batch.token, [item for item in batch.items if item.id in held])
        return batch

    def clear(self) -> list[str]:
        """Empty the queue and return the tokens of its batches."""
        tokens = []
        while (batch := self._pop()) is not None:
            tokens.append(batch.token)
        return tokens

    def _pop(self) -> HandoffBatch | None:
        with self._lock:
            if not self._batches:
                return None
            batch = self._batches.popleft()
            self._queued_items -= len(batch.items)
            return batch


def _claimed_item(arrival: Arrival, accepted: Accepted, due_at: datetime) -> ClaimedItem:
    return ClaimedItem(
        id=accepted.item_id,
        family=arrival.family,
        kind=arrival.kind,
        source=arrival.source,
        sha256=accepted.sha256,
        size=len(arrival.raw),
        received_at=arrival.received_at,
        due_at=due_at,
        attempts=0,
        losses=0,
        alone=False,
        parent_id=arrival.parent_id,
        extra=arrival.extra,
    )
