"""Blobs: bytes kept once by content. They live in the database, so that one commit and one backup cover all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import LargeBinary, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.db import Base
from core.sets import among_given, listed
from core.upserts import insert_ignore


class Blob(Base):
    """Immutable bytes under the SHA-256 of their content (hex)."""

    __tablename__ = "blob"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


def digest(content: bytes) -> str:
    """The key of ``content``: its SHA-256 in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def put_all(session: Session, contents: Iterable[tuple[str, bytes]], now: datetime) -> None:
    """Store (sha256, content) pairs; those already there are left alone. Written in key order to avoid deadlocks."""
    unique = dict(contents)
    rows = [
        {"sha256": key, "size": len(content), "content": content, "created_at": now} for key, content in sorted(unique.items())
    ]
    insert_ignore(session, Blob, rows)


def get(session: Session, sha256: str) -> bytes:
    """The bytes under ``sha256``; raises ``NoResultFound`` when they were never stored."""
    return session.execute(select(Blob.content).where(Blob.sha256 == sha256)).scalar_one()


def get_all(session: Session, keys: Iterable[str]) -> dict[str, bytes]:
    """The bytes under each of ``keys``; unknown keys are missing from the answer."""
    wanted = sorted(set(keys))
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        # Asked for in the usual way bytes come as hexadecimal text, twice as long, made there and read here.
        with connection.connection.driver_connection.cursor(binary=True) as cursor:  # type: ignore[union-attr]
            return dict(cursor.execute("SELECT sha256, content FROM blob WHERE sha256 = ANY(%s)", [wanted]).fetchall())
    return {row.sha256: row.content for row in connection.execute(_CONTENTS, {"listed": listed(wanted)})}


_CONTENTS = select(Blob.sha256, Blob.content).where(among_given(Blob.sha256))
