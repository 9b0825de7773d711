"""Leases: at most one process acts on a mailbox or on the clock at a time.

A lease is a row with a token and an end, measured by the database's time. Whoever acts under a lease passes the token on
to its writes (:func:`holds`), so that a stale holder that wakes up can do no harm.
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
    """Who may act on ``name`` until when; ``beat_at`` shows the holder's last sign of life."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    token: Mapped[str | None]
    until: Mapped[datetime | None]
    beat_at: Mapped[datetime | None]


class LeaseHolder:
    """One holder's view of one lease. Not shared between threads."""

    def __init__(self, database: Database, name: str, *, ttl_seconds: float = 15.0) -> None:
        self._database = database
        self.name = name
        self.token = secrets.token_hex(16)
        self._ttl = timedelta(seconds=ttl_seconds)

    def acquire(self) -> bool:
        """Take or renew the lease; False when another holder has it."""
        return self._database.transaction(self._acquire)

    def release(self) -> None:
        """Give the lease up at once, so that another holder need not wait for its end."""
        self._database.transaction(self._release)

    def is_held(self, session: Session) -> bool:
        """Whether the lease is still ours; asked inside the writing transaction, it locks the row until the commit."""
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
    """Free every lease: for the one process that knows that all holders are dead."""
    session.execute(update(Lease).values(token=None, until=None))
