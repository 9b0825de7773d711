"""SQLite's checkpoints, run in a thread beside the writers (docs/decisions/checkpoints.md).

By default SQLite copies the write-ahead log back within the commit that fills it, and all writers wait for that: a tenth of a
second for 16 MB. A passive checkpoint in a thread blocks no writer (https://www.sqlite.org/wal.html, 3.1), but it uses cores and
disk that the writers need as well, and a page that changes ten times is copied once if the copy comes after the tenth. So the
checkpoint waits until the writers are idle, for a limited time.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from core import disk

#: The writers count as idle after this long without a commit.
IDLE_SECONDS = 0.25
#: Under constant load the log is copied after this long. A thousand mails write 40 MB in that time, and their notices more.
MAX_WAIT_SECONDS = 2.0
#: A pass copies what was committed during the pass before, a fraction of that each time. Once everything is copied, the next
#: writer starts the log anew.
MAX_PASSES = 3


class Checkpointer:
    """A thread that copies the write-ahead log back after commits; each commit calls :meth:`notify_commit`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._committed = threading.Event()
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def notify_commit(self) -> None:
        """Record that a transaction was committed; start the thread at the first one."""
        if self._committed.is_set():
            return
        with self._guard:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._loop, name="checkpoints", daemon=True)
                self._thread.start()
        self._committed.set()

    def stop(self) -> None:
        """Stop the thread and wait for it, ten seconds at most."""
        with self._guard:
            self._stopping.set()
            thread = self._thread
        self._committed.set()
        if thread is not None:
            thread.join(timeout=10)

    def _loop(self) -> None:
        while self._committed.wait() and self._wait_until_idle():
            self._run_checkpoint()

    def _wait_until_idle(self) -> bool:
        """Wait until commits pause, :data:`MAX_WAIT_SECONDS` at most; return False at once when stopped."""
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while self._committed.is_set() and time.monotonic() < deadline:
            self._committed.clear()
            if self._stopping.wait(IDLE_SECONDS):
                return False
        self._committed.clear()
        return not self._stopping.is_set()

    def _run_checkpoint(self) -> None:
        # Errors are dropped, except those of a failed disk: a database that is busy, full or gone fails the next writer too,
        # and the writer reports it.
        try:
            # A raw connection, because SQLite refuses a checkpoint inside a transaction.
            with closing(self._engine.raw_connection()) as connection:
                for _ in range(MAX_PASSES):
                    _, logged, copied = connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    if logged == copied:
                        return
        except (sqlite3.Error, SQLAlchemyError) as error:
            disk.exit_on_disk_failure(getattr(error, "orig", error))
