"""Query plans of SQLite for the first page of a view: sorting a stage of a million tickets would take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import notify.models  # noqa: F401 - all tables are to be known
from core.database.session import Database
from core.database.types import Base
from tests.tickets.world import NOW
from tickets import queries

#: One person's open tickets are no more than their capacity, and what is due is found by its moments: those few are sorted.
SORTED = {"mine", "today", "overdue"}


@pytest.mark.parametrize("view", queries.VIEWS)
def test_views_of_many_tickets_read_their_first_page_without_sorting(view: str, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'casemill.db'}")
    Base.metadata.create_all(database.engine)
    steps: list[str] = []

    def note(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        steps.extend(row[3] for row in cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    with database.read() as session:
        event.listen(session.connection(), "before_cursor_execute", note)
        queries.list_tickets(session, view, NOW, person_id=1)
    database.close()
    assert steps
    assert any("TEMP B-TREE FOR ORDER BY" in step for step in steps) == (view in SORTED), steps
