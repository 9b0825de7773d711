"""Taking a mailbox's mail: search, fetch in batches, and commit bytes, sightings and cursor together.

While a batch is committed the next one is fetched, and no more than one: else the mail server and the database wait for each
other in turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date

from sqlalchemy.orm import Session

from core import blobs, clock
from core.claims import Claim
from core.database.session import Database, is_unavailable
from core.failpoints import failpoint
from ingest.ledger.accept import accept
from ingest.ledger.handoff import HandoffQueue
from ingest.ledger.types import MAIL, Accepted, Arrival
from ingest.sources.held_lease import HeldLease, LeaseLostError
from ingest.sources.imap import cursors, fetch
from ingest.sources.imap.cursors import Position, Trouble
from ingest.sources.imap.failures import FailureBook
from ingest.sources.imap.fetch import About, Failure, Message, Outcome
from ingest.sources.imap.moves import Moves
from ingest.sources.imap.session import SEARCH_SPAN, ImapSession
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.sources")


class Intake:
    """One session's taking of mail, from ``position`` on. ``on_answer`` hears once of the trouble there had been before.

    The cursor stops before the first message that is still to be tried again; what lies behind it is taken all the same.
    """

    def __init__(
        self,
        session: ImapSession,
        position: Position,
        *,
        name: str,
        folder: str,
        database: Database,
        tenure: HeldLease,
        book: FailureBook,
        moves: Moves | None,
        intray: HandoffQueue | None,
        limit: int,
        over: Callable[[], bool],
        on_answer: Callable[[Trouble], None],
    ) -> None:
        self._session = session
        self._position = position
        self._name = name
        self._source = cursors.source_of(name)
        self._prefix = cursors.place_prefix(folder, position.uidvalidity)
        self._database = database
        self._tenure = tenure
        self._book = book
        self._moves = moves
        self._intray = intray
        self._limit = limit
        self._over = over
        self._on_answer = on_answer
        self._open: set[int] = set()  # found and not yet done with
        self._ceiling = position.last_uid  # the cursor's place once nothing is open
        self._commits = 0
        # What is being committed, the cursor's place after it, and the answer to come.
        self._pending: tuple[Sequence[Outcome], int, Future[Trouble | None]] | None = None

    def poll(self) -> int:
        """Take everything that is new, each message at most once; then move what an earlier poll could not.

        Returns how many messages it found.
        """
        before = self._commits
        self._session.noop()
        left_from_before = set(self._moves.waiting) if self._moves else set()
        tried: set[int] = set()
        while not self._over():
            last, day = self._span()
            found = self._session.search(self._position.last_uid + 1, last, day)
            self._open = set(found)
            self._ceiling = last or max(found, default=self._position.last_uid)
            fresh = [uid for uid in found if uid not in tried]
            if not fresh and (last is None or found):
                break
            tried |= set(fresh)
            self._take_all(fresh)
        if self._moves and not self._over():
            self._moves.move(self._session, left_from_before & self._moves.waiting)
        if self._commits == before:
            self._commit([])
        return len(tried)

    def _span(self) -> tuple[int | None, date | None]:
        """The last UID of the next search (None: the end of the folder) and the day from which mail counts there.

        A long backlog is searched in spans, because the answer to a SEARCH is one line.
        """
        end = self._position.last_uid + SEARCH_SPAN
        day = self._position.day
        if day is not None and self._position.last_uid < self._position.first_uid - 1:
            return min(end, self._position.first_uid - 1), day
        return (end if end < self._session.selected.uidnext - 1 else None), None

    def _take_all(self, uids: Sequence[int]) -> None:
        """Oldest first; those over which a connection broke come last and alone."""
        clean = [uid for uid in uids if not self._book.is_suspect(uid)]
        suspects = [uid for uid in uids if self._book.is_suspect(uid)]
        chunks = list(fetch.chunks(clean))
        chunks += [[uid] for uid in sorted(suspects, key=lambda uid: (self._book.breaks(uid), uid))]
        with ThreadPoolExecutor(1, thread_name_prefix="accept") as aside:
            for chunk in chunks:
                if self._over():
                    break
                self._take(chunk, aside)
            self._finish()
        if not self._over() and self._next_last() > self._position.last_uid:
            self._commit([])

    def _take(self, uids: Sequence[int], aside: Executor) -> None:
        unseen = self._without_seen(uids)
        if len(unseen) == 1 and self._book.has_broken_off(unseen[0]):
            self._accept([Failure(unseen[0], "connection_loss")])
            return
        known, outcomes = fetch.look_up(self._session, unseen)
        self._accept(self._book.judge(outcomes))
        for batch in fetch.batches(known, self._limit):
            if self._over():
                return
            self._take_batch(batch, aside)

    def _take_batch(self, batch: Sequence[About], aside: Executor) -> None:
        outcomes = self._book.judge(fetch.fetch(self._session, batch, self._limit))
        failpoint("imap.fetched")
        self._finish()
        if outcomes:
            last = self._place_after(outcomes)
            self._pending = outcomes, last, aside.submit(self._write, outcomes, last)

    def _finish(self) -> None:
        """Wait for the batch that is being committed; only then is the server told of it."""
        if self._pending is None:
            return
        (outcomes, last, written), self._pending = self._pending, None
        try:
            self._conclude(outcomes, last, written.result())
        except Exception as error:
            self._accept_alone(outcomes, error)
        failpoint("imap.accepted")
        if self._moves:
            self._moves.move(self._session, [outcome.uid for outcome in outcomes if isinstance(outcome, Message)])

    def _without_seen(self, uids: Sequence[int]) -> list[int]:
        """After a rewind, and behind a failing message, lie others that were taken already."""
        with self._database.read() as db:
            seen = cursors.seen(db, self._source, [self._place(uid) for uid in uids])
        self._open -= {uid for uid in uids if self._place(uid) in seen}
        return [uid for uid in uids if self._place(uid) not in seen]

    def _accept(self, outcomes: Sequence[Outcome]) -> None:
        """Commit ``outcomes``, after what is being committed."""
        if not outcomes:
            return
        self._finish()
        try:
            self._commit(outcomes)
        except Exception as error:
            self._accept_alone(outcomes, error)

    def _accept_alone(self, outcomes: Sequence[Outcome], error: Exception) -> None:
        """What the database refused goes one by one, so that one cannot spoil the others; raises what is no fault of theirs."""
        alone = len(outcomes) == 1
        if isinstance(error, LeaseLostError) or is_unavailable(error) or (alone and isinstance(outcomes[0], Failure)):
            raise error
        log.warning("mail not stored", extra={"mailbox": self._name, "error": type(error).__name__, "count": len(outcomes)})
        for outcome in outcomes:
            self._accept([outcome] if not alone else self._book.judge([Failure(outcome.uid, "storage_failure")]))

    def _commit(self, outcomes: Sequence[Outcome]) -> None:
        last = self._place_after(outcomes)
        self._conclude(outcomes, last, self._write(outcomes, last))

    def _write(self, outcomes: Sequence[Outcome], last: int) -> Trouble | None:
        """One transaction: arrivals, cursor, and that the mailbox answered; refused when the lease is another's.

        Answers the trouble there had been before.
        """
        now = clock.now()
        arrivals = [arrival for outcome in outcomes if (arrival := self._arrival(outcome)) is not None]
        is_first = not self._commits  # an error ends a session, so there is none between two commits of one

        def unit(db: Session) -> tuple[Trouble | None, Claim | None, list[Accepted]]:
            self._tenure.check(db)
            claim = self._intray.claim(db, len(arrivals)) if self._intray is not None else None
            accepted = accept(db, arrivals, now, claim=claim)
            trouble = cursors.trouble(db, self._name) if is_first else None
            cursors.advance(db, self._name, self._position.uidvalidity, last, now)
            return trouble, claim, accepted

        trouble, claim, accepted = self._database.transaction(unit)
        if self._intray is not None and claim is not None:
            self._intray.put(claim, arrivals, accepted, now)
        if arrivals:
            request_drain("ingest.drain")
        return trouble

    def _conclude(self, outcomes: Sequence[Outcome], last: int, trouble: Trouble | None) -> None:
        done = {outcome.uid for outcome in outcomes}
        self._commits += 1
        self._position = replace(self._position, last_uid=last)
        self._open -= done
        self._book.forget(done)
        if trouble is not None:
            self._on_answer(trouble)

    def _place_after(self, outcomes: Sequence[Outcome]) -> int:
        return self._next_last({outcome.uid for outcome in outcomes})

    def _next_last(self, done: set[int] | frozenset[int] = frozenset()) -> int:
        """The last UID up to which everything is done with, once ``done`` is."""
        still_open = self._open - done
        reached = min(still_open) - 1 if still_open else self._ceiling
        return max(self._position.last_uid, reached)

    def _place(self, uid: int) -> str:
        return f"{self._prefix}{uid}"

    def _arrival(self, outcome: Outcome) -> Arrival | None:
        place = self._place(outcome.uid)
        if isinstance(outcome, Failure):
            extra = {"error": outcome.code}
            identity = f"unfetched:{self._name}/{self._position.uidvalidity}/{outcome.uid}"
            return Arrival(MAIL, "unfetched", self._source, place, b"", clock.now(), identity, extra=extra)
        if not isinstance(outcome, Message):
            log.info("message vanished before it was fetched", extra={"mailbox": self._name, "uid": outcome.uid})
            return None
        return message_arrival(self._source, place, outcome)


def message_arrival(source: str, place: str, message: Message) -> Arrival:
    """What the ledger is given for a message seen at ``place`` (``folder/uidvalidity/uid``)."""
    if message.oversize is None:
        return Arrival(MAIL, "mail", source, place, message.raw, message.received_at)
    return oversize_arrival(source, place, message)


def oversize_arrival(source: str, place: str, message: Message) -> Arrival:
    """A message too large to take: its header stands for it, under an identity of its own."""
    extra = {"size": message.oversize, "oversize": True}
    identity = f"oversize:{blobs.digest(message.raw)}"
    return Arrival(MAIL, "oversize", source, place, message.raw, message.received_at, identity, extra=extra)
