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
from tests.waiting import scale_budget

ROOT = Path(__file__).parents[2]
#: All modules with tables: a table of another module would be a difference.
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


def find_differences(database: Database) -> list[Any]:
    with database.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def read_schema(connection: Connection) -> dict[str, Any]:
    """Return the tables as the database reports them, with keys, constraints and indexes."""
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
    assert find_differences(empty) == []


def test_migrated_and_created_tables_are_equal_with_their_partial_indexes(empty: Database) -> None:
    migrations.upgrade(empty)
    with empty.engine.connect() as connection:
        migrated = read_schema(connection)
    with empty.engine.begin() as connection:
        Base.metadata.drop_all(connection)
    Base.metadata.create_all(empty.engine)
    with empty.engine.connect() as connection:
        created = read_schema(connection)
    assert migrated == created
    assert any(condition for table in created.values() for *_, condition in table["indexes"]), "partial indexes must be compared"


def test_migrating_again_changes_nothing(empty: Database) -> None:
    migrations.upgrade(empty)
    with empty.engine.connect() as connection:
        before = read_schema(connection)
    migrations.upgrade(empty)
    with empty.engine.connect() as connection:
        assert read_schema(connection) == before
    assert migrations.current_revision(empty) == migrations.required_revision()


def test_empty_database_is_refused_until_it_is_migrated(empty: Database) -> None:
    assert migrations.current_revision(empty) is None
    with pytest.raises(CasemillError) as refused:
        migrations.require_current_schema(empty)
    assert "casemill migrate" in refused.value.hint
    migrations.upgrade(empty)
    migrations.require_current_schema(empty)


def test_concurrent_migrations_all_succeed(empty: Database) -> None:
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
    errors = [process.communicate(timeout=scale_budget(60))[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert find_differences(empty) == []


def test_no_other_process_can_migrate_between_two_migrations(empty: Database) -> None:
    """A second process migrates whenever another transaction is about to begin."""
    begins = 0

    def migrate_in_between(_connection: Connection) -> None:
        nonlocal begins
        begins += 1
        if begins > 1:
            other = Database(empty.url.render_as_string(hide_password=False))
            migrations.upgrade(other)
            other.close()

    event.listen(empty.engine, "begin", migrate_in_between, insert=True)
    migrations.upgrade(empty)
    assert begins == 1
    assert find_differences(empty) == []


def test_second_migration_waits_for_the_first(empty: Database) -> None:
    other = Database(empty.url.render_as_string(hide_password=False))
    outcome: list[str | None] = []

    def upgrade_other() -> None:
        migrations.upgrade(other)
        outcome.append(migrations.current_revision(other))

    late = threading.Thread(target=upgrade_other)
    event.listen(empty.engine, "begin", lambda _connection: late.start())
    migrations.upgrade(empty)
    late.join(scale_budget(30))
    other.close()
    assert outcome == [migrations.required_revision()]


def test_downgrade_removes_every_table_and_upgrade_creates_them_again(empty: Database) -> None:
    migrations.upgrade(empty)
    _downgrade(empty)
    with empty.engine.connect() as connection:
        assert read_schema(connection) == {}
    migrations.upgrade(empty)
    assert find_differences(empty) == []


def test_ticket_numbers_are_never_reused(empty: Database) -> None:
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
