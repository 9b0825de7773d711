"""Fetch a mailbox's mail: search, fetch in batches, and commit bytes, sightings and cursor together.

While one batch is committed the next one is fetched, and no further one; otherwise the mail server and the database wait for
each other in turn.
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
from core.metrics import MAILS_FETCHED
from ingest.ledger.accept import accept
from ingest.ledger.handoff import HandoffQueue
from ingest.ledger.types import MAIL, Accepted, Arrival
from ingest.sources.held_lease import HeldLease, LeaseLostError
from ingest.sources.imap import cursors, fetch
from ingest.sources.imap.cursors import MailboxErrors, ReadPosition
from ingest.sources.imap.failures import FailureTracker
from ingest.sources.imap.fetch import FetchedMessage, FetchFailure, FetchOutcome, MessageInfo
from ingest.sources.imap.moves import MessageMover
from ingest.sources.imap.session import MAX_SEARCH_UIDS, ImapSession
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.sources.imap")


class MailboxIntake:
    """Fetches the mail of one session, from ``position`` on.

    ``on_first_commit`` is called once, with the errors in a row before this session.
    The cursor stops before the first message that is to be fetched again; the messages after it are accepted all the same.
    """

    def __init__(
        self,
        session: ImapSession,
        position: ReadPosition,
        *,
        name: str,
        folder: str,
        database: Database,
        lease: HeldLease,
        failures: FailureTracker,
        mover: MessageMover | None,
        handoff: HandoffQueue | None,
        max_bytes: int,
        is_stopped: Callable[[], bool],
        on_first_commit: Callable[[MailboxErrors], None],
    ) -> None:
        self._session = session
        self._position = position
        self._name = name
        self._source = cursors.source_of(name)
        self._prefix = cursors.place_prefix(folder, position.uidvalidity)
        self._database = database
        self._lease = lease
        self._failures = failures
        self._mover = mover
        self._handoff = handoff
        self._max_bytes = max_bytes
        self._is_stopped = is_stopped
        self._on_first_commit = on_first_commit
        # Found by the search and without a final outcome.
        self._unfinished: set[int] = set()
        # The cursor once no UID is unfinished.
        self._end_uid = position.last_uid
        self._commits = 0
        # The batch that is being committed, the cursor after it, and the result of the commit.
        self._pending: tuple[Sequence[FetchOutcome], int, Future[MailboxErrors | None]] | None = None

    def poll(self) -> int:
        """Accept all new messages, each at most once; return how many were found.

        1. NOOP, so that the server reports new messages.
        2. Search above the cursor, fetch and commit, until a search finds only messages this poll has tried.
        3. Move the messages that an earlier poll accepted and could not move.
        4. Commit the cursor if nothing else was committed: it records that the mailbox answered.
        """
        commits_before = self._commits
        self._session.noop()
        unmoved_before = set(self._mover.unmoved) if self._mover else set()
        tried: set[int] = set()
        while not self._is_stopped():
            last_uid, since_day = self._next_search()
            found = self._session.search(self._position.last_uid + 1, last_uid, since_day)
            self._unfinished = set(found)
            self._end_uid = last_uid or max(found, default=self._position.last_uid)
            untried = [uid for uid in found if uid not in tried]
            if not untried and (last_uid is None or found):
                break
            tried |= set(untried)
            self._fetch_all(untried)
        if self._mover and not self._is_stopped():
            self._mover.move(self._session, unmoved_before & self._mover.unmoved)
        if self._commits == commits_before:
            self._commit([])
        return len(tried)

    def _next_search(self) -> tuple[int | None, date | None]:
        """Return the last UID of the next search (None: the end of the folder) and the day from which mail is read there.

        A long backlog is searched in ranges, because the answer to a SEARCH is one line.
        """
        range_end = self._position.last_uid + MAX_SEARCH_UIDS
        since_day = self._position.since_day
        if since_day is not None and self._position.last_uid < self._position.first_uid - 1:
            return min(range_end, self._position.first_uid - 1), since_day
        return (range_end if range_end < self._session.selected.uidnext - 1 else None), None

    def _fetch_all(self, uids: Sequence[int]) -> None:
        """Fetch and commit ``uids``, oldest first; those during whose fetch a connection was lost come last, each alone."""
        unsuspected = [uid for uid in uids if not self._failures.is_suspect(uid)]
        suspects = [uid for uid in uids if self._failures.is_suspect(uid)]
        chunks = list(fetch.split_uids(unsuspected))
        chunks += [[uid] for uid in sorted(suspects, key=lambda uid: (self._failures.interruptions(uid), uid))]
        with ThreadPoolExecutor(1, thread_name_prefix="accept") as committer:
            for chunk in chunks:
                if self._is_stopped():
                    break
                self._fetch_chunk(chunk, committer)
            self._finish_commit()
        if not self._is_stopped() and self._last_done_uid() > self._position.last_uid:
            self._commit([])

    def _fetch_chunk(self, uids: Sequence[int], committer: Executor) -> None:
        new = self._drop_sighted(uids)
        if len(new) == 1 and self._failures.has_too_many_interruptions(new[0]):
            self._accept([FetchFailure(new[0], "connection_loss")])
            return
        infos, outcomes = fetch.fetch_infos(self._session, new)
        self._accept(self._failures.drop_retryable(outcomes))
        for batch in fetch.split_batches(infos, self._max_bytes):
            if self._is_stopped():
                return
            self._fetch_batch(batch, committer)

    def _fetch_batch(self, batch: Sequence[MessageInfo], committer: Executor) -> None:
        outcomes = self._failures.drop_retryable(fetch.fetch_messages(self._session, batch, self._max_bytes))
        failpoint("imap.fetched")
        self._finish_commit()
        if outcomes:
            last_uid = self._cursor_after(outcomes)
            self._pending = outcomes, last_uid, committer.submit(self._write_batch, outcomes, last_uid)

    def _finish_commit(self) -> None:
        """Wait for the batch that is being committed, then move its messages: no command to the server before the commit."""
        if self._pending is None:
            return
        (outcomes, last_uid, result), self._pending = self._pending, None
        try:
            self._apply_commit(outcomes, last_uid, result.result())
        except Exception as error:
            self._isolate(outcomes, error)
        failpoint("imap.accepted")
        if self._mover:
            self._mover.move(self._session, [outcome.uid for outcome in outcomes if isinstance(outcome, FetchedMessage)])

    def _drop_sighted(self, uids: Sequence[int]) -> list[int]:
        """Return the UIDs without a sighting: after a rewind, and above a failing message, others were accepted already."""
        with self._database.read() as db:
            sighted = cursors.find_sighted(db, self._source, [self._place(uid) for uid in uids])
        self._unfinished -= {uid for uid in uids if self._place(uid) in sighted}
        return [uid for uid in uids if self._place(uid) not in sighted]

    def _accept(self, outcomes: Sequence[FetchOutcome]) -> None:
        """Commit ``outcomes``, after the batch that is being committed."""
        if not outcomes:
            return
        self._finish_commit()
        try:
            self._commit(outcomes)
        except Exception as error:
            self._isolate(outcomes, error)

    def _isolate(self, outcomes: Sequence[FetchOutcome], error: Exception) -> None:
        """Commit the outcomes of a failed batch one by one; raise ``error`` when no message can be its cause."""
        is_single = len(outcomes) == 1
        if isinstance(error, LeaseLostError) or is_unavailable(error) or (is_single and isinstance(outcomes[0], FetchFailure)):
            raise error
        details = {"mailbox": self._name, "error": type(error).__name__, "count": len(outcomes)}
        log.warning("imap batch not stored, retrying one by one", extra=details)
        for outcome in outcomes:
            failure = FetchFailure(outcome.uid, "storage_failure")
            self._accept(self._failures.drop_retryable([failure]) if is_single else [outcome])

    def _commit(self, outcomes: Sequence[FetchOutcome]) -> None:
        last_uid = self._cursor_after(outcomes)
        self._apply_commit(outcomes, last_uid, self._write_batch(outcomes, last_uid))

    def _write_batch(self, outcomes: Sequence[FetchOutcome], last_uid: int) -> MailboxErrors | None:
        """Write a batch in one transaction; return, for the first batch of the session, the errors before it.

        1. Check the lease, so that a watcher whose lease has expired writes nothing.
        2. Claim the batch for the pipeline of this process, if there is one with capacity.
        3. Accept the arrivals.
        4. Read the errors in a row, before step 5 resets them.
        5. Advance the cursor. A cursor in the same commit never passes a message without a sighting.
        """
        now = clock.now()
        arrivals = [arrival for outcome in outcomes if (arrival := self._make_arrival(outcome)) is not None]
        # An error ends the session, so none can be counted between two commits of one session.
        is_first = not self._commits

        def unit(db: Session) -> tuple[MailboxErrors | None, Claim | None, list[Accepted]]:
            self._lease.check(db)
            claim = self._handoff.claim(db, len(arrivals)) if self._handoff is not None else None
            accepted = accept(db, arrivals, now, claim=claim)
            errors = cursors.read_errors(db, self._name) if is_first else None
            cursors.advance(db, self._name, self._position.uidvalidity, last_uid, now)
            return errors, claim, accepted

        errors, claim, accepted = self._database.transaction(unit)
        if self._handoff is not None and claim is not None:
            self._handoff.put(claim, arrivals, accepted, now)
        if arrivals:
            request_drain("ingest.drain")
        return errors

    def _apply_commit(self, outcomes: Sequence[FetchOutcome], last_uid: int, errors: MailboxErrors | None) -> None:
        done = {outcome.uid for outcome in outcomes}
        self._commits += 1
        MAILS_FETCHED.labels(self._name).inc(sum(isinstance(outcome, FetchedMessage) for outcome in outcomes))
        self._position = replace(self._position, last_uid=last_uid)
        self._unfinished -= done
        self._failures.forget(done)
        if errors is not None:
            self._on_first_commit(errors)

    def _cursor_after(self, outcomes: Sequence[FetchOutcome]) -> int:
        return self._last_done_uid({outcome.uid for outcome in outcomes})

    def _last_done_uid(self, done: set[int] | frozenset[int] = frozenset()) -> int:
        """Return the last UID up to which every message has a final outcome, once ``done`` have one."""
        unfinished = self._unfinished - done
        reached = min(unfinished) - 1 if unfinished else self._end_uid
        return max(self._position.last_uid, reached)

    def _place(self, uid: int) -> str:
        return f"{self._prefix}{uid}"

    def _make_arrival(self, outcome: FetchOutcome) -> Arrival | None:
        place = self._place(outcome.uid)
        if isinstance(outcome, FetchFailure):
            extra = {"error": outcome.code}
            identity = f"unfetched:{self._name}/{self._position.uidvalidity}/{outcome.uid}"
            return Arrival(MAIL, "unfetched", self._source, place, b"", clock.now(), identity, extra=extra)
        if not isinstance(outcome, FetchedMessage):
            log.info("imap message vanished before the fetch", extra={"mailbox": self._name, "uid": outcome.uid})
            return None
        return make_message_arrival(self._source, place, outcome)


def make_message_arrival(source: str, place: str, message: FetchedMessage) -> Arrival:
    """Return the arrival of a message at ``place`` (``folder/uidvalidity/uid``); of an oversize one, only its header."""
    if message.oversize_bytes is None:
        return Arrival(MAIL, "mail", source, place, message.raw, message.received_at)
    extra = {"size": message.oversize_bytes, "oversize": True}
    identity = f"oversize:{blobs.digest(message.raw)}"
    return Arrival(MAIL, "oversize", source, place, message.raw, message.received_at, identity, extra=extra)
