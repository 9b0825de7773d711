"""Shared by the tests of ledger and pipeline: mails, forms, workbooks, and a pipeline with its database."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from openpyxl import Workbook, load_workbook
from sqlalchemy import select, text

from core import clock, migrations
from core.database.session import Database
from core.settings import Settings
from core.signing import Signer
from ingest.ledger import claims
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem
from ingest.ledger.types import FORMSTACK, MAIL, WORKBOOK, Accepted, Arrival
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedMail
from ingest.parsers.worker import ParseAnswer, ParseTask
from ingest.pipeline import Pipeline
from outbox.facts import TicketCreated
from outbox.models import OutboxFact
from tickets.models import Activity, Ticket

KEY = "a key of the tests, long enough"
RECEIVED = clock.now().replace(microsecond=0) - timedelta(days=1)
HEADERS = ("Message ID", "Sent Date", "Practice", "Sender", "E-mail", "Subject", "Message", "Thread ID")
SECURE = "messages@software.example"


def settings_for(url: str, tmp_path: Any, **further: Any) -> Settings:
    values: dict[str, Any] = {
        "data_dir": tmp_path,
        "database_url": url,
        "secret_key": KEY,
        "env": "test",
        "mailboxes": {
            "support": mailbox(address="support@casemill.example", secure_senders=[SECURE]),
            "billing": mailbox(address="billing@casemill.example", lists="ticket", automatic="set-aside"),
        },
        "forms": {"5512345": {"name": "Billing questions", "unsigned": True}},
    }
    return Settings.model_validate(values | further)


def mailbox(**values: Any) -> dict[str, Any]:
    return {"host": "localhost", "user": "u", "password": "p", **values}


def make_mail(
    number: int | str = 1, *, body: str = "Claim 88-2041 was denied.", headers: Sequence[str] = (), sender: str = ""
) -> bytes:
    """Return a mail written by a person unless ``headers`` say otherwise."""
    lines = [
        *headers,
        f"From: Dana Ortiz <{sender or f'dana{number}@riverside.example'}>",
        "To: support@casemill.example",
        f"Subject: Claim {number}",
        f"Message-ID: <{number}@riverside.example>",
        "Date: Fri, 20 Nov 2026 09:15:00 +0000",
    ]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}\r\n").encode()


def make_form(number: int = 1, **fields: object) -> bytes:
    """Return a Formstack submission in JSON."""
    answers = fields or {"practice_name": "Riverside Clinic", "email": "dana@riverside.example", "details": "Denied twice."}
    return json.dumps({"FormID": "5512345", "UniqueID": str(1512345600 + number), **answers}).encode()


def make_row(number: int | str, **values: str) -> tuple[str, ...]:
    """Return a valid row with the message id ``number``; ``values`` by header replace its cells."""
    row = {
        "Message ID": str(number),
        "Sent Date": "2026-11-19 10:00",
        "Practice": "Riverside Family Clinic",
        "Sender": "Ben Ortiz",
        "E-mail": f"ben{number}@riverside.example",
        "Subject": f"Statement {number}",
        "Message": f"Please resend statement {number}.",
        "Thread ID": "",
    }
    return tuple((row | values)[header] for header in HEADERS)


def make_workbook(*rows: Sequence[str], title: str = "Messages", headers: Sequence[str] = HEADERS) -> bytes:
    book = Workbook(write_only=True)
    page = book.create_sheet(title)
    page.append(list(headers))
    for row in rows:
        page.append(list(row))
    packed = io.BytesIO()
    book.save(packed)
    return packed.getvalue()


def read_cells(data: bytes, sheet: int = 0) -> list[tuple[str, ...]]:
    """Return the cells of one sheet of a workbook as text."""
    book = load_workbook(io.BytesIO(data))
    return [tuple("" if cell is None else str(cell) for cell in row) for row in book.worksheets[sheet].values]


def mail_with_file(name: str, content: bytes, *, sender: str = SECURE, number: int | str = 1) -> bytes:
    """Return a mail with one attachment, declared as application/octet-stream."""
    head = make_mail(number, sender=sender, headers=["MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=cut"])
    packed = base64.encodebytes(content).decode()
    kind = f'Content-Type: application/octet-stream; name="{name}"\r\nContent-Transfer-Encoding: base64'
    part = f"--cut\r\n{kind}\r\n\r\n{packed}\r\n"
    text_part = "--cut\r\nContent-Type: text/plain\r\n\r\nThe export of today.\r\n"
    return head.partition(b"\r\n\r\n")[0] + f"\r\n\r\n{text_part}{part}--cut--\r\n".encode()


def arrival(raw: bytes, place: str = "1", **values: Any) -> Arrival:
    """Return an arrival of a mail in the mailbox ``support`` unless ``values`` say otherwise."""
    defaults: dict[str, Any] = {"family": MAIL, "kind": "mail", "source": "mailbox:support", "received_at": RECEIVED}
    return Arrival(raw=raw, place=place, **(defaults | values))


def form_arrival(raw: bytes, number: int = 1) -> Arrival:
    return arrival(
        raw,
        family=FORMSTACK,
        kind="form",
        source="form:5512345",
        place=f"{number}",
        identity=f"5512345/{number}",
        extra={"content_type": "application/json"},
    )


def workbook_arrival(raw: bytes, place: str = "export.xlsx", source: str = "upload") -> Arrival:
    return arrival(raw, place, family=WORKBOOK, kind="workbook", source=source)


@dataclass
class IngestHarness:
    """A pipeline, its database and its settings."""

    database: Database
    settings: Settings
    pipeline: Pipeline
    pool: ParserPool

    def accept(self, *arrivals: Arrival) -> list[Accepted]:
        return self.database.transaction(lambda session: accept(session, arrivals, clock.now()))

    def drain(self) -> None:
        """Process batches until nothing is due."""
        while self.pipeline.drain():
            pass

    def take(self, *arrivals: Arrival) -> list[InboundItem]:
        """Accept arrivals, drain the ledger, and return their items."""
        accepted = self.accept(*arrivals)
        self.drain()
        by_id = {item.id: item for item in self.items()}
        return [by_id[one.item_id] for one in accepted]

    def items(self, **values: Any) -> list[InboundItem]:
        with self.database.read() as session:
            return list(session.execute(select(InboundItem).filter_by(**values).order_by(InboundItem.id)).scalars())

    def tickets(self) -> list[Ticket]:
        with self.database.read() as session:
            return list(session.execute(select(Ticket).order_by(Ticket.id)).scalars())

    def messages(self) -> list[Activity]:
        """Return the incoming messages on the timelines of all tickets."""
        with self.database.read() as session:
            statement = select(Activity).where(Activity.kind == "message_in").order_by(Activity.id)
            return list(session.execute(statement).scalars())

    def sql(self, statement: str, **values: Any) -> None:
        with self.database.write() as session:
            session.execute(text(statement), values)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.database.read() as session:
            return [tuple(row) for row in session.execute(text(statement), values)]

    def make_due(self) -> None:
        """Make all waiting items due."""
        self.sql("UPDATE inbound_item SET due_at = :past WHERE state = 'waiting'", past=self._past())

    def expire(self) -> int:
        """Expire all claims and return how many items went back to waiting."""
        self.sql("UPDATE inbound_item SET claim_until = :past WHERE state = 'claimed'", past=self._past())
        return claims.recover_expired(self.database)

    def _past(self) -> Any:
        return "2026-01-01 00:00:00.000000" if self.database.is_sqlite else datetime(2026, 1, 1, tzinfo=UTC)


def open_harness(settings: Settings, pool: ParserPool) -> IngestHarness:
    database = Database(settings.database)
    migrations.upgrade(database)
    signer = Signer(settings.signing_keys(), settings.notices.domain)
    return IngestHarness(database, settings, Pipeline(database, settings, pool, signer), pool)


def arrivals(count: int, first: int = 0) -> list[Arrival]:
    return [arrival(make_mail(number), f"INBOX/1/{number}") for number in range(first, first + count)]


def assert_all_tickets(items: list[InboundItem]) -> None:
    assert Counter((item.state, item.disposition) for item in items) == {("settled", "ticket"): len(items)}
    assert len({item.ticket_id for item in items}) == len(items)


def notices(harness: IngestHarness) -> dict[int, tuple[bool, str]]:
    """Return ticket id → (whether its creation notice is to be sent, reason code why not)."""
    with harness.database.read() as session:
        rows = session.execute(select(OutboxFact).where(OutboxFact.kind == TicketCreated.kind)).scalars()
        facts = [TicketCreated(**row.payload) for row in rows]
    return {fact.ticket_id: (fact.answer, fact.refusal_code) for fact in facts}


def subjects(answers: list[ParseAnswer]) -> list[str | None]:
    """Return the subjects of mails, None for every other answer."""
    return [answer.subject if isinstance(answer, ParsedMail) else None for answer in answers]


@cache
def slow_task() -> ParseTask:
    """Return a workbook within all limits that takes more than a second of CPU."""
    headers = (*HEADERS, *(f"Column {number}" for number in range(40)))
    rows = [(*make_row(number), *["x"] * 40) for number in range(5_000)]
    return ParseTask("workbook", make_workbook(*rows, headers=headers))
