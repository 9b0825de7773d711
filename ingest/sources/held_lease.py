"""A tenure: a lease kept alive from a second thread, so that one slow answer of a server does not cost it."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from core.database.session import Database
from core.errors import CasemillError
from core.leases import LeaseHolder

log = logging.getLogger("casemill.sources")


class LeaseLostError(CasemillError):
    """Another holder has the lease; whatever was being written is rolled back."""


class HeldLease:
    """A lease on ``name``: taken by :meth:`begin`, renewed every third of its span, given up at the end.

    ``held`` turns False when another holder took over. It is only a courtesy: :meth:`check` inside the writing
    transaction is what keeps a stale holder from doing harm.
    """

    def __init__(self, database: Database, name: str, *, seconds: float = 15.0) -> None:
        self._lease = LeaseHolder(database, name, ttl_seconds=seconds)
        self._pause = seconds / 3
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> bool:
        return self._thread is not None and not self._lost.is_set()

    def begin(self) -> bool:
        """Take the lease and keep it; False when another holder has it. Raises what the database raises."""
        if not self._lease.acquire():
            return False
        self._lost.clear()
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name=f"lease {self._lease.name}", daemon=True)
        self._thread.start()
        return True

    def end(self) -> None:
        """Give the lease up, so that another holder need not wait for its end. Never raises."""
        if self._thread is None:
            return
        self._ended.set()
        self._thread.join()
        self._thread = None
        try:
            self._lease.release()
        except Exception as error:  # it ends by itself in a moment
            log.info("lease not released", extra={"lease": self._lease.name, "error": type(error).__name__})

    def check(self, session: Session) -> None:
        """Raise :class:`LeaseLostError` unless the lease is still ours; locks its row until the commit."""
        if not self._lease.is_held(session):
            self._lost.set()
            raise LeaseLostError(f"the lease {self._lease.name} belongs to another process")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def _keep(self) -> None:
        while not self._ended.wait(self._pause):
            try:
                if not self._lease.acquire():
                    self._lost.set()
                    return
            except Exception as error:  # a database that is away may be back before the lease ends
                log.info("lease not renewed", extra={"lease": self._lease.name, "error": type(error).__name__})
