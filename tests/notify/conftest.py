"""Fixtures for tests of deliveries."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.database.session import Database
from core.database.types import Base
from notify.delivery import DeliveryWorker
from notify.smtp import SmtpTransport
from tests.notify.harness import NotifyHarness
from tests.notify.scripted_server import ScriptedServer
from tests.notify.smtp_support import FEATURES, open_smtp, url_of
from tests.servers.postgres import PostgresServer
from tests.servers.smtp import SmtpServer

MakeHarness = Callable[..., NotifyHarness]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with all tables, to be copied: creating the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "casemill.db"
    with_tables(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def kept_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the URL of a PostgreSQL database with all tables, emptied before each test."""
    url = postgres_server.create_database()
    with_tables(url)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database with empty tables; the test runs on SQLite (a file) and on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "casemill.db")
        return f"sqlite:///{tmp_path / 'casemill.db'}"
    url = str(request.getfixturevalue("kept_postgres_url"))
    database = Database(url)
    names = ", ".join(f'"{name}"' for name in Base.metadata.tables)
    with database.write() as session:
        session.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
    database.close()
    return url


def with_tables(url: str) -> None:
    database = Database(url)
    Base.metadata.create_all(database.engine)
    database.close()


@pytest.fixture
def make_harness(database_url: str, tmp_path: Path) -> Iterator[MakeHarness]:
    """Return a function that opens harnesses with their own settings, all on the same database."""
    with ExitStack() as stack:

        def make(**settings: Any) -> NotifyHarness:
            harness = NotifyHarness(database_url, tmp_path, **settings)
            stack.callback(harness.close)
            return harness

        yield make


@pytest.fixture
def harness(make_harness: MakeHarness) -> NotifyHarness:
    """Return a harness with the default settings."""
    return make_harness()


@pytest.fixture
def smtp_url(smtp_server: SmtpServer) -> str:
    return f"smtp://127.0.0.1:{smtp_server.port}"


@pytest.fixture
def worker(harness: NotifyHarness, smtp_url: str) -> DeliveryWorker:
    """Return a worker that sends to the SMTP server of the test."""
    return harness.open_worker(smtp_url)


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    with ScriptedServer(*FEATURES) as server:
        yield server


@pytest.fixture
def transport(smtp_server: SmtpServer) -> Iterator[SmtpTransport]:
    with open_smtp(url_of(smtp_server), command_timeout=5, final_timeout=5) as opened:
        yield opened
