"""SQLite's checkpoints, taken beside the writers.

Left to itself SQLite copies the write-ahead log back within the commit that fills it, and all writers wait for that: a tenth of
a second for 16 MB. A passive checkpoint from a thread of its own hinders nobody (https://www.sqlite.org/wal.html, 3.1), but it
takes from the cores and the disk that the writers want as well, and a page that changes ten times is copied once if the copying
waits for the tenth. So it waits until the writers rest, and not for ever.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from core import disk

#: The writers rest when so long nothing was committed.
IDLE_SECONDS = 0.25
#: Who never rests has the log copied after so long. A thousand mails write 40 MB in it, and their notices more.
MAX_WAIT_SECONDS = 2.0
#: What is committed while the log is copied is copied after it, so that a writer finds everything done and begins the log anew:
#: each time it is a fraction of what was before.
MAX_PASSES = 3


class Checkpointer:
    """A thread that copies the log back while there are commits; :meth:`note` tells it of one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._committed = threading.Event()
        self._stopping = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    def notify_commit(self) -> None:
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
        while self._committed.wait() and self._comes_to_rest():
            self._copy()

    def _comes_to_rest(self) -> bool:
        """Wait until nobody commits, or for as long as is allowed; False at once when stopped."""
        ends = time.monotonic() + MAX_WAIT_SECONDS
        while self._committed.is_set() and time.monotonic() < ends:
            self._committed.clear()
            if self._stopping.wait(IDLE_SECONDS):
                return False
        self._committed.clear()
        return not self._stopping.is_set()

    def _copy(self) -> None:
        """What is busy, full or gone now is found by a writer, who can say so."""
        try:
            with closing(self._engine.raw_connection()) as connection:  # in a transaction a checkpoint is refused
                for _ in range(MAX_PASSES):
                    _, logged, copied = connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    if logged == copied:
                        return
        except (sqlite3.Error, SQLAlchemyError) as error:
            disk.exit_on_disk_failure(getattr(error, "orig", error))
