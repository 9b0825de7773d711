"""Claims: rows taken for work under a token until an expiry by the database's clock, renewed while their worker lives."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

log = logging.getLogger("casemill.claims")

#: Rows of a dead worker are free again after this long. Promise 4 of reliability.md allows 30 seconds for the whole recovery.
CLAIM_TTL = timedelta(seconds=20)
RENEW_INTERVAL_SECONDS = 6.0


class Claim(NamedTuple):
    """Rows are claimed under ``token`` until a moment, by the database's clock."""

    token: str
    until: datetime


def new_token() -> str:
    """Return a random token that identifies one claim."""
    return secrets.token_hex(16)


@contextmanager
def renew_periodically(renew: Callable[[], object]) -> Iterator[None]:
    """Call ``renew`` every :data:`RENEW_INTERVAL_SECONDS` from another thread while the block runs.

    An exception of ``renew`` is logged, and the next interval tries again. After the block ``renew`` is not called any more.
    """
    renewal = _Renewal(renew)
    _RENEWAL_TIMER.add(renewal)
    try:
        yield
    finally:
        _RENEWAL_TIMER.remove(renewal)
        renewal.stop()


class _Renewal:
    """The renewals of one claim. It gets a thread only when it is ``due`` for the first time: most claims end before that."""

    def __init__(self, renew: Callable[[], object]) -> None:
        self.due = time.monotonic() + RENEW_INTERVAL_SECONDS
        self._renew = renew
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="claim-renewal", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and wait until a renewal that is under way has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            try:
                self._renew()
            except Exception as error:
                log.warning("claim renewal failed", extra={"error": type(error).__name__})
            self._stopped.wait(RENEW_INTERVAL_SECONDS)


class _RenewalTimer:
    """One thread that starts the renewals of all claims when they are due.

    Starting and joining a thread for each claim would cost more than many a claim lasts.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._renewals: set[_Renewal] = set()
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None

    def add(self, renewal: _Renewal) -> None:
        with self._changed:
            self._renewals.add(renewal)
            # A forked process inherits this object, but not its thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._loop, name="claim-timer", daemon=True)
                self._thread.start()
            elif renewal.due < self._wakes_at:
                self._changed.notify()

    def remove(self, renewal: _Renewal) -> None:
        with self._changed:
            self._renewals.discard(renewal)

    def _loop(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for renewal in [renewal for renewal in self._renewals if renewal.due <= now]:
                    self._renewals.discard(renewal)
                    renewal.start()
                # Without claims the thread also wakes after an interval: the next claim is due later than that and
                # need not notify it.
                self._wakes_at = min((renewal.due for renewal in self._renewals), default=now + RENEW_INTERVAL_SECONDS)
                self._changed.wait(max(0.0, self._wakes_at - time.monotonic()))


_RENEWAL_TIMER = _RenewalTimer()
