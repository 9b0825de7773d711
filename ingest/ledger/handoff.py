"""The in-tray: what a source of this process took in already claimed, for the pipeline of the same process.

Taking in and claiming are one commit then, nothing is looked for, and the parsers need not wait until it is the claim's turn to
write. For the ledger it is a claim like any other: one that ends without a word comes back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from core.claims import SPAN, Claim, new_token
from core.database.session import Database
from ingest.ledger import claims
from ingest.ledger.accept import due_at
from ingest.ledger.types import Accepted, Arrival, ClaimedItem

#: Fewer than that wait for others to come, so that they are parsed and stored together.
FEWEST = 20
#: What is on top of that is claimed when its turn comes: a claim must not run out in the tray.
MOST = 500
#: A claim is renewed as it is taken when so much of its time has passed.
OLD_SECONDS = SPAN.total_seconds() / 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Items under one token, and when they were claimed (`time.monotonic()`)."""

    token: str
    items: Sequence[ClaimedItem]
    at: float = field(default_factory=time.monotonic)

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.at > OLD_SECONDS


class HandoffQueue:
    """First in, first out; safe to use from several threads."""

    def __init__(self, database: Database, largest: int) -> None:
        """``largest``: how many items the pipeline takes at a time."""
        self._database = database
        self._largest = largest
        self._batches: deque[Batch] = deque()
        self._items = 0
        self._guard = threading.Lock()

    def claim(self, session: Session, count: int) -> Claim | None:
        """The claim under which ``count`` arrivals may be accepted in this transaction; None: they are to wait in the ledger.

        So are few, and all for as long as something waits there: what came first is worked on first.
        """
        is_fit = FEWEST <= count <= self._largest and self._items + count <= MOST
        if not is_fit or claims.has_due_items(session, self._database):
            return None
        return Claim(new_token(), self._database.now(session) + SPAN)

    def put(self, claim: Claim, arrivals: Sequence[Arrival], accepted: Sequence[Accepted], now: datetime) -> None:
        """After the commit: hand over what was accepted under ``claim`` at ``now``, but for what had been there before."""
        pairs = enumerate(zip(arrivals, accepted, strict=True))
        items = [_claimed(arrival, one, due_at(now, order)) for order, (arrival, one) in pairs if not one.known]
        if items:
            with self._guard:
                self._batches.append(Batch(claim.token, items))
                self._items += len(items)

    def take(self) -> Batch | None:
        """The oldest batch; one that lay long is renewed, and what others have by now is not in it."""
        while (batch := self._pop()) is not None and batch.is_old:
            held = claims.renew(self._database, batch.token)
            if held:
                return Batch(batch.token, [item for item in batch.items if item.id in held])
        return batch

    def clear(self) -> list[str]:
        """Take all; answers their tokens."""
        tokens = []
        while (batch := self._pop()) is not None:
            tokens.append(batch.token)
        return tokens

    def _pop(self) -> Batch | None:
        with self._guard:
            if not self._batches:
                return None
            batch = self._batches.popleft()
            self._items -= len(batch.items)
            return batch


def _claimed(arrival: Arrival, accepted: Accepted, due_at: datetime) -> ClaimedItem:
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
