"""Models and migrations agree on both databases, and migrating is safe to repeat."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event, inspect, text

import accounts.api_tokens
import accounts.idempotency
import accounts.models
import accounts.suppressions
import core.blobs
import core.leases
import ingest.ledger.models
import notify.models
import outbox.models
import surveys.models
import tickets.message_templates
import tickets.models
from core import migrations
from core.database.session import Database
from core.database.types import Base
from core.errors import CasemillError

ROOT = Path(__file__).parents[2]
#: Whose tables are compared: a table of another module would be a difference.
MODELS = (
    accounts.idempotency, accounts.api_tokens, accounts.models, accounts.suppressions,
    core.blobs, core.leases, ingest.ledger.models, notify.models, outbox.models, surveys.models,
    tickets.message_templates, tickets.models,
)  # fmt: skip


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def differences(database: Database) -> list[Any]:
    with database.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def schema(connection: Connection) -> dict[str, Any]:
    """Tables as the database sees them, with everything that constrains them."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": {
                column["name"]: (str(column["type"]), column["nullable"], column.get("primary_key", 0))
                for column in inspector.get_columns(table)
            },
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(tuple(one["column_names"]) for one in inspector.get_unique_constraints(table)),
            "foreign": sorted(
                (tuple(one["constrained_columns"]), one["referred_table"]) for one in inspector.get_foreign_keys(table)
            ),
            "indexes": sorted(
                (str(one["name"]), tuple(one["column_names"]), bool(one["unique"]), _condition(one))
                for one in inspector.get_indexes(table)
            ),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def _condition(index: Any) -> str:
    options = index.get("dialect_options", {})
    return str(options.get("sqlite_where", options.get("postgresql_where", "")))


def test_models_and_migrations_agree(empty: Database) -> None:
    migrations.upgrade(empty)
    assert differences(empty) == []


def test_migrated_and_made_tables_are_the_same_with_their_partial_indexes(empty: Database) -> None:
    migrations.upgrade(empty)
    with empty.engine.connect() as connection:
        migrated = schema(connection)
    with empty.engine.begin() as connection:
        Base.metadata.drop_all(connection)
    Base.metadata.create_all(empty.engine)
    with empty.engine.connect() as connection:
        made = schema(connection)
    assert migrated == made
    assert any(condition for table in made.values() for *_, condition in table["indexes"]), "partial indexes are seen"


def test_migrating_again_changes_nothing(empty: Database) -> None:
    migrations.upgrade(empty)
    with empty.engine.connect() as connection:
        before = schema(connection)
    migrations.upgrade(empty)
    with empty.engine.connect() as connection:
        assert schema(connection) == before
    assert migrations.current_revision(empty) == migrations.required_revision()


def test_an_empty_database_is_told_to_migrate_and_a_migrated_one_passes(empty: Database) -> None:
    assert migrations.current_revision(empty) is None
    with pytest.raises(CasemillError) as refused:
        migrations.require_current_schema(empty)
    assert "casemill migrate" in refused.value.hint
    migrations.upgrade(empty)
    migrations.require_current_schema(empty)


def test_processes_that_migrate_at_once_all_succeed(empty: Database) -> None:
    url = empty.url.render_as_string(hide_password=False)
    code = (
        "import sys; from core import migrations; from core.database.session import Database\n"
        "database = Database(sys.argv[1]); sys.stdin.readline(); migrations.upgrade(database); database.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, url], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert differences(empty) == []


def test_another_process_finds_no_gap_between_two_migrations(empty: Database) -> None:
    """It may run whenever a transaction is about to begin, were there more than one."""
    begins = 0

    def slip_in(_connection: Connection) -> None:
        nonlocal begins
        begins += 1
        if begins > 1:
            other = Database(empty.url.render_as_string(hide_password=False))
            migrations.upgrade(other)
            other.close()

    event.listen(empty.engine, "begin", slip_in, insert=True)
    migrations.upgrade(empty)
    assert begins == 1
    assert differences(empty) == []


def test_who_comes_while_another_migrates_waits_for_it(empty: Database) -> None:
    other = Database(empty.url.render_as_string(hide_password=False))
    outcome: list[str | None] = []

    def come() -> None:
        migrations.upgrade(other)
        outcome.append(migrations.current_revision(other))

    late = threading.Thread(target=come)
    event.listen(empty.engine, "begin", lambda _connection: late.start())
    migrations.upgrade(empty)
    late.join(30)
    other.close()
    assert outcome == [migrations.required_revision()]


def test_the_way_back_removes_every_table_and_the_way_forth_makes_them_again(empty: Database) -> None:
    migrations.upgrade(empty)
    _downgrade(empty)
    with empty.engine.connect() as connection:
        assert schema(connection) == {}
    migrations.upgrade(empty)
    assert differences(empty) == []


def test_ticket_numbers_are_never_handed_out_again(empty: Database) -> None:
    migrations.upgrade(empty)
    columns = "name, pipeline, stage, type, source, description, category, issue, issue_detail, preferred_contact, missing, "
    columns += "on_company_timeline, creation_notice, opening, opened_at, created_at, updated_at, version"
    values = "'', '', 1, '', '', '', '', '', '', '', '[]', TRUE, 'pending', 1, :now, :now, :now, 1"
    ids = []
    for _ in range(2):
        with empty.write() as session:
            statement = text(f"INSERT INTO ticket ({columns}) VALUES ({values}) RETURNING id")
            ids.append(session.execute(statement, {"now": "2026-01-01 00:00:00"}).scalar_one())
        with empty.write() as session:
            session.execute(text("DELETE FROM ticket"))
    assert ids == [1, 2]


def _downgrade(database: Database) -> None:
    with database.engine.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
