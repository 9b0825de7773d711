"""Claims: rows taken for work under a token until a moment, renewed while their holder lives."""

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

#: A dead holder's rows come back after this long; promise 4 of reliability.md allows 30 seconds for all of it.
CLAIM_TTL = timedelta(seconds=20)
RENEW_INTERVAL_SECONDS = 6.0


class Claim(NamedTuple):
    """Rows are held under ``token`` until a moment, by the database's clock."""

    token: str
    until: datetime


def new_token() -> str:
    """A token nobody else has."""
    return secrets.token_hex(16)


@contextmanager
def renew_periodically(renew: Callable[[], object]) -> Iterator[None]:
    """Call ``renew`` every few seconds, from another thread, for as long as the block runs."""
    held = _Renewal(renew)
    _RENEWAL_TIMER.add(held)
    try:
        yield
    finally:
        _RENEWAL_TIMER.remove(held)
        held.end()


class _Renewal:
    """A claim; it gets a thread of its own once it is ``due`` to be renewed, and few ever are."""

    def __init__(self, renew: Callable[[], object]) -> None:
        self.due = time.monotonic() + RENEW_INTERVAL_SECONDS
        self._renew = renew
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._loop, name="claim-renewal", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Afterwards nothing is renewed any more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._ended.is_set():
            try:
                self._renew()
            except Exception as error:
                log.warning("a claim could not be renewed", extra={"error": type(error).__name__})
            self._ended.wait(RENEW_INTERVAL_SECONDS)


class _RenewalTimer:
    """One thread that waits for all claims: to begin and to end a thread for each would cost more than many a claim lasts."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[_Renewal] = set()
        self._wakes = math.inf
        self._thread: threading.Thread | None = None

    def add(self, held: _Renewal) -> None:
        with self._changed:
            self._held.add(held)
            if self._thread is None or not self._thread.is_alive():  # a process that was forked off has no other thread
                self._thread = threading.Thread(target=self._loop, name="claim-times", daemon=True)
                self._thread.start()
            elif held.due < self._wakes:
                self._changed.notify()

    def remove(self, held: _Renewal) -> None:
        with self._changed:
            self._held.discard(held)

    def _loop(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for held in [held for held in self._held if held.due <= now]:
                    self._held.discard(held)
                    held.begin()
                # With nothing held as well: the next claim is due later than that, and need not wake anybody.
                self._wakes = min((held.due for held in self._held), default=now + RENEW_INTERVAL_SECONDS)
                self._changed.wait(max(0.0, self._wakes - time.monotonic()))


_RENEWAL_TIMER = _RenewalTimer()
