"""Membership in a list of values that is passed as one parameter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, select, text

from core.database.bulk import insert_all, insert_with_ids, update_all
from core.database.in_lists import in_list
from core.database.session import Database
from core.leases import Lease
from outbox.models import OutboxFact

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)


@pytest.fixture
def filled(database: Database) -> Database:
    """A database with facts 1 to 9, and leases whose names have special characters."""
    facts = [{"kind": f"kind {number}", "payload": {}, "created_at": NOW, "due_at": NOW} for number in range(1, 10)]
    database.transaction(lambda session: insert_all(session, OutboxFact, facts))
    names = ["a", "it's", 'say "b"', "1", "žluť\\"]
    database.transaction(lambda session: insert_all(session, Lease, [{"name": name, "token": "t"} for name in names]))
    return database


def find(database: Database, column: Any, values: Any) -> set[Any]:
    with database.read() as session:
        return set(session.execute(select(column).where(in_list(column, values))).scalars())


@pytest.mark.parametrize("values", [[], [3], (2, 9, 77), {1, 2, 3, 4, 5}, [None, 4]])
def test_rows_are_found_by_a_list_of_numbers(filled: Database, values: Any) -> None:
    assert find(filled, OutboxFact.id, values) == set(values) & set(range(1, 10))


@pytest.mark.parametrize("name", ["a", "it's", 'say "b"', "1", "žluť\\"])
def test_texts_with_special_characters_are_found(filled: Database, name: str) -> None:
    assert find(filled, Lease.name, [name, "not there"]) == {name}


def test_number_and_text_are_not_confused(filled: Database) -> None:
    assert find(filled, Lease.name, ["1"]) == {"1"}
    assert find(filled, OutboxFact.id, [1]) == {1}


def test_statement_is_the_same_for_any_number_of_values(filled: Database) -> None:
    sent: list[str] = []
    event.listen(filled.engine, "before_cursor_execute", lambda *arguments: sent.append(str(arguments[2])))
    for count in (1, 2, 50):
        query = select(Lease).where(in_list(Lease.name, map(str, range(count))))
        filled.transaction(lambda session, query=query: session.execute(query).all())  # type: ignore[misc]
    assert len({text for text in sent if "FROM lease" in text}) == 1


@pytest.mark.parametrize("operation", ["select", "update"])
def test_index_is_used_for_few_of_some_thousand_rows(database: Database, operation: str) -> None:
    rows = [{"kind": f"kind {number}", "payload": {}, "created_at": NOW, "due_at": NOW} for number in range(3_000)]
    ids = database.transaction(lambda session: insert_with_ids(session, OutboxFact, rows))
    changes = [{"id": number, "attempts": 1} for number in ids[7:12]]
    sent: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: sent.append(arguments[2:4]))
    with database.write() as session:
        # Without statistics PostgreSQL does not know how large the table is.
        if not database.is_sqlite:
            session.execute(text("ANALYZE outbox_fact"))
        if operation == "select":
            session.execute(select(OutboxFact).where(in_list(OutboxFact.id, ids[7:12]))).all()
        else:
            update_all(session, OutboxFact, changes)
        statement, values = [one for one in sent if "outbox_fact" in one[0]][-1]
        explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
        one = values[0] if isinstance(values, list) else values
        plan = "\n".join(str(row) for row in session.connection().exec_driver_sql(explain + statement, one))
    index = "USING INTEGER PRIMARY KEY" if database.is_sqlite else "pk_outbox_fact"
    assert index in plan, plan
    with database.read() as session:
        changed = set(session.execute(select(OutboxFact.id).where(OutboxFact.attempts == 1)).scalars())
    assert changed == (set(ids[7:12]) if operation == "update" else set())
