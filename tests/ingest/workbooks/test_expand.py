from __future__ import annotations

import io
import os
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from msoffcrypto.format.ooxml import OOXMLFile
from openpyxl import load_workbook

from core.errors import NotFoundError, RefusedError
from core.settings import Settings
from ingest.ledger import claims
from ingest.ledger.models import InboundItem
from ingest.workbooks import expand as expand_module
from ingest.workbooks.expand import expand, is_finished, options_for, receipt
from tests.ingest.support import (
    HEADERS,
    Room,
    arrival,
    mailbox,
    make_mail,
    make_row,
    make_workbook,
    read_cells,
    settings_for,
    workbook_arrival,
)
from tickets.numbers import number

PASSWORD = "open sesame"


def drop(room: Room, raw: bytes, place: str = "export.xlsx") -> InboundItem:
    """Take a workbook in and work until nothing is due."""
    return room.take(workbook_arrival(raw, place))[0]


def write_receipt(room: Room, item: InboundItem, *, repeated: bool = False) -> bytes:
    return receipt(room.database, room.pool, room.settings, item.id, repeated=repeated)


def read_outcomes(receipt: bytes) -> list[tuple[str, ...]]:
    """Outcome, ticket and reason of each row of a receipt's first sheet."""
    return [row[-3:] for row in read_cells(receipt)[1:]]


def correct(receipt: bytes, row: int, column: str, value: str) -> bytes:
    book = load_workbook(io.BytesIO(receipt))
    book.worksheets[0].cell(row, HEADERS.index(column) + 1).value = value
    packed = io.BytesIO()
    book.save(packed)
    return packed.getvalue()


def encrypt(raw: bytes) -> bytes:
    packed = io.BytesIO()
    OOXMLFile(io.BytesIO(raw)).encrypt(PASSWORD, packed)
    return packed.getvalue()


def test_a_workbook_is_expanded_into_one_ticket_a_row(room: Room) -> None:
    item = drop(room, make_workbook(make_row(1), make_row(2), make_row(3)))
    assert (item.disposition, item.reason_code) == ("expanded", "workbook_expanded")
    assert item.reason == "3 rows: 3 new, 0 known before"
    rows = room.items(kind="row")
    assert [(row.parent_id, row.disposition) for row in rows] == [(item.id, "ticket")] * 3
    assert [ticket.name for ticket in room.tickets()] == [f"Statement {count}" for count in (1, 2, 3)]
    assert {ticket.source for ticket in room.tickets()} == {"secure_message"}
    assert {row.received_at for row in rows} == {item.received_at}


def test_the_tickets_come_in_the_order_of_the_rows(room: Room) -> None:
    drop(room, make_workbook(*(make_row(count) for count in range(1, 251))))
    assert [ticket.name for ticket in room.tickets()] == [f"Statement {count}" for count in range(1, 251)]


def test_the_same_file_again_creates_nothing_and_its_receipt_says_so(room: Room) -> None:
    raw = make_workbook(make_row(1), make_row(2))
    first = drop(room, raw)
    before = room.rows("SELECT * FROM inbound_item ORDER BY id")
    again = room.accept(workbook_arrival(raw, "again.xlsx"))[0]
    room.drain()
    assert (again.item_id, again.known) == (first.id, True)
    assert room.rows("SELECT * FROM inbound_item ORDER BY id") == before
    assert len(room.tickets()) == 2
    outcomes = read_outcomes(write_receipt(room, first, repeated=True))
    assert outcomes == [("duplicate", f"BS-00000{count}", "The same row was taken in before") for count in (1, 2)]


def test_a_longer_export_creates_only_its_new_rows(room: Room) -> None:
    drop(room, make_workbook(make_row(1), make_row(2)))
    longer = drop(room, make_workbook(make_row(3), make_row(1), make_row(2), make_row(4)), "longer.xlsx")
    assert longer.reason == "4 rows: 2 new, 2 known before"
    assert [ticket.name for ticket in room.tickets()] == [f"Statement {count}" for count in (1, 2, 3, 4)]
    outcomes = read_outcomes(write_receipt(room, longer))
    assert [(outcome, ticket) for outcome, ticket, _ in outcomes] == [
        ("ticket", "BS-000003"), ("duplicate", "BS-000001"), ("duplicate", "BS-000002"), ("ticket", "BS-000004"),
    ]  # fmt: skip


def test_equal_rows_without_an_id_are_both_kept_and_not_taken_twice(room: Room) -> None:
    row = make_row("")
    drop(room, make_workbook(row, row))
    assert len(room.tickets()) == 2
    longer = drop(room, make_workbook(row, row, row), "longer.xlsx")
    assert longer.reason == "3 rows: 1 new, 2 known before"
    assert len(room.tickets()) == 3


def test_a_message_id_that_stands_twice_is_one_row_and_the_first_one_counts(room: Room) -> None:
    rows = [make_row(count) for count in range(1, 12)]
    rows[9] = make_row(1, Subject="The same id further down")  # row 11: as a text, M!11 comes before M!2
    item = drop(room, make_workbook(*rows))
    assert item.reason == "11 rows: 10 new, 1 known before"
    outcomes = [outcome for outcome, _, _ in read_outcomes(write_receipt(room, item))]
    assert outcomes == ["ticket"] * 9 + ["duplicate", "ticket"]
    assert "Statement 1" in {ticket.name for ticket in room.tickets()}


def test_a_row_that_cannot_become_a_ticket_is_rejected_with_its_reason(room: Room) -> None:
    rows = [
        make_row(1, **{"E-mail": "", "Sender": "", "Practice": ""}),
        make_row(2, Subject="", Message=""),
        make_row(3, **{"Sent Date": "the day before yesterday"}),
        make_row(4),
    ]
    item = drop(room, make_workbook(*rows))
    assert [(row.disposition, row.reason_code) for row in room.items(kind="row")] == [
        ("rejected", "no_sender"), ("rejected", "no_text"), ("rejected", "unreadable_date"), ("ticket", "secure_message"),
    ]  # fmt: skip
    outcomes = read_outcomes(write_receipt(room, item))
    assert [outcome for outcome, _, _ in outcomes] == ["rejected", "rejected", "rejected", "ticket"]
    assert all(reason.endswith(".") for outcome, _, reason in outcomes if outcome == "rejected")
    assert len(room.tickets()) == 1


def test_a_receipt_has_the_rows_as_they_came_and_what_became_of_each(room: Room) -> None:
    rows = [make_row(1), make_row(2, Subject="", Message="")]
    item = drop(room, make_workbook(*rows))
    receipt = write_receipt(room, item)
    ticket = number(room.tickets()[0].id)
    reason = room.items(disposition="rejected")[0].reason or ""
    assert read_cells(receipt) == [
        (*HEADERS, "Outcome", "Ticket", "Reason"),
        (*rows[0], "ticket", ticket, "A secure message from the practice software"),
        (*rows[1], "rejected", "", reason),
    ]


def test_a_receipt_written_while_rows_are_under_way_says_pending(room: Room) -> None:
    room.accept(workbook_arrival(make_workbook(make_row(1))))
    room.pipeline.drain()
    item = room.items(kind="workbook")[0]
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(room, item))] == ["pending"]
    with room.database.read() as session:
        assert not is_finished(session, item.id)
    room.drain()
    with room.database.read() as session:
        assert is_finished(session, item.id)


def test_a_receipt_dropped_again_creates_nothing(room: Room) -> None:
    rows = [make_row(1), make_row(""), make_row(""), make_row(3, Subject="", Message="")]
    receipt = write_receipt(room, drop(room, make_workbook(*rows)))
    before = room.rows("SELECT id, disposition, parent_id, settled_at FROM inbound_item WHERE kind = 'row' ORDER BY id")
    again = drop(room, receipt, "receipt.xlsx")
    assert again.reason == "4 rows: 0 new, 4 known before"
    assert len(room.tickets()) == 3
    after = room.rows("SELECT id, disposition, parent_id, settled_at FROM inbound_item WHERE kind = 'row' ORDER BY id")
    assert after == before
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(room, again))] == ["duplicate"] * 4


@pytest.mark.parametrize("message_id", ["17", ""], ids=["with an id", "without an id"])
def test_a_rejected_row_corrected_in_its_receipt_becomes_a_ticket(room: Room, message_id: str) -> None:
    rows = [make_row(1), make_row(message_id, Subject="", Message="")]
    receipt = write_receipt(room, drop(room, make_workbook(*rows)))
    corrected = drop(room, correct(receipt, 3, "Message", "What I meant to say."), "corrected.xlsx")
    assert corrected.reason == "2 rows: 1 new, 1 known before"
    assert [ticket.description for ticket in room.tickets()] == ["Please resend statement 1.", "What I meant to say."]
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(room, corrected))] == ["duplicate", "ticket"]
    # With an id it is the same ledger row, opened again; without one the cells are its identity.
    assert len(room.items(kind="row")) == (2 if message_id else 3)
    row = room.items(parent_id=corrected.id)[0]
    assert (row.state, row.disposition, row.reason_code, row.attempts) == ("settled", "ticket", "secure_message", 0)


def test_a_row_still_wrong_after_its_correction_is_rejected_for_its_new_reason(room: Room) -> None:
    receipt = write_receipt(room, drop(room, make_workbook(make_row(17, Subject="", Message=""))))
    half = correct(correct(receipt, 2, "Subject", "Half corrected"), 2, "Sent Date", "some day")
    drop(room, half, "half.xlsx")
    assert [(row.disposition, row.reason_code) for row in room.items(kind="row")] == [("rejected", "unreadable_date")]
    drop(room, correct(half, 2, "Sent Date", "2026-11-19"), "whole.xlsx")
    assert [row.disposition for row in room.items(kind="row")] == ["ticket"]


def test_a_changed_row_of_a_known_id_that_has_a_ticket_is_a_duplicate_and_its_content_is_kept(room: Room) -> None:
    drop(room, make_workbook(make_row(1)))
    changed = drop(room, make_workbook(make_row(1, Message="Changed later")), "later.xlsx")
    assert len(room.tickets()) == 1
    assert changed.reason == "1 row: 0 new, 1 known before"
    notes = room.rows("SELECT note FROM sighting WHERE source = :source", source=f"workbook:{changed.id}")
    assert str(notes[0][0]).startswith("other content: ")


def test_a_thread_appends_its_later_messages_to_its_ticket(room: Room) -> None:
    rows = [make_row(count, **{"Thread ID": "T-1", "E-mail": "ben@riverside.example"}) for count in (1, 2)]
    item = drop(room, make_workbook(*rows, make_row(3)))
    assert [row.disposition for row in room.items(kind="row")] == ["ticket", "appended", "ticket"]
    drop(room, make_workbook(make_row(4, **{"Thread ID": "T-1", "E-mail": "ben@riverside.example"})), "later.xlsx")
    assert len(room.tickets()) == 2
    of_thread = [message.title for message in room.messages() if message.ticket_id == room.tickets()[0].id]
    assert of_thread == ["Statement 1", "Statement 2", "Statement 4"]
    outcomes = read_outcomes(write_receipt(room, item))
    assert [(outcome, ticket) for outcome, ticket, _ in outcomes] == [
        ("ticket", "BS-000001"), ("appended", "BS-000001"), ("ticket", "BS-000002"),
    ]  # fmt: skip


def test_a_thread_of_another_sender_is_not_opened_to_a_stranger(room: Room) -> None:
    drop(room, make_workbook(make_row(1, **{"Thread ID": "T-1"})))
    drop(room, make_workbook(make_row(2, **{"Thread ID": "T-1", "Practice": "Somebody else"})), "other.xlsx")
    assert len(room.tickets()) == 2


def test_a_thread_id_longer_than_an_index_takes_still_holds_its_thread_together(room: Room) -> None:
    thread = os.urandom(5_000).hex()
    rows = [make_row(count, **{"Thread ID": thread, "E-mail": "ben@riverside.example"}) for count in (1, 2)]
    drop(room, make_workbook(*rows))
    assert [row.disposition for row in room.items(kind="row")] == ["ticket", "appended"]


def test_an_encrypted_workbook_without_its_password_is_rejected_with_a_sentence(room: Room) -> None:
    item = drop(room, encrypt(make_workbook(make_row(1))))
    assert item.disposition == "rejected"
    assert "password" in (item.reason or "").casefold()
    assert room.tickets() == []


def test_a_rejected_file_dropped_again_with_its_password_configured_is_expanded(make_room: Callable[..., Room]) -> None:
    raw = encrypt(make_workbook(make_row(1)))
    rejected = drop(make_room(), raw)
    folder = {"path": "drop", "workbooks": {"passwords": [PASSWORD]}}
    room = make_room(folders={"drop": folder})
    again = room.accept(workbook_arrival(raw, "again", source="folder:drop"))[0]
    assert (again.item_id, again.known) == (rejected.id, False)
    room.drain()
    assert [item.disposition for item in room.items()] == ["expanded", "ticket"]
    # What has a good outcome stays as it is, and so does what a mail server shows a second time.
    assert room.accept(workbook_arrival(raw, "third", source="folder:drop"))[0].known
    assert {item.state for item in room.items()} == {"settled"}


def test_options_come_from_where_the_workbook_came_from(tmp_path: Path) -> None:
    settings: Settings = settings_for(
        "",
        tmp_path,
        mailboxes={"m": mailbox(workbooks={"columns": {"subject": ["Betreff"]}, "passwords": ["of the mailbox"]})},
        folders={"f": {"path": str(tmp_path), "workbooks": {"columns": {"subject": ["Asunto"]}, "passwords": ["of the folder"]}}},
    )
    folder = options_for(settings, "folder:f", {})
    mail = options_for(settings, "mail:12", {"mailbox": "m"})
    upload = options_for(settings, "upload", {})
    assert (folder.passwords, folder.column_aliases) == (("of the folder",), {"subject": ("Asunto",)})
    assert (mail.passwords, mail.column_aliases) == (("of the mailbox",), {"subject": ("Betreff",)})
    assert (upload.passwords, upload.column_aliases["subject"]) == (("of the folder", "of the mailbox"), ("Asunto", "Betreff"))


def test_hidden_sheets_are_named_and_left_alone(room: Room) -> None:
    book = load_workbook(io.BytesIO(make_workbook(make_row(1))))
    hidden = book.create_sheet("Old messages")
    hidden.append(list(HEADERS))
    hidden.append(list(make_row(2)))
    hidden.sheet_state = "hidden"
    packed = io.BytesIO()
    book.save(packed)
    item = drop(room, packed.getvalue())
    assert item.reason == "1 row: 1 new, 0 known before; hidden sheets left alone: Old messages"
    assert len(room.tickets()) == 1


def test_a_sheet_name_longer_than_an_index_takes_is_no_hindrance(room: Room) -> None:
    name = os.urandom(4_000).hex()
    plain = make_workbook(make_row(1), title="Messages")
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            target.writestr(entry, content.replace(b'name="Messages"', f'name="{name}"'.encode()))
    item = drop(room, packed.getvalue())
    assert (item.state, item.disposition) == ("settled", "expanded")
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(room, item))] == ["ticket"]


def test_an_expansion_whose_claim_was_lost_stops(room: Room) -> None:
    room.accept(workbook_arrival(make_workbook(make_row(1))))
    (claimed,) = claims.claim(room.database, "mine", 10)
    task = room.pipeline._task(claimed, make_workbook(make_row(1)))
    workbook = room.pool.parse([task])[0]
    room.expire()
    assert expand(room.database, "mine", claimed, workbook, "") is False  # type: ignore[arg-type]
    assert room.items(kind="row") == []


def test_what_the_database_refuses_of_a_workbook_is_the_workbooks_failure(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    def refuse(*_given: object) -> str:
        raise ValueError("what a statement may raise")

    monkeypatch.setattr(expand_module, "place_of", refuse)
    accepted = room.accept(workbook_arrival(make_workbook(make_row(1))), arrival(make_mail()))
    for _ in range(3):
        room.drain()
        room.make_due()
    found = {item.id: item for item in room.items()}
    book, mail = (found[one.item_id] for one in accepted)
    assert (book.disposition, book.reason_code, mail.disposition) == ("quarantined", "not_storable", "ticket")
    assert book.ticket_id


def test_two_thousand_rows_are_tickets_in_reasonable_time(room: Room) -> None:
    raw = make_workbook(*(make_row(count) for count in range(2_000)))
    start = time.monotonic()
    item = drop(room, raw)
    taken = time.monotonic() - start
    assert item.reason == "2000 rows: 2000 new, 0 known before"
    assert Counter(row.disposition for row in room.items(kind="row")) == {"ticket": 2_000}
    assert taken < 30
    receipt = write_receipt(room, item)
    assert Counter(outcome for outcome, _, _ in read_outcomes(receipt)) == {"ticket": 2_000}


def test_there_is_no_receipt_of_what_is_no_workbook(room: Room) -> None:
    (mail,) = room.take(arrival(make_mail()))
    with pytest.raises(NotFoundError):
        write_receipt(room, mail)
    bad = drop(room, b"nothing of the kind")
    with pytest.raises(RefusedError):
        write_receipt(room, bad)
