"""Which messages of a mailbox could not be had so far, and when to stop trying."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ingest.sources.imap.fetch import Failure, Outcome

#: Tries before a message is recorded as unfetched: answers without it, and connections that broke over it alone.
#: A broken connection is seldom the message's own fault, so it has more,
#: but fewer than the errors in a row that call a mailbox unreachable.
REFUSALS, BREAKS = 3, 4


class FailureBook:
    """Failures of messages by UID, for one UIDVALIDITY. In memory: after a restart a message has all its tries again."""

    def __init__(self) -> None:
        self._refusals: dict[int, int] = {}
        self._breaks: dict[int, int] = {}

    def judge(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Count the failures among ``outcomes``; those still to be tried again are left out of the answer."""
        return [outcome for outcome in outcomes if not isinstance(outcome, Failure) or self.refuse(outcome.uid)]

    def refuse(self, uid: int) -> bool:
        """Count an answer without the message; True when that was its last try."""
        self._refusals[uid] = self._refusals.get(uid, 0) + 1
        return self._refusals[uid] >= REFUSALS or self.has_broken_off(uid)

    def note_break(self, uids: Sequence[int]) -> None:
        """A connection broke over these: counted only when it was one, but all of them are fetched alone from now on."""
        for uid in uids:
            self._breaks[uid] = self._breaks.get(uid, 0) + (1 if len(uids) == 1 else 0)

    def has_broken_off(self, uid: int) -> bool:
        """Whether too many connections broke over this message to try once more."""
        return self._breaks.get(uid, 0) >= BREAKS

    def is_suspect(self, uid: int) -> bool:
        """Whether a connection broke while this message was on its way."""
        return uid in self._breaks

    def breaks(self, uid: int) -> int:
        return self._breaks.get(uid, 0)

    def forget(self, uids: Iterable[int]) -> None:
        """These are settled."""
        for uid in uids:
            self._refusals.pop(uid, None)
            self._breaks.pop(uid, None)
