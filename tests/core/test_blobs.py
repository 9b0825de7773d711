"""Blobs are kept once by content."""

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


def test_the_key_of_a_blob_is_its_sha256() -> None:
    assert blobs.digest(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_bytes_come_back_as_they_were(database: Database) -> None:
    contents = [b"", b"\x00\xff" * 100, bytes(range(256)), "é\N{GRINNING FACE}".encode()]
    database.transaction(lambda session: blobs.put_all(session, map(pair, contents), NOW))
    with database.read() as session:
        assert [blobs.get(session, blobs.digest(content)) for content in contents] == contents


def test_the_same_bytes_are_stored_once(database: Database) -> None:
    database.transaction(lambda session: blobs.put_all(session, [pair(b"a"), pair(b"a")], NOW))
    database.transaction(lambda session: blobs.put_all(session, [pair(b"a"), pair(b"b")], NOW))
    with database.read() as session:
        assert session.execute(select(func.count()).select_from(Blob)).scalar_one() == 2


def test_storing_nothing_is_nothing(database: Database) -> None:
    database.transaction(lambda session: blobs.put_all(session, [], NOW))


def test_an_unknown_blob_is_an_error_alone_and_missing_among_many(database: Database) -> None:
    database.transaction(lambda session: blobs.put_all(session, [pair(b"a")], NOW))
    with database.read() as session:
        with pytest.raises(NoResultFound):
            blobs.get(session, "0" * 64)
        assert blobs.get_all(session, [blobs.digest(b"a"), "0" * 64, blobs.digest(b"a")]) == {blobs.digest(b"a"): b"a"}


def reads(database: Database, keys: list[str]) -> bool:
    """Whether the bytes under ``keys`` are asked of the database."""
    asked: list[object] = []

    def note(*given: object) -> None:
        asked.append(given)

    with database.read() as session:
        engine = session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    with database.read() as session:
        assert sorted(blobs.get_all(session, keys)) == sorted(keys)
    event.remove(engine, "before_cursor_execute", note)
    return bool(asked)


def test_what_is_read_soon_is_kept_for_one_reading(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrations.upgrade(database)
    small, large = [pair(b"soon 1"), pair(b"soon 2")], pair(b"s" * (blobs.MAX_CACHED_BLOB_BYTES + 1))
    database.transaction(lambda session: blobs.put_all(session, [*small, large], NOW, read_soon=True))
    keys = [key for key, _ in small]
    assert not reads(database, keys)
    assert reads(database, keys)
    assert reads(database, [large[0]])
    database.close()


def test_what_is_kept_makes_room_for_what_comes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    migrations.upgrade(database)
    many = [pair(number.to_bytes(4, "big") * (blobs.MAX_CACHED_BLOB_BYTES // 4)) for number in range(40)]
    for one in many:
        database.transaction(lambda session, one=one: blobs.put_all(session, [one], NOW, read_soon=True))  # type: ignore[misc]
    kept = blobs.MAX_CACHE_BYTES // blobs.MAX_CACHED_BLOB_BYTES
    assert not reads(database, [key for key, _ in many[-kept:]])
    assert reads(database, [many[-kept - 1][0]])
    database.close()


def test_on_a_server_nothing_is_kept(postgres_url: str) -> None:
    database = Database(postgres_url)
    migrations.upgrade(database)
    database.transaction(lambda session: blobs.put_all(session, [pair(b"elsewhere")], NOW, read_soon=True))
    with database.write() as session:
        session.execute(text("DELETE FROM blob"))
    with database.read() as session:
        assert blobs.get_all(session, [blobs.digest(b"elsewhere")]) == {}
    database.close()


def test_writers_of_the_same_blobs_in_different_orders_do_not_deadlock(database: Database) -> None:
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


def test_blobs_are_kept_as_they_came_on_postgresql(postgres_url: str) -> None:
    """Its own compression (pglz) took a third of its time for a mail."""
    database = Database(postgres_url)
    migrations.upgrade(database)
    with database.read() as session:
        statement = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'blob'::regclass AND attname = 'content'"
        assert session.execute(text(statement)).scalar_one() in ("e", b"e")
    database.close()
