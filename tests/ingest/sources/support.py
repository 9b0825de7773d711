"""What the tests of the sources share: a database with its tables, messages, and watchers running in threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from core.blobs import Blob
from core.database.session import Database
from core.database.types import Base
from core.settings.sections import Limits, Mailbox
from ingest.ledger.models import InboundItem, MailboxCursor, Sighting
from ingest.sources.imap.watcher import MailboxWatcher
from tests.servers.dovecot import DovecotServer

LIMITS = Limits()
MODELS = ("accounts", "core.blobs", "core.leases", "ingest", "notify", "outbox", "tickets")


def make_tables(url: str) -> Database:
    """A database with all tables."""
    for room in MODELS:
        import_module(room if "." in room else f"{room}.models")
    database = Database(url)
    Base.metadata.create_all(database.engine)
    return database


def message(number: int, size: int = 0) -> bytes:
    """A small mail with its own number in it, and so its own content."""
    head = f"From: Ann <ann@clinic.example>\r\nTo: support@casemill.example\r\nSubject: Claim {number}\r\n"
    head += f"Message-ID: <n{number}@clinic.example>\r\nDate: Mon, 02 Nov 2026 09:00:00 +0000\r\n\r\n"
    return head.encode() + f"Claim {number} was denied.\r\n".encode() + b"x" * size


def mailbox(server: DovecotServer, user: str = "desk", **changes: Any) -> Mailbox:
    """Settings for a mailbox of the test's Dovecot: TLS with its own authority, everything, polled once a second."""
    values: dict[str, Any] = {
        "host": server.host,
        "port": server.tls_port,
        "user": user,
        "password": SecretStr(server.password),
        "ca_file": server.ca_file,
        "since": "all",
        "poll_seconds": 1.0,
    }
    return Mailbox(**(values | changes))


@contextmanager
def watching(database: Database, box: Mailbox, name: str = "desk", **options: Any) -> Iterator[threading.Thread]:
    """A watcher of ``box`` in a thread; stopped at the end, which has to come soon."""
    stop = threading.Event()
    limits = options.pop("limits", LIMITS)
    watcher = MailboxWatcher(name, box, database, limits, stop, **options)
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def items(database: Database) -> list[InboundItem]:
    with database.read() as session:
        return list(session.execute(select(InboundItem).order_by(InboundItem.id)).scalars())


def sightings(database: Database) -> list[Sighting]:
    with database.read() as session:
        return list(session.execute(select(Sighting).order_by(Sighting.id)).scalars())


def bodies(database: Database) -> list[bytes]:
    """The bytes of all items, in the order of the UIDs they were first seen under."""
    with database.read() as session:
        statement = select(Sighting.place, Blob.content).join(InboundItem, InboundItem.id == Sighting.item_id)
        statement = statement.join(Blob, Blob.sha256 == InboundItem.sha256).where(Sighting.first)
        rows = session.execute(statement).all()
    return [content for _, content in sorted(rows, key=lambda row: int(row[0].rpartition("/")[2]))]


def cursor(database: Database, name: str = "desk") -> MailboxCursor | None:
    with database.read() as session:
        return session.get(MailboxCursor, name)


def last_uid(database: Database, name: str = "desk") -> int:
    """The cursor's place, -1 before the first contact."""
    row = cursor(database, name)
    return -1 if row is None or row.uidvalidity == 0 else row.last_uid


def moved(database: Database) -> int:
    """How many messages are recorded as moved."""
    return sum(sighting.moved_at is not None for sighting in sightings(database))


def numbers(database: Database) -> list[int]:
    """The numbers of all mails taken, in the order of their UIDs."""
    return [int(body.partition(b"Claim ")[2].split(b"\r\n")[0]) for body in bodies(database)]
