from __future__ import annotations

import io
from collections.abc import Callable

from msoffcrypto.format.ooxml import OOXMLFile

from ingest.ledger.models import InboundItem
from ingest.workbooks.expand import make_receipt
from tests.ingest.support import (
    SECURE,
    IngestHarness,
    arrival,
    mail_with_file,
    mailbox,
    make_row,
    make_workbook,
    read_cells,
    workbook_arrival,
)

PASSWORD = "open sesame"


def drop(harness: IngestHarness, raw: bytes, place: str = "export.xlsx") -> InboundItem:
    """Accept a workbook, drain the ledger and return its item."""
    return harness.take(workbook_arrival(raw, place))[0]


def write_receipt(harness: IngestHarness, item: InboundItem, *, repeated: bool = False) -> bytes:
    return make_receipt(harness.database, harness.pool, harness.settings, item.id, repeated=repeated)


def read_outcomes(receipt: bytes) -> list[tuple[str, ...]]:
    """Outcome, ticket and reason of each row of a receipt's first sheet."""
    return [row[-3:] for row in read_cells(receipt)[1:]]


def encrypt(raw: bytes) -> bytes:
    packed = io.BytesIO()
    OOXMLFile(io.BytesIO(raw)).encrypt(PASSWORD, packed)
    return packed.getvalue()


def test_workbook_from_configured_sender_becomes_a_ticket_for_each_row(harness: IngestHarness) -> None:
    raw = mail_with_file("export.xlsx", make_workbook(make_row(1), make_row(2)))
    (mail,) = harness.take(arrival(raw))
    (workbook,) = harness.items(kind="workbook")
    assert (mail.disposition, mail.reason_code, mail.ticket_id) == ("expanded", "secure_message_workbook", None)
    assert (workbook.disposition, workbook.parent_id, workbook.source) == ("expanded", mail.id, f"mail:{mail.id}")
    assert [row.disposition for row in harness.items(kind="row")] == ["ticket", "ticket"]
    assert {ticket.source for ticket in harness.tickets()} == {"secure_message"}
    cells = read_cells(write_receipt(harness, workbook))
    assert [row[-3] for row in cells] == ["Outcome", "ticket", "ticket"]


def test_workbook_from_another_sender_is_an_attachment_of_a_ticket(harness: IngestHarness) -> None:
    raw = mail_with_file("export.xlsx", make_workbook(make_row(1)), sender="dana@riverside.example")
    (mail,) = harness.take(arrival(raw))
    assert mail.disposition == "ticket"
    assert harness.items(kind="workbook") == []
    assert harness.rows("SELECT name FROM attachment") == [("export.xlsx",)]


def test_same_workbook_in_another_mail_creates_nothing_and_the_reason_says_so(harness: IngestHarness) -> None:
    book = make_workbook(make_row(1))
    drop(harness, book)
    (mail,) = harness.take(arrival(mail_with_file("export.xlsx", book)))
    assert mail.disposition == "expanded"
    assert (mail.reason or "").endswith("files received before: 1")
    assert len(harness.items(kind="workbook")) == 1
    assert len(harness.tickets()) == 1
    assert (f"mail:{mail.id}",) in harness.rows("SELECT source FROM sighting")


def test_mail_of_configured_sender_delivered_twice_is_expanded_once(harness: IngestHarness) -> None:
    raw = mail_with_file("export.xlsx", make_workbook(make_row(1)))
    first, second = harness.take(arrival(raw), arrival(b"Received: by two\r\n" + raw, "2"))
    assert (first.disposition, second.disposition) == ("expanded", "duplicate")
    assert len(harness.tickets()) == 1


def test_rejected_workbook_of_a_mail_creates_a_ticket_with_the_reason(harness: IngestHarness) -> None:
    (mail,) = harness.take(arrival(mail_with_file("export.xlsx", b"PK\x03\x04 not a workbook")))
    (workbook,) = harness.items(kind="workbook")
    (ticket,) = harness.tickets()
    assert mail.disposition == "expanded"
    assert (workbook.disposition, workbook.ticket_id) == ("rejected", ticket.id)
    assert (workbook.reason or "?") in ticket.description
    assert ticket.requester_id is None


def test_an_encrypted_workbook_opens_with_the_password_of_its_mailbox(make_harness: Callable[..., IngestHarness]) -> None:
    boxes = {"support": mailbox(secure_senders=[SECURE], workbooks={"passwords": [PASSWORD]}), "other": mailbox()}
    harness = make_harness(mailboxes=boxes)
    harness.take(arrival(mail_with_file("export.xlsx", encrypt(make_workbook(make_row(1))))))
    assert [item.disposition for item in harness.items(kind="row")] == ["ticket"]


def test_rejected_file_that_arrives_again_by_mail_stays_rejected(harness: IngestHarness) -> None:
    raw = b"PK.. no workbook"
    drop(harness, raw)
    (mail,) = harness.take(arrival(mail_with_file("export.xlsx", raw)))
    assert (mail.disposition, harness.items(kind="workbook")[0].disposition) == ("expanded", "rejected")
    assert harness.tickets() == []
