"""Claims: rows taken for work under a token until a moment, renewed while their holder lives."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

log = logging.getLogger("casemill.claims")

#: A dead holder's rows come back after this long; promise 4 of reliability.md allows 30 seconds for all of it.
SPAN = timedelta(seconds=20)
RENEW_SECONDS = 6.0


def new_token() -> str:
    """A token nobody else has."""
    return secrets.token_hex(16)


@contextmanager
def kept(renew: Callable[[], None]) -> Iterator[None]:
    """Call ``renew`` every few seconds, from another thread, for as long as the block runs."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(RENEW_SECONDS):
            try:
                renew()
            except Exception as error:
                log.warning("a claim could not be renewed", extra={"error": type(error).__name__})

    thread = threading.Thread(target=loop, name="claim-renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
