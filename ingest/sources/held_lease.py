"""A lease that a second thread renews, so that one slow answer of a server does not lose it."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Self

from sqlalchemy.orm import Session

from core.database.session import Database
from core.errors import CasemillError
from core.leases import LeaseHolder

log = logging.getLogger("casemill.sources.lease")


class LeaseLostError(CasemillError):
    """Another process holds the lease; the transaction is rolled back."""


class HeldLease:
    """A lease on ``name``: acquired by :meth:`acquire`, renewed every third of its TTL, released by :meth:`release`.

    :attr:`is_held` turns False when another process has taken the lease over. It only saves useless work: :meth:`check`
    inside the writing transaction is what stops a process whose lease has expired from writing.
    """

    def __init__(self, database: Database, name: str, *, ttl_seconds: float = 15.0) -> None:
        self._lease = LeaseHolder(database, name, ttl_seconds=ttl_seconds)
        self._renewal_seconds = ttl_seconds / 3
        self._released = threading.Event()
        self._lost = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_held(self) -> bool:
        return self._thread is not None and not self._lost.is_set()

    def acquire(self) -> bool:
        """Acquire the lease and start to renew it; return False when another process holds it.

        Raises what the database raises.
        """
        if not self._lease.acquire():
            return False
        self._lost.clear()
        self._released.clear()
        self._thread = threading.Thread(target=self._renew_until_released, name=f"lease {self._lease.name}", daemon=True)
        self._thread.start()
        return True

    def release(self) -> None:
        """Release the lease, so that another process need not wait until it expires. Never raises."""
        if self._thread is None:
            return
        self._released.set()
        self._thread.join()
        self._thread = None
        try:
            self._lease.release()
        except Exception as error:
            # The lease expires by itself within its TTL.
            log.info("lease not released", extra={"lease": self._lease.name, "error": type(error).__name__})

    def check(self, session: Session) -> None:
        """Raise :class:`LeaseLostError` unless this process holds the lease. Locks its row until the commit."""
        if not self._lease.is_held(session):
            self._lost.set()
            raise LeaseLostError(f"another process holds the lease {self._lease.name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def _renew_until_released(self) -> None:
        while not self._released.wait(self._renewal_seconds):
            try:
                if not self._lease.acquire():
                    self._lost.set()
                    return
            except Exception as error:
                # The database may be available again before the lease expires.
                log.info("lease not renewed", extra={"lease": self._lease.name, "error": type(error).__name__})
