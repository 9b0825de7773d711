from __future__ import annotations

import io
from collections.abc import Callable

from msoffcrypto.format.ooxml import OOXMLFile

from ingest.ledger.models import InboundItem
from ingest.workbooks.expand import receipt
from tests.ingest.support import (
    SECURE,
    Room,
    arrival,
    mail_with_file,
    mailbox,
    make_row,
    make_workbook,
    read_cells,
    workbook_arrival,
)

PASSWORD = "open sesame"


def drop(room: Room, raw: bytes, place: str = "export.xlsx") -> InboundItem:
    """Take a workbook in and work until nothing is due."""
    return room.take(workbook_arrival(raw, place))[0]


def write_receipt(room: Room, item: InboundItem, *, repeated: bool = False) -> bytes:
    return receipt(room.database, room.pool, room.settings, item.id, repeated=repeated)


def read_outcomes(receipt: bytes) -> list[tuple[str, ...]]:
    """Outcome, ticket and reason of each row of a receipt's first sheet."""
    return [row[-3:] for row in read_cells(receipt)[1:]]


def encrypt(raw: bytes) -> bytes:
    packed = io.BytesIO()
    OOXMLFile(io.BytesIO(raw)).encrypt(PASSWORD, packed)
    return packed.getvalue()


def test_a_mail_of_a_configured_sender_goes_row_by_row(room: Room) -> None:
    raw = mail_with_file("export.xlsx", make_workbook(make_row(1), make_row(2)))
    (mail,) = room.take(arrival(raw))
    (workbook,) = room.items(kind="workbook")
    assert (mail.disposition, mail.reason_code, mail.ticket_id) == ("expanded", "secure_message_workbook", None)
    assert (workbook.disposition, workbook.parent_id, workbook.source) == ("expanded", mail.id, f"mail:{mail.id}")
    assert [row.disposition for row in room.items(kind="row")] == ["ticket", "ticket"]
    assert {ticket.source for ticket in room.tickets()} == {"secure_message"}
    cells = read_cells(write_receipt(room, workbook))
    assert [row[-3] for row in cells] == ["Outcome", "ticket", "ticket"]


def test_a_workbook_of_anybody_else_is_an_attachment_of_a_ticket(room: Room) -> None:
    raw = mail_with_file("export.xlsx", make_workbook(make_row(1)), sender="dana@riverside.example")
    (mail,) = room.take(arrival(raw))
    assert mail.disposition == "ticket"
    assert room.items(kind="workbook") == []
    assert room.rows("SELECT name FROM attachment") == [("export.xlsx",)]


def test_the_same_workbook_by_another_mail_creates_nothing_and_says_so(room: Room) -> None:
    book = make_workbook(make_row(1))
    drop(room, book)
    (mail,) = room.take(arrival(mail_with_file("export.xlsx", book)))
    assert mail.disposition == "expanded"
    assert (mail.reason or "").endswith("files taken in before: 1")
    assert len(room.items(kind="workbook")) == 1
    assert len(room.tickets()) == 1
    assert (f"mail:{mail.id}",) in room.rows("SELECT source FROM sighting")


def test_a_mail_of_a_configured_sender_delivered_twice_is_expanded_once(room: Room) -> None:
    raw = mail_with_file("export.xlsx", make_workbook(make_row(1)))
    first, second = room.take(arrival(raw), arrival(b"Received: by two\r\n" + raw, "2"))
    assert (first.disposition, second.disposition) == ("expanded", "duplicate")
    assert len(room.tickets()) == 1


def test_a_rejected_workbook_of_a_mail_raises_a_ticket_that_says_why(room: Room) -> None:
    (mail,) = room.take(arrival(mail_with_file("export.xlsx", b"PK\x03\x04 not a workbook")))
    (workbook,) = room.items(kind="workbook")
    (ticket,) = room.tickets()
    assert mail.disposition == "expanded"
    assert (workbook.disposition, workbook.ticket_id) == ("rejected", ticket.id)
    assert (workbook.reason or "?") in ticket.description
    assert ticket.requester_id is None


def test_an_encrypted_workbook_opens_with_the_password_of_its_mailbox(make_room: Callable[..., Room]) -> None:
    boxes = {"support": mailbox(secure_senders=[SECURE], workbooks={"passwords": [PASSWORD]}), "other": mailbox()}
    room = make_room(mailboxes=boxes)
    room.take(arrival(mail_with_file("export.xlsx", encrypt(make_workbook(make_row(1))))))
    assert [item.disposition for item in room.items(kind="row")] == ["ticket"]


def test_a_rejected_file_that_comes_again_by_mail_stays_rejected(room: Room) -> None:
    raw = b"PK.. no workbook"
    drop(room, raw)
    (mail,) = room.take(arrival(mail_with_file("export.xlsx", raw)))
    assert (mail.disposition, room.items(kind="workbook")[0].disposition) == ("expanded", "rejected")
    assert room.tickets() == []
