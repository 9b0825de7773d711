"""Starting the watchers: one thread for each mailbox and folder, begun again when it dies of what nobody expected."""

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
from ingest.sources.folder import FolderWatcher, Receipt
from ingest.sources.imap.watcher import MailboxWatcher, pause_after

log = logging.getLogger("casemill.sources")


class Watcher(Protocol):
    """Something that works until the stop event it was made with is set."""

    def run(self) -> None: ...


def watch(
    settings: Settings, database: Database, stop: threading.Event, receipt: Receipt, intray: HandoffQueue | None = None
) -> list[threading.Thread]:
    """Start a thread for each mailbox and folder of the settings; they end within seconds of ``stop``.

    ``receipt`` makes the receipt workbook of an item, ``intray`` is that of a pipeline in this process. One source's failure
    never stops another's.
    """
    makers: dict[str, Callable[[], Watcher]] = {}
    for name, mailbox in settings.mailboxes.items():
        makers[f"mailbox:{name}"] = lambda name=name, mailbox=mailbox: MailboxWatcher(  # type: ignore[misc]
            name, mailbox, database, settings.limits, stop, intray=intray
        )
    for name, folder in settings.folders.items():
        makers[f"folder:{name}"] = lambda name=name, folder=folder: FolderWatcher(  # type: ignore[misc]
            name, folder, database, settings.limits, stop, receipt
        )
    threads = [threading.Thread(target=keep, args=(name, make, stop), name=name, daemon=True) for name, make in makers.items()]
    for thread in threads:
        thread.start()
    return threads


def join(threads: Iterable[threading.Thread], seconds: float = 10.0) -> list[str]:
    """Wait for the threads to end after ``stop``; answers the names of those that did not within ``seconds`` in all."""
    end = time.monotonic() + seconds
    remaining = []
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            remaining.append(thread.name)
    return remaining


def keep(name: str, make: Callable[[], Watcher], stop: threading.Event) -> None:
    """Thread body: run a watcher, and a new one when it died, with growing pauses; a day without trouble forgives all."""
    deaths = 0
    while not stop.is_set():
        begun = time.monotonic()
        try:
            make().run()
        except Exception as error:
            deaths = 1 if time.monotonic() - begun > 86_400 else deaths + 1
            log.error("watcher died, will be started again", extra={"source": name, "error": type(error).__name__})
            stop.wait(pause_after(deaths, at_once=False, jitter=random.random()))  # noqa: S311 - not a secret
