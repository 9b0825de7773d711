"""The real web server on a loopback port over an empty database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

import tickets.models  # noqa: F401 - registers all tables
from core.database.session import Database
from core.database.types import Base
from core.settings import Settings
from ingest.ledger.models import InboundItem
from web import app
from web.server import WebServer

FORM = "5512345"
KEY = "demo-hmac-key"
HANDSHAKE = "demo-shared-secret"
STATUS_TOKEN = "status-token-of-the-tests"

Serve = Callable[..., "Site"]


@dataclass
class Site:
    """A running server, its database and a local client."""

    settings: Settings
    database: Database
    server: WebServer
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"http://{self.server.address}"
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def items(self) -> list[InboundItem]:
        from sqlalchemy import select

        with self.database.read() as session:
            return list(session.execute(select(InboundItem).order_by(InboundItem.id)).scalars())


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database with all tables, on SQLite and on PostgreSQL."""
    database = Database(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def serve(database: Database) -> Iterator[Serve]:
    """Start servers: ``serve(forms={...}, web={...}, status_checks=callable)``."""
    with ExitStack() as stack:

        def start(*, status_checks: Callable[[], Mapping[str, object]] | None = None, **sections: Any) -> Site:
            form = {"signature_keys": [KEY], "handshake_key": HANDSHAKE}
            values = {"secret_key": "key-of-the-web-tests", "forms": {FORM: form}} | sections
            settings = Settings.model_validate(values)
            server = WebServer(app.create_app(settings, database, status_checks=status_checks), "127.0.0.1:0")
            server.start()
            stack.callback(server.stop)
            site = Site(settings, database, server)
            stack.callback(site.client.close)
            return site

        yield start


@pytest.fixture
def site(serve: Serve) -> Site:
    """A server with one form that requires a signature and a handshake key."""
    return serve(web={"status_token": STATUS_TOKEN})
