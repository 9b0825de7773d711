"""Blobs: bytes stored once by content.

They are stored in the database, so that one commit and one backup cover them together with the rows that refer to them.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import LargeBinary, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.database.bulk import insert_ignore
from core.database.in_lists import encode_list, in_list_parameter
from core.database.types import Base, Transaction

#: Size of the cache of blobs that are about to be read.
MAX_CACHE_BYTES = 8 * 1024 * 1024
#: Larger blobs are read from the database.
MAX_CACHED_BLOB_BYTES = 256 * 1024


class Blob(Base):
    """Immutable bytes under the SHA-256 of their content (hex)."""

    __tablename__ = "blob"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


def digest(content: bytes) -> str:
    """Return the key of ``content``: its SHA-256 in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


class _ReadSoonCache:
    """Blobs that were stored a moment ago and will be read once: the pipeline parses next what a source has just stored.

    The key is a hash of the content, so an entry is correct even if the transaction that stored it was rolled back.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def add(self, contents: dict[str, bytes]) -> None:
        """Add ``contents`` and drop the oldest entries beyond :data:`MAX_CACHE_BYTES`."""
        with self._guard:
            for key, content in contents.items():
                if key not in self._contents and len(content) <= MAX_CACHED_BLOB_BYTES:
                    self._contents[key] = content
                    self._size += len(content)
            while self._size > MAX_CACHE_BYTES:
                self._size -= len(self._contents.popitem(last=False)[1])

    def pop(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return and remove the entries under ``keys``; keys without an entry are left out."""
        with self._guard:
            found = {key: self._contents.pop(key) for key in keys if key in self._contents}
            self._size -= sum(map(len, found.values()))
            return found


_read_soon_cache = _ReadSoonCache()


def put_all(session: Transaction, contents: Iterable[tuple[str, bytes]], now: datetime, *, read_soon: bool = False) -> None:
    """Store (sha256, content) pairs; blobs that exist already stay as they are.

    Rows are written in key order, because unsorted inserts of several workers deadlock on PostgreSQL. With ``read_soon`` the
    blobs are also cached for the next read. Only SQLite uses the cache: there one process both stores and reads.
    """
    unique = dict(contents)
    if read_soon and session.connection().dialect.name == "sqlite":
        _read_soon_cache.add(unique)
    rows = [
        {"sha256": key, "size": len(content), "content": content, "created_at": now} for key, content in sorted(unique.items())
    ]
    insert_ignore(session, Blob, rows)


def get(session: Session, sha256: str) -> bytes:
    """Return the bytes under ``sha256``. Raises ``NoResultFound`` when they were never stored."""
    return session.execute(select(Blob.content).where(Blob.sha256 == sha256)).scalar_one()


def get_all(session: Session, keys: Iterable[str]) -> dict[str, bytes]:
    """Return the bytes under each of ``keys``; unknown keys are missing from the result."""
    wanted = set(keys)
    found = _read_soon_cache.pop(wanted)
    return found | _read_all(session, sorted(wanted - set(found))) if len(found) < len(wanted) else found


def _read_all(session: Session, wanted: list[str]) -> dict[str, bytes]:
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        # Binary results: in text mode PostgreSQL sends bytes as hexadecimal, which doubles their size and costs both sides.
        with connection.connection.driver_connection.cursor(binary=True) as cursor:  # type: ignore[union-attr]
            return dict(cursor.execute("SELECT sha256, content FROM blob WHERE sha256 = ANY(%s)", [wanted]).fetchall())
    return {row.sha256: row.content for row in connection.execute(_CONTENTS, {"values": encode_list(wanted)})}


_CONTENTS = select(Blob.sha256, Blob.content).where(in_list_parameter(Blob.sha256))
