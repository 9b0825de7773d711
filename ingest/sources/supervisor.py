"""Start the watchers: one thread for each mailbox and folder, restarted when an unexpected error ends it."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from core.database.session import Database
from core.settings import Settings
from ingest.ledger.handoff import HandoffQueue
from ingest.ledger.types import Source
from ingest.sources.folder import FolderWatcher, ReceiptMaker
from ingest.sources.imap.watcher import MailboxWatcher, pause_after

log = logging.getLogger("casemill.sources.supervisor")

#: A watcher that has run for so long without an error is restarted with the shortest pause again.
RESET_SECONDS = 86_400


class Watcher(Protocol):
    """Works until the stop event it was made with is set."""

    def run(self) -> None: ...


def start_watchers(
    settings: Settings,
    database: Database,
    stop: threading.Event,
    make_receipt: ReceiptMaker,
    handoff: HandoffQueue | None = None,
) -> list[threading.Thread]:
    """Start a thread for each configured mailbox and folder; the threads end within seconds of ``stop``.

    ``make_receipt`` makes the receipt workbook of an item. ``handoff`` is the queue of a pipeline in the same process.
    A failure of one source does not affect the others.
    """
    makers: dict[str, Callable[[], Watcher]] = {}
    for name, mailbox in settings.mailboxes.items():
        makers[str(Source("mailbox", name))] = lambda name=name, mailbox=mailbox: MailboxWatcher(  # type: ignore[misc]
            name, mailbox, database, settings.limits, stop, handoff=handoff
        )
    for name, folder in settings.folders.items():
        makers[str(Source("folder", name))] = lambda name=name, folder=folder: FolderWatcher(  # type: ignore[misc]
            name, folder, database, settings.limits, stop, make_receipt
        )
    threads = [
        threading.Thread(target=run_watcher, args=(name, make, stop), name=name, daemon=True) for name, make in makers.items()
    ]
    for thread in threads:
        thread.start()
    return threads


def join_watchers(threads: Iterable[threading.Thread], seconds: float = 10.0) -> list[str]:
    """Wait until the threads have ended; return the names of those that run longer than ``seconds`` in all."""
    deadline = time.monotonic() + seconds
    remaining = []
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            remaining.append(thread.name)
    return remaining


def run_watcher(name: str, make: Callable[[], Watcher], stop: threading.Event) -> None:
    """Run a watcher until ``stop`` (a thread's target). After an unexpected error, pause and run a new one.

    The pauses grow with each crash in a row.
    """
    crashes = 0
    while not stop.is_set():
        started_at = time.monotonic()
        try:
            make().run()
        except Exception as error:
            crashes = 1 if time.monotonic() - started_at > RESET_SECONDS else crashes + 1
            log.error("watcher crashed, restarting", extra={"source": name, "error": type(error).__name__})
            stop.wait(pause_after(crashes, at_once=False, jitter=random.random()))  # noqa: S311 - not a secret
