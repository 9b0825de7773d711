"""Bulk inserts and updates, which treat few and many rows alike on both databases."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, event, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.database.bulk import insert_all, insert_ignore, insert_with_ids, update_all
from core.database.session import Database
from core.leases import Lease
from outbox.models import OutboxFact


def test_rows_whose_key_exists_are_skipped(database: Database) -> None:
    database.transaction(lambda session: insert_ignore(session, Lease, [{"name": "a", "token": "first"}]))
    rows = [{"name": "a", "token": "second"}, {"name": "b", "token": "second"}]
    database.transaction(lambda session: insert_ignore(session, Lease, rows))
    with database.read() as session:
        found = session.execute(select(Lease.name, Lease.token).order_by(Lease.name)).all()
    assert [tuple(row) for row in found] == [("a", "first"), ("b", "second")]


# Few rows are sent to PostgreSQL in another way than many.
@pytest.mark.parametrize("count", [1, 2, 30])
def test_insert_ignore_returns_number_of_inserted_rows(database: Database, count: int) -> None:
    def insert(*names: int) -> int:
        rows = [{"name": f"{name:03}", "token": "t"} for name in names]
        return database.transaction(lambda session: insert_ignore(session, Lease, rows))

    assert insert(*range(count)) == count
    assert insert(*range(count)) == 0
    assert insert(*range(count + 1)) == 1


def test_inserting_no_rows_executes_no_statement(database: Database) -> None:
    sent: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: sent.append(str(arguments[2])))
    assert database.transaction(lambda session: insert_ignore(session, Lease, [])) == 0
    assert not [text for text in sent if "lease" in text]


def test_first_of_many_writers_of_one_key_wins(database: Database) -> None:
    start = threading.Barrier(6)

    def write(token: str) -> None:
        start.wait()
        database.transaction(lambda session: insert_ignore(session, Lease, [{"name": "a", "token": token}]))

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.execute(select(func.count()).select_from(Lease)).scalar_one() == 1


NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


def make_rows(*kinds: str) -> list[dict[str, Any]]:
    return [{"kind": kind, "payload": {}, "created_at": NOW, "due_at": NOW} for kind in kinds]


def insert_facts(database: Database, *kinds: str) -> list[int]:
    return database.transaction(lambda session: insert_with_ids(session, OutboxFact, make_rows(*kinds)))


def test_ids_are_returned_in_the_order_of_the_rows(database: Database) -> None:
    kinds = [f"kind {one}" for one in range(300)]
    ids = insert_facts(database, *kinds)
    assert ids == sorted(ids) and len(set(ids)) == 300
    with database.read() as session:
        found = {row.id: row.kind for row in session.execute(select(OutboxFact.id, OutboxFact.kind))}
    assert [found[one] for one in ids] == kinds
    assert insert_facts(database, "next")[0] > ids[-1]


def test_inserting_no_rows_with_ids_returns_no_ids(database: Database) -> None:
    assert insert_facts(database) == []


def test_batch_with_ids_takes_a_few_statements_on_sqlite(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    OutboxFact.metadata.create_all(database.engine, tables=[OutboxFact.metadata.tables["outbox_fact"]])
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    insert_facts(database, *map(str, range(100)))
    database.close()
    assert len(statements) <= 3


def test_concurrent_writers_get_distinct_ids(database: Database) -> None:
    ids: list[int] = []
    start = threading.Barrier(4)

    def write() -> None:
        start.wait()
        for _ in range(5):
            ids.extend(insert_facts(database, *map(str, range(10))))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == len(set(ids)) == 200


def test_rolled_back_rows_leave_no_ids_to_later_rows(database: Database) -> None:
    first = insert_facts(database, "a", "b")

    def unit(session: Session) -> None:
        insert_with_ids(session, OutboxFact, make_rows("c"))
        session.execute(delete(OutboxFact).where(OutboxFact.id == first[0]))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.transaction(unit)
    insert_facts(database, "d")
    with database.read() as session:
        assert session.execute(select(OutboxFact.kind).order_by(OutboxFact.id)).scalars().all() == ["a", "b", "d"]


@pytest.mark.parametrize("count", [1, 3, 4, 50])
def test_few_and_many_rows_are_inserted_alike(database: Database, count: int) -> None:
    rows = [{**row, "payload": {"text": f"it's “{n}” \\ \n €", "none": None}} for n, row in enumerate(make_rows(*"x" * count))]
    database.transaction(lambda session: insert_all(session, OutboxFact, rows))
    with database.read() as session:
        found = session.execute(select(OutboxFact).order_by(OutboxFact.id)).scalars().all()
    assert [(row.payload, row.due_at, row.attempts, row.done_at) for row in found] == [
        (row["payload"], NOW, 0, None) for row in rows
    ]


@pytest.mark.parametrize("odd", ["\ud800", "a\0b"])
def test_values_that_json_cannot_carry_are_inserted_by_the_driver(database: Database, odd: str) -> None:
    rows = [{**row, "payload": {"text": odd}} for row in make_rows(*"abcdef")]
    database.transaction(lambda session: insert_all(session, OutboxFact, rows))
    with database.read() as session:
        assert {row.payload["text"] for row in session.execute(select(OutboxFact)).scalars()} == {odd}


def test_existing_key_fails_insert_all(database: Database) -> None:
    rows = [{"name": name, "token": "t"} for name in "abcdef"]
    database.transaction(lambda session: insert_all(session, Lease, rows))
    with pytest.raises(IntegrityError):
        database.transaction(lambda session: insert_all(session, Lease, rows))


@pytest.mark.parametrize("count", [2, 20])
def test_only_rows_with_the_given_ids_are_updated(database: Database, count: int) -> None:
    ids = insert_facts(database, *"x" * (count + 1))
    later = NOW + timedelta(days=1)
    rows = [{"id": one, "attempts": one + 10, "error": None if one % 2 else "Error", "due_at": later} for one in ids[:count]]
    database.transaction(lambda session: update_all(session, OutboxFact, rows))
    with database.read() as session:
        found = {row.id: row for row in session.execute(select(OutboxFact)).scalars()}
    for row in rows:
        assert [getattr(found[row["id"]], name) for name in row] == list(row.values())
    assert (found[ids[-1]].attempts, found[ids[-1]].due_at) == (0, NOW)


def test_updating_no_rows_executes_no_statement(database: Database) -> None:
    database.transaction(lambda session: update_all(session, OutboxFact, []))
