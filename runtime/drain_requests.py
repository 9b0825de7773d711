"""Drain requests: "there may be work for the drain of this name". They may be lost: sweeps request every drain by the clock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from core.failpoints import failpoint

log = logging.getLogger("casemill.drain_requests")

RETRY_SECONDS = 0.5

_deliver: Callable[[str], None] | None = None


def request_drain(name: str) -> None:
    """Request the drain ``name``. Never raises: the database holds the work, and a sweep finds it if the request is lost."""
    if _deliver is None:
        return
    try:
        _deliver(name)
    except Exception as error:
        log.warning("drain request not accepted", extra={"drain": name, "error": type(error).__name__})


def connect(deliver: Callable[[str], None] | None) -> None:
    """Pass all requests to ``deliver``, which must not block; None discards them."""
    global _deliver
    _deliver = deliver


class DrainRequestQueue:
    """Sends requests to the broker from a thread of its own, so that a caller never blocks. Equal requests coalesce."""

    def __init__(self, send: Callable[[str], None], resend_seconds: float) -> None:
        """``send`` passes a request to the broker; it may block and raise.

        A request that was sent holds back the next one of its name until its drain starts in this process, for
        ``resend_seconds`` at most.
        """
        self._send = send
        self._resend_seconds = resend_seconds
        self._requested: set[str] = set()
        self._sent_at: dict[str, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, name: str) -> None:
        """Queue a request for the drain ``name``; return at once."""
        with self._changed:
            self._requested.add(name)
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="drain-requests", daemon=True)
                self._thread.start()
            self._changed.notify()

    def mark_started(self, name: str) -> None:
        """Record that the drain ``name`` has started: later requests may concern work that it does not see."""
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
                log.warning("broker unavailable, drain request lost", extra={"drain": name, "error": type(error).__name__})
                time.sleep(RETRY_SECONDS)

    def _next(self) -> str:
        """Wait for a request that is not held back, and return its name."""
        with self._changed:
            while True:
                now = time.monotonic()
                for name in sorted(self._requested):
                    if name not in self._sent_at or now - self._sent_at[name] > self._resend_seconds:
                        self._requested.discard(name)
                        self._sent_at[name] = now
                        return name
                self._changed.wait(self._resend_seconds if self._requested else None)
