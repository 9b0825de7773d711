"""Hints: "there may be work of this name". A convenience that may be lost; sweeps by the clock find the work anyway."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from core.failpoints import failpoint

log = logging.getLogger("casemill.hints")

_deliver: Callable[[str], None] | None = None


def request_drain(name: str) -> None:
    """Say that work called ``name`` may be waiting. Never raises: the database is the truth, not the hint."""
    if _deliver is None:
        return
    try:
        _deliver(name)
    except Exception as error:
        log.warning("hint not delivered", extra={"hint": name, "error": type(error).__name__})


def connect(deliver: Callable[[str], None] | None) -> None:
    """Set where hints go (the composition root does), or None to switch them off. ``deliver`` must not wait for anybody."""
    global _deliver
    _deliver = deliver


class DrainRequestQueue:
    """Delivers hints to the broker from a thread of its own, so that giving one never blocks; equal ones coalesce."""

    def __init__(self, send: Callable[[str], None], resend_seconds: float) -> None:
        """``send`` hands one to the broker; it may wait and raise. ``hold_seconds``: how long one on its way, which nobody here
        has begun, keeps the next one waiting.
        """
        self._send = send
        self._resend_seconds = resend_seconds
        self._requested: set[str] = set()
        self._sent_at: dict[str, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, name: str) -> None:
        with self._changed:
            self._requested.add(name)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="hints", daemon=True)
                self._thread.start()
            self._changed.notify()

    def mark_started(self, name: str) -> None:
        """The work has begun: what is put from now on is news."""
        with self._changed:
            self._sent_at.pop(name, None)
            self._changed.notify()

    def _loop(self) -> None:
        while True:
            name = self._next()
            try:
                self._send(name)
                failpoint("hint.sent")
            except Exception as error:
                log.warning("the broker did not take a hint", extra={"drain": name, "error": type(error).__name__})
                time.sleep(0.5)

    def _next(self) -> str:
        """The next name that is not already on its way."""
        with self._changed:
            while True:
                now = time.monotonic()
                for name in sorted(self._requested):
                    if name not in self._sent_at or now - self._sent_at[name] > self._resend_seconds:
                        self._requested.discard(name)
                        self._sent_at[name] = now
                        return name
                self._changed.wait(self._resend_seconds if self._requested else None)
