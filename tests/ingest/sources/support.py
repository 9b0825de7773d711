"""Helpers of the source tests: a database with its tables, messages, and watchers running in threads."""

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
from tests.waiting import scale_budget

LIMITS = Limits()
TABLE_MODULES = (
    "accounts.models", "core.blobs", "core.leases", "ingest.ledger.models", "notify.models", "outbox.models", "tickets.models",
)  # fmt: skip


def make_tables(url: str) -> Database:
    """Create all tables; return the database."""
    for module in TABLE_MODULES:
        import_module(module)
    database = Database(url)
    Base.metadata.create_all(database.engine)
    return database


def message(number: int, size: int = 0) -> bytes:
    """Return a small mail that contains its number, and so is unique."""
    head = f"From: Ann <ann@clinic.example>\r\nTo: support@casemill.example\r\nSubject: Claim {number}\r\n"
    head += f"Message-ID: <n{number}@clinic.example>\r\nDate: Mon, 02 Nov 2026 09:00:00 +0000\r\n\r\n"
    return head.encode() + f"Claim {number} was denied.\r\n".encode() + b"x" * size


def mailbox(server: DovecotServer, user: str = "desk", **changes: Any) -> Mailbox:
    """Return settings for a mailbox of the test's Dovecot: TLS with its own authority, all mail, polled once a second."""
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
    """Run a watcher of ``box`` in a thread. At the end it is stopped, and must end within ten seconds."""
    stop = threading.Event()
    limits = options.pop("limits", LIMITS)
    watcher = MailboxWatcher(name, box, database, limits, stop, **options)
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(scale_budget(10))
        assert not thread.is_alive()


def items(database: Database) -> list[InboundItem]:
    with database.read() as session:
        return list(session.execute(select(InboundItem).order_by(InboundItem.id)).scalars())


def sightings(database: Database) -> list[Sighting]:
    with database.read() as session:
        return list(session.execute(select(Sighting).order_by(Sighting.id)).scalars())


def bodies(database: Database) -> list[bytes]:
    """Return the bytes of all items, in the order of the UIDs of their first sightings."""
    with database.read() as session:
        statement = select(Sighting.place, Blob.content).join(InboundItem, InboundItem.id == Sighting.item_id)
        statement = statement.join(Blob, Blob.sha256 == InboundItem.sha256).where(Sighting.first)
        rows = session.execute(statement).all()
    return [content for _, content in sorted(rows, key=lambda row: int(row[0].rpartition("/")[2]))]


def cursor(database: Database, name: str = "desk") -> MailboxCursor | None:
    with database.read() as session:
        return session.get(MailboxCursor, name)


def last_uid(database: Database, name: str = "desk") -> int:
    """Return the cursor's last UID, -1 if the mailbox was never read."""
    row = cursor(database, name)
    return -1 if row is None or row.uidvalidity == 0 else row.last_uid


def moved(database: Database) -> int:
    """Return how many messages are recorded as moved."""
    return sum(sighting.moved_at is not None for sighting in sightings(database))


def numbers(database: Database) -> list[int]:
    """Return the numbers of all accepted mails, in the order of their UIDs."""
    return [int(body.partition(b"Claim ")[2].split(b"\r\n")[0]) for body in bodies(database)]
