"""Inserts where a UNIQUE key decides."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, func, select
from sqlalchemy.orm import Session

from core.db import Database
from core.leases import Lease
from core.upserts import insert_ignore, insert_numbered
from outbox.models import OutboxFact


def test_rows_whose_key_exists_are_left_alone(database: Database) -> None:
    database.run(lambda session: insert_ignore(session, Lease, [{"name": "a", "token": "first"}]))
    rows = [{"name": "a", "token": "second"}, {"name": "b", "token": "second"}]
    database.run(lambda session: insert_ignore(session, Lease, rows))
    with database.read() as session:
        found = session.execute(select(Lease.name, Lease.token).order_by(Lease.name)).all()
    assert [tuple(row) for row in found] == [("a", "first"), ("b", "second")]


def test_no_rows_are_no_statement(database: Database) -> None:
    database.run(lambda session: insert_ignore(session, Lease, []))


def test_of_many_writers_of_one_key_the_first_decides(database: Database) -> None:
    gate = threading.Barrier(6)

    def write(token: str) -> None:
        gate.wait()
        database.run(lambda session: insert_ignore(session, Lease, [{"name": "a", "token": token}]))

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.execute(select(func.count()).select_from(Lease)).scalar_one() == 1


NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


def facts(*kinds: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "payload": {}, "created_at": NOW, "due_at": NOW} for kind in kinds]


def number(database: Database, *kinds: str) -> list[int]:
    return database.run(lambda session: insert_numbered(session, OutboxFact, facts(*kinds)))


def test_ids_come_back_in_the_order_given(database: Database) -> None:
    kinds = [f"kind {one}" for one in range(300)]
    ids = number(database, *kinds)
    assert ids == sorted(ids) and len(set(ids)) == 300
    with database.read() as session:
        found = {row.id: row.kind for row in session.execute(select(OutboxFact.id, OutboxFact.kind))}
    assert [found[one] for one in ids] == kinds
    assert number(database, "next")[0] > ids[-1]


def test_nothing_to_number_is_no_statement(database: Database) -> None:
    assert number(database) == []


def test_a_numbered_batch_on_sqlite_is_a_few_statements(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    OutboxFact.metadata.create_all(database.engine, tables=[OutboxFact.metadata.tables["outbox_fact"]])
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    number(database, *map(str, range(100)))
    database.close()
    assert len(statements) <= 3


def test_writers_at_once_get_numbers_of_their_own(database: Database) -> None:
    ids: list[int] = []
    gate = threading.Barrier(4)

    def write() -> None:
        gate.wait()
        for _ in range(5):
            ids.extend(number(database, *map(str, range(10))))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == len(set(ids)) == 200


def test_a_unit_that_is_rolled_back_leaves_its_rows_to_nobody(database: Database) -> None:
    first = number(database, "a", "b")

    def fails(session: Session) -> None:
        insert_numbered(session, OutboxFact, facts("c"))
        session.execute(delete(OutboxFact).where(OutboxFact.id == first[0]))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.run(fails)
    number(database, "d")
    with database.read() as session:
        assert session.execute(select(OutboxFact.kind).order_by(OutboxFact.id)).scalars().all() == ["a", "b", "d"]
