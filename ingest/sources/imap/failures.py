"""Count the failed attempts to fetch each message, and decide when to stop trying."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingest.sources.imap.fetch import FetchFailure, FetchOutcome

#: Attempts before a message is recorded as unfetched. A refusal is an answer without the message; an interruption is a
#: connection lost while that message alone was being fetched. A lost connection is seldom the message's fault, so it gets more
#: attempts, but fewer than the errors in a row after which the mailbox counts as unreachable.
MAX_REFUSALS, MAX_INTERRUPTIONS = 3, 4


class FailureTracker:
    """Failures by UID, for one UIDVALIDITY. In memory only: a restart gives every message all its attempts again."""

    def __init__(self) -> None:
        self._refusals: dict[int, int] = {}
        self._interruptions: dict[int, int] = {}

    def drop_retryable(self, outcomes: Iterable[FetchOutcome]) -> list[FetchOutcome]:
        """Count the failures among ``outcomes`` and return the outcomes that are final: a later poll fetches the others."""
        return [outcome for outcome in outcomes if not isinstance(outcome, FetchFailure) or self.count_refusal(outcome.uid)]

    def count_refusal(self, uid: int) -> bool:
        """Count an answer without the message; return whether that was its last attempt."""
        self._refusals[uid] = self._refusals.get(uid, 0) + 1
        return self._refusals[uid] >= MAX_REFUSALS or self.has_too_many_interruptions(uid)

    def count_interruption(self, uids: Sequence[int]) -> None:
        """Record that the connection was lost during a fetch of ``uids``.

        It counts as an attempt only when a single message was being fetched. Each of several is fetched alone from now on.
        """
        for uid in uids:
            self._interruptions[uid] = self._interruptions.get(uid, 0) + (1 if len(uids) == 1 else 0)

    def has_too_many_interruptions(self, uid: int) -> bool:
        return self._interruptions.get(uid, 0) >= MAX_INTERRUPTIONS

    def is_suspect(self, uid: int) -> bool:
        """Return whether a connection was lost while this message was being fetched."""
        return uid in self._interruptions

    def interruptions(self, uid: int) -> int:
        return self._interruptions.get(uid, 0)

    def forget(self, uids: Iterable[int]) -> None:
        """Drop the counts of messages that have a final outcome."""
        for uid in uids:
            self._refusals.pop(uid, None)
            self._interruptions.pop(uid, None)
