"""Fixtures of the command tests: an empty working folder, and a database that the commands find there."""

from pathlib import Path

import pytest


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the commands use SQLite in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASEMILL_DATA_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("CASEMILL_CONFIG", "")
    return tmp_path


@pytest.fixture
def workdir_each_database(workdir: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, once with SQLite and once with PostgreSQL, both migrated."""
    from core import migrations
    from core.database.session import Database

    monkeypatch.setenv("CASEMILL_DATABASE_URL", database_url)
    database = Database(database_url)
    migrations.upgrade(database)
    database.close()
    return workdir
