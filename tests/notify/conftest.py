"""Fixtures of the sending half."""

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
from tests.notify.post import Post
from tests.notify.scripted import ScriptedServer
from tests.notify.sending import FEATURES, open_sender, url_of
from tests.servers.postgres import PostgresServer
from tests.servers.smtp import SmtpServer

MakePost = Callable[..., Post]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, to be copied: making the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "casemill.db"
    with_tables(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def kept_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database with all tables, emptied before each test."""
    url = postgres_server.create_database()
    with_tables(url)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database with empty tables: the test runs once on SQLite (a file) and once on PostgreSQL."""
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
def make_post(database_url: str, tmp_path: Path) -> Iterator[MakePost]:
    """Opens posts with settings of the test's own, all on the same database."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Post:
            post = Post(database_url, tmp_path, **settings)
            stack.callback(post.close)
            return post

        yield make


@pytest.fixture
def post(make_post: MakePost) -> Post:
    """A post with the default settings."""
    return make_post()


@pytest.fixture
def smtp_url(smtp_server: SmtpServer) -> str:
    return f"smtp://127.0.0.1:{smtp_server.port}"


@pytest.fixture
def worker(post: Post, smtp_url: str) -> DeliveryWorker:
    """Sends to the SMTP server of the test."""
    return post.delivering(smtp_url)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer(*FEATURES) as server:
        yield server


@pytest.fixture
def sender(smtp_server: SmtpServer) -> Iterator[SmtpTransport]:
    with open_sender(url_of(smtp_server), command_timeout=5, final_timeout=5) as opened:
        yield opened
