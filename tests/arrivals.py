"""Accept numbered mails into the ledger, and list the tickets they become."""

from __future__ import annotations

from typing import Any

from core import clock
from core.database.session import Database
from ingest.ledger.accept import accept as accept_arrivals
from ingest.ledger.types import Arrival
from tickets import queries

INGEST = "ingest.drain"


def mail(number: int) -> bytes:
    return (
        f"From: Dana <dana{number}@practice{number}.example>\r\nTo: support@casemill.example\r\nSubject: Claim {number}\r\n"
        f"Message-ID: <{number}@lakeside.example>\r\nDate: Sun, 22 Nov 2026 04:00:00 +0000\r\n\r\nClaim {number} was denied.\r\n"
    ).encode()


def accept_mails(database: Database, *numbers: int) -> None:
    now = clock.now()
    arrivals = [Arrival("mail", "mail", "upload", f"file {number}", mail(number), now) for number in numbers]
    database.transaction(lambda session: accept_arrivals(session, arrivals, now))


def tickets(database: Database) -> list[dict[str, Any]]:
    with database.read() as session:
        return queries.list_tickets(session, "all", clock.now())
