"""SQLite's checkpoints, taken beside the writers.

Left to itself SQLite copies the write-ahead log back within the commit that fills it, and all writers wait for that: a tenth of
a second for 16 MB. A passive checkpoint from a thread of its own hinders nobody (https://www.sqlite.org/wal.html, 3.1); what it
leaves for SQLite's own is little.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from core import disk

#: A page that changes often is copied once in this time, and each time costs a sync of the database file.
PAUSE_SECONDS = 0.25


class Checkpointer:
    """A thread that copies the log back while there are commits; :meth:`note` tells it of one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._committed = threading.Event()
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self) -> None:
        """Something was committed."""
        if self._committed.is_set():
            return
        with self._guard:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._loop, name="checkpoints", daemon=True)
                self._thread.start()
        self._committed.set()

    def stop(self) -> None:
        """End the thread and wait for it."""
        with self._guard:
            self._stopping.set()
            thread = self._thread
        self._committed.set()
        if thread is not None:
            thread.join(timeout=10)

    def _loop(self) -> None:
        while self._committed.wait() and not self._stopping.wait(PAUSE_SECONDS):
            self._committed.clear()
            self._copy()

    def _copy(self) -> None:
        """What is busy, full or gone now is found by a writer, who can say so."""
        try:
            with closing(self._engine.raw_connection()) as connection:  # in a transaction a checkpoint is refused
                connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
        except (sqlite3.Error, SQLAlchemyError) as error:
            disk.end_if_failed(getattr(error, "orig", error))
