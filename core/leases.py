"""Leases: at most one process at a time acts on a mailbox or runs the scheduler.

A lease is a row with a token and an expiry by the database's clock. A holder checks the lease inside each transaction that
writes (:meth:`LeaseHolder.is_held`), so that a stale holder that wakes up writes nothing.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.database.session import Database
from core.database.types import Base


class Lease(Base):
    """Who may act on ``name`` until when; ``beat_at`` is when the holder last renewed the lease."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str | None]
    until: Mapped[datetime | None]
    beat_at: Mapped[datetime | None]


class LeaseHolder:
    """One holder of one lease. Not safe to share between threads."""

    def __init__(self, database: Database, name: str, *, ttl_seconds: float = 15.0) -> None:
        self._database = database
        self.name = name
        self.token = secrets.token_hex(16)
        self._ttl = timedelta(seconds=ttl_seconds)

    def acquire(self) -> bool:
        """Acquire or renew the lease; return False when another holder has it."""
        return self._database.transaction(self._acquire)

    def release(self) -> None:
        """Release the lease now, so that another holder need not wait until it expires."""
        self._database.transaction(self._release)

    def is_held(self, session: Session) -> bool:
        """Return whether this holder still has the lease.

        Call it inside the transaction that writes: it locks the row, so the lease cannot change hands before the commit.
        """
        ours = Lease.name == self.name, Lease.token == self.token, Lease.until > self._database.now_expression()
        return session.connection().execute(select(Lease.name).where(*ours).with_for_update()).first() is not None

    def _acquire(self, session: Session) -> bool:
        insert = sqlite_insert if self._database.is_sqlite else postgresql_insert
        session.execute(insert(Lease).values(name=self.name).on_conflict_do_nothing())
        now = self._database.now(session)
        free = or_(Lease.token.is_(None), Lease.until <= now, Lease.token == self.token)
        statement = update(Lease).where(Lease.name == self.name, free)
        values = {"token": self.token, "until": now + self._ttl, "beat_at": now}
        return session.execute(statement.values(values).returning(Lease.name)).first() is not None

    def _release(self, session: Session) -> None:
        session.execute(update(Lease).where(Lease.name == self.name, Lease.token == self.token).values(token=None, until=None))


def expire_all(session: Session) -> None:
    """Release every lease. Only for a process that knows that all holders are dead."""
    session.execute(update(Lease).values(token=None, until=None))
