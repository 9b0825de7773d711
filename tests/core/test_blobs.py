"""Blobs are stored once by content."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import NoResultFound

from core import blobs, migrations
from core.blobs import Blob
from core.database.session import Database

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


def pair(content: bytes) -> tuple[str, bytes]:
    return blobs.digest(content), content


def test_blob_key_is_sha256_of_content() -> None:
    assert blobs.digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_blobs_are_read_as_they_were_stored(database: Database) -> None:
    contents = [b"", b"\x00\xff" * 100, bytes(range(256)), "é\N{GRINNING FACE}".encode()]
    database.transaction(lambda session: blobs.put_all(session, map(pair, contents), NOW))
    with database.read() as session:
        assert [blobs.get(session, blobs.digest(content)) for content in contents] == contents


def test_equal_bytes_are_stored_once(database: Database) -> None:
    database.transaction(lambda session: blobs.put_all(session, [pair(b"a"), pair(b"a")], NOW))
    database.transaction(lambda session: blobs.put_all(session, [pair(b"a"), pair(b"b")], NOW))
    with database.read() as session:
        assert session.execute(select(func.count()).select_from(Blob)).scalar_one() == 2


def test_storing_no_blobs_writes_nothing(database: Database) -> None:
    database.transaction(lambda session: blobs.put_all(session, [], NOW))


def test_unknown_blob_raises_alone_and_is_left_out_among_many(database: Database) -> None:
    database.transaction(lambda session: blobs.put_all(session, [pair(b"a")], NOW))
    with database.read() as session:
        with pytest.raises(NoResultFound):
            blobs.get(session, "0" * 64)
        assert blobs.get_all(session, [blobs.digest(b"a"), "0" * 64, blobs.digest(b"a")]) == {blobs.digest(b"a"): b"a"}


def queries_database(database: Database, keys: list[str]) -> bool:
    """Return whether reading ``keys`` executes a statement."""
    statements: list[object] = []

    def record(*arguments: object) -> None:
        statements.append(arguments)

    with database.read() as session:
        engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", record)
    with database.read() as session:
        assert sorted(blobs.get_all(session, keys)) == sorted(keys)
    event.remove(engine, "before_cursor_execute", record)
    return bool(statements)


def test_read_soon_blobs_are_cached_for_one_read(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrations.upgrade(database)
    small, large = [pair(b"soon 1"), pair(b"soon 2")], pair(b"s" * (blobs.MAX_CACHED_BLOB_BYTES + 1))
    database.transaction(lambda session: blobs.put_all(session, [*small, large], NOW, read_soon=True))
    keys = [key for key, _ in small]
    assert not queries_database(database, keys)
    assert queries_database(database, keys)
    assert queries_database(database, [large[0]])
    database.close()


def test_cache_drops_oldest_blobs_when_full(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrations.upgrade(database)
    many = [pair(number.to_bytes(4, "big") * (blobs.MAX_CACHED_BLOB_BYTES // 4)) for number in range(40)]
    for one in many:
        database.transaction(lambda session, one=one: blobs.put_all(session, [one], NOW, read_soon=True))  # type: ignore[misc]
    cached = blobs.MAX_CACHE_BYTES // blobs.MAX_CACHED_BLOB_BYTES
    assert not queries_database(database, [key for key, _ in many[-cached:]])
    assert queries_database(database, [many[-cached - 1][0]])
    database.close()


def test_postgresql_does_not_cache_blobs(postgres_url: str) -> None:
    database = Database(postgres_url)
    migrations.upgrade(database)
    database.transaction(lambda session: blobs.put_all(session, [pair(b"elsewhere")], NOW, read_soon=True))
    with database.write() as session:
        session.execute(text("DELETE FROM blob"))
    with database.read() as session:
        assert blobs.get_all(session, [blobs.digest(b"elsewhere")]) == {}
    database.close()


def test_writers_of_equal_blobs_in_different_orders_do_not_deadlock(database: Database) -> None:
    contents = [f"content {number}".encode() for number in range(60)]
    failures: list[BaseException] = []

    def write(order: list[bytes]) -> None:
        try:
            for start in range(0, len(order), 20):
                with database.write() as session:
                    blobs.put_all(session, map(pair, order[start : start + 20]), NOW)
        except BaseException as error:
            failures.append(error)

    orders = [contents, contents[::-1], contents[30:] + contents[:30], contents[::2] + contents[1::2]]
    threads = [threading.Thread(target=write, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.read() as session:
        assert session.execute(select(func.count()).select_from(Blob)).scalar_one() == 60


def test_postgresql_stores_blobs_without_compression(postgres_url: str) -> None:
    """Compression (pglz) took a third of PostgreSQL's time for a mail."""
    database = Database(postgres_url)
    migrations.upgrade(database)
    with database.read() as session:
        statement = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'blob'::regclass AND attname = 'content'"
        assert session.execute(text(statement)).scalar_one() in ("e", b"e")
    database.close()
