"""Answers given to programs, kept for a day: whoever asks again with the same key gets the first one, and nothing is done twice.

(The Idempotency-Key HTTP Header Field, draft-ietf-httpapi-idempotency-key-header.)
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ForeignKey, String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from core import clock
from core.db import Base, Database
from core.upserts import insert_ignore

KEPT = timedelta(hours=24)


class ApiAnswer(Base):
    """What a token was answered under a key. ``request_hash`` is of method, path and body; ``status`` 0 while it is worked on."""

    __tablename__ = "api_answer"

    token_id: Mapped[int] = mapped_column(ForeignKey("api_token.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    holder: Mapped[str] = mapped_column(String(32))
    status: Mapped[int] = mapped_column(default=0)
    body: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(index=True)


def begin(session: Session, token_id: int, key: str, request_hash: str, holder: str, now: datetime) -> ApiAnswer | None:
    """Take the key for this unit, or the answer that was given under it. Another unit with the same key is waited for.

    ``holder`` is a random word of the unit: it tells its own row from one that was there.
    """
    row: dict[str, Any] = {
        "token_id": token_id, "key": key, "request_hash": request_hash, "holder": holder, "created_at": now,
    }  # fmt: skip
    insert_ignore(session, ApiAnswer, [row])
    found = session.execute(select(ApiAnswer).where(ApiAnswer.token_id == token_id, ApiAnswer.key == key)).scalar_one()
    return None if found.holder == holder else found


def keep(session: Session, token_id: int, key: str, status: int, body: str) -> None:
    """Keep the answer of this unit."""
    statement = update(ApiAnswer).where(ApiAnswer.token_id == token_id, ApiAnswer.key == key)
    session.execute(statement.values(status=status, body=body))


def forget(database: Database) -> int:
    """Delete answers older than a day; returns how many."""

    def unit(session: Session) -> int:
        old = delete(ApiAnswer).where(ApiAnswer.created_at < clock.now() - KEPT)
        return len(session.execute(old.returning(ApiAnswer.key)).all())

    return database.run(unit)
