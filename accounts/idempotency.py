"""Idempotency keys: API answers are stored for a day, and a request that repeats a key gets the first answer again.

(The Idempotency-Key HTTP Header Field, draft-ietf-httpapi-idempotency-key-header.)
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ForeignKey, String, delete, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from accounts.api_tokens import ApiToken
from core import clock
from core.database.session import Database
from core.database.types import Base

RETENTION = timedelta(hours=24)


class ApiAnswer(Base):
    """The answer to a token under a key. ``request_hash`` is of method, path and body.

    ``status`` and ``body`` are written at the end of the transaction that inserted the row, so no other one sees them empty.
    """

    __tablename__ = "api_answer"

    token_id: Mapped[int] = mapped_column(ForeignKey(ApiToken.id), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(default=0)
    body: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(index=True)


def reserve_key(session: Session, token_id: int, key: str, request_hash: str, now: datetime) -> ApiAnswer | None:
    """Reserve a key for this transaction and return None, or return the answer stored under it.

    Waits for another transaction that has reserved the same key.
    """
    insert: Any = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgresql_insert
    row = {"token_id": token_id, "key": key, "request_hash": request_hash, "status": 0, "body": "", "created_at": now}
    reserved = insert(ApiAnswer.__table__).values(row).on_conflict_do_nothing().returning(ApiAnswer.key)
    if session.execute(reserved).first() is not None:
        return None
    return session.execute(select(ApiAnswer).where(ApiAnswer.token_id == token_id, ApiAnswer.key == key)).scalar_one()


def store_answer(session: Session, token_id: int, key: str, status: int, body: str) -> None:
    """Store the answer of this transaction under its key."""
    statement = update(ApiAnswer).where(ApiAnswer.token_id == token_id, ApiAnswer.key == key)
    session.execute(statement.values(status=status, body=body))


def delete_expired(database: Database) -> int:
    """Delete the answers older than :data:`RETENTION` and return how many."""

    def unit(session: Session) -> int:
        old = delete(ApiAnswer).where(ApiAnswer.created_at < clock.now() - RETENTION)
        return len(session.execute(old.returning(ApiAnswer.key)).all())

    return database.transaction(unit)
