"""Inserts where a UNIQUE key decides."""

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


def test_rows_whose_key_exists_are_left_alone(database: Database) -> None:
    database.transaction(lambda session: insert_ignore(session, Lease, [{"name": "a", "token": "first"}]))
    rows = [{"name": "a", "token": "second"}, {"name": "b", "token": "second"}]
    database.transaction(lambda session: insert_ignore(session, Lease, rows))
    with database.read() as session:
        found = session.execute(select(Lease.name, Lease.token).order_by(Lease.name)).all()
    assert [tuple(row) for row in found] == [("a", "first"), ("b", "second")]


@pytest.mark.parametrize("count", [1, 2, 30])  # few go to PostgreSQL in another way than many
def test_it_is_told_how_many_rows_were_inserted(database: Database, count: int) -> None:
    def insert(*names: int) -> int:
        rows = [{"name": f"{name:03}", "token": "t"} for name in names]
        return database.transaction(lambda session: insert_ignore(session, Lease, rows))

    assert insert(*range(count)) == count
    assert insert(*range(count)) == 0
    assert insert(*range(count + 1)) == 1


def test_no_rows_are_no_statement(database: Database) -> None:
    sent: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: sent.append(str(arguments[2])))
    assert database.transaction(lambda session: insert_ignore(session, Lease, [])) == 0
    assert not [text for text in sent if "lease" in text]


def test_of_many_writers_of_one_key_the_first_decides(database: Database) -> None:
    gate = threading.Barrier(6)

    def write(token: str) -> None:
        gate.wait()
        database.transaction(lambda session: insert_ignore(session, Lease, [{"name": "a", "token": token}]))

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
    return database.transaction(lambda session: insert_with_ids(session, OutboxFact, facts(*kinds)))


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
        insert_with_ids(session, OutboxFact, facts("c"))
        session.execute(delete(OutboxFact).where(OutboxFact.id == first[0]))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.transaction(fails)
    number(database, "d")
    with database.read() as session:
        assert session.execute(select(OutboxFact.kind).order_by(OutboxFact.id)).scalars().all() == ["a", "b", "d"]


@pytest.mark.parametrize("count", [1, 3, 4, 50])
def test_many_rows_are_inserted_as_few_are(database: Database, count: int) -> None:
    rows = [{**row, "payload": {"text": f"it's “{n}” \\ \n €", "none": None}} for n, row in enumerate(facts(*"x" * count))]
    database.transaction(lambda session: insert_all(session, OutboxFact, rows))
    with database.read() as session:
        found = session.execute(select(OutboxFact).order_by(OutboxFact.id)).scalars().all()
    assert [(row.payload, row.due_at, row.attempts, row.done_at) for row in found] == [
        (row["payload"], NOW, 0, None) for row in rows
    ]


@pytest.mark.parametrize("odd", ["\ud800", "a\0b"])
def test_what_json_cannot_carry_goes_the_drivers_way(database: Database, odd: str) -> None:
    rows = [{**row, "payload": {"text": odd}} for row in facts(*"abcdef")]
    database.transaction(lambda session: insert_all(session, OutboxFact, rows))
    with database.read() as session:
        assert {row.payload["text"] for row in session.execute(select(OutboxFact)).scalars()} == {odd}


def test_a_key_that_is_there_is_an_error_where_all_are_to_be_inserted(database: Database) -> None:
    rows = [{"name": name, "token": "t"} for name in "abcdef"]
    database.transaction(lambda session: insert_all(session, Lease, rows))
    with pytest.raises(IntegrityError):
        database.transaction(lambda session: insert_all(session, Lease, rows))


@pytest.mark.parametrize("count", [2, 20])
def test_rows_are_updated_by_their_id_and_no_other_is(database: Database, count: int) -> None:
    ids = number(database, *"x" * (count + 1))
    later = NOW + timedelta(days=1)
    rows = [{"id": one, "attempts": one + 10, "error": None if one % 2 else "Error", "due_at": later} for one in ids[:count]]
    database.transaction(lambda session: update_all(session, OutboxFact, rows))
    with database.read() as session:
        found = {row.id: row for row in session.execute(select(OutboxFact)).scalars()}
    for row in rows:
        assert [getattr(found[row["id"]], name) for name in row] == list(row.values())
    assert (found[ids[-1]].attempts, found[ids[-1]].due_at) == (0, NOW)


def test_nothing_to_update_is_no_statement(database: Database) -> None:
    database.transaction(lambda session: update_all(session, OutboxFact, []))
