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
from ingest.decisions.workbook_rules import workbook_options
from ingest.ledger import claims
from ingest.ledger.models import InboundItem
from ingest.workbooks import expand as expand_module
from ingest.workbooks.expand import expand, is_finished, make_receipt
from tests.ingest.support import (
    HEADERS,
    IngestHarness,
    arrival,
    mailbox,
    make_mail,
    make_row,
    make_workbook,
    read_cells,
    settings_for,
    workbook_arrival,
)
from tickets.numbers import format_number

PASSWORD = "open sesame"


def drop(harness: IngestHarness, raw: bytes, place: str = "export.xlsx") -> InboundItem:
    """Accept a workbook, drain the ledger and return its item."""
    return harness.take(workbook_arrival(raw, place))[0]


def write_receipt(harness: IngestHarness, item: InboundItem, *, repeated: bool = False) -> bytes:
    return make_receipt(harness.database, harness.pool, harness.settings, item.id, repeated=repeated)


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


def test_workbook_is_expanded_into_one_ticket_per_row(harness: IngestHarness) -> None:
    item = drop(harness, make_workbook(make_row(1), make_row(2), make_row(3)))
    assert (item.disposition, item.reason_code) == ("expanded", "workbook_expanded")
    assert item.reason == "3 rows: 3 new, 0 known before"
    rows = harness.items(kind="row")
    assert [(row.parent_id, row.disposition) for row in rows] == [(item.id, "ticket")] * 3
    assert [ticket.name for ticket in harness.tickets()] == [f"Statement {count}" for count in (1, 2, 3)]
    assert {ticket.source for ticket in harness.tickets()} == {"secure_message"}
    assert {row.received_at for row in rows} == {item.received_at}


def test_tickets_are_created_in_the_order_of_the_rows(harness: IngestHarness) -> None:
    drop(harness, make_workbook(*(make_row(count) for count in range(1, 251))))
    assert [ticket.name for ticket in harness.tickets()] == [f"Statement {count}" for count in range(1, 251)]


def test_same_file_again_creates_nothing_and_its_receipt_says_so(harness: IngestHarness) -> None:
    raw = make_workbook(make_row(1), make_row(2))
    first = drop(harness, raw)
    before = harness.rows("SELECT * FROM inbound_item ORDER BY id")
    again = harness.accept(workbook_arrival(raw, "again.xlsx"))[0]
    harness.drain()
    assert (again.item_id, again.known) == (first.id, True)
    assert harness.rows("SELECT * FROM inbound_item ORDER BY id") == before
    assert len(harness.tickets()) == 2
    outcomes = read_outcomes(write_receipt(harness, first, repeated=True))
    assert outcomes == [("duplicate", f"BS-00000{count}", "The same row arrived before") for count in (1, 2)]


def test_longer_export_creates_only_its_new_rows(harness: IngestHarness) -> None:
    drop(harness, make_workbook(make_row(1), make_row(2)))
    longer = drop(harness, make_workbook(make_row(3), make_row(1), make_row(2), make_row(4)), "longer.xlsx")
    assert longer.reason == "4 rows: 2 new, 2 known before"
    assert [ticket.name for ticket in harness.tickets()] == [f"Statement {count}" for count in (1, 2, 3, 4)]
    outcomes = read_outcomes(write_receipt(harness, longer))
    assert [(outcome, ticket) for outcome, ticket, _ in outcomes] == [
        ("ticket", "BS-000003"), ("duplicate", "BS-000001"), ("duplicate", "BS-000002"), ("ticket", "BS-000004"),
    ]  # fmt: skip


def test_equal_rows_without_an_id_are_separate_tickets_and_not_created_twice(harness: IngestHarness) -> None:
    row = make_row("")
    drop(harness, make_workbook(row, row))
    assert len(harness.tickets()) == 2
    longer = drop(harness, make_workbook(row, row, row), "longer.xlsx")
    assert longer.reason == "3 rows: 1 new, 2 known before"
    assert len(harness.tickets()) == 3


def test_repeated_message_id_is_one_item_and_its_first_row_counts(harness: IngestHarness) -> None:
    rows = [make_row(count) for count in range(1, 12)]
    # Row 11: sorted as text, M!11 comes before M!2.
    rows[9] = make_row(1, Subject="The same id further down")
    item = drop(harness, make_workbook(*rows))
    assert item.reason == "11 rows: 10 new, 1 known before"
    outcomes = [outcome for outcome, _, _ in read_outcomes(write_receipt(harness, item))]
    assert outcomes == ["ticket"] * 9 + ["duplicate", "ticket"]
    assert "Statement 1" in {ticket.name for ticket in harness.tickets()}


def test_row_that_cannot_become_a_ticket_is_rejected_with_its_reason(harness: IngestHarness) -> None:
    rows = [
        make_row(1, **{"E-mail": "", "Sender": "", "Practice": ""}),
        make_row(2, Subject="", Message=""),
        make_row(3, **{"Sent Date": "the day before yesterday"}),
        make_row(4),
    ]
    item = drop(harness, make_workbook(*rows))
    assert [(row.disposition, row.reason_code) for row in harness.items(kind="row")] == [
        ("rejected", "no_sender"), ("rejected", "no_text"), ("rejected", "unreadable_date"), ("ticket", "secure_message"),
    ]  # fmt: skip
    outcomes = read_outcomes(write_receipt(harness, item))
    assert [outcome for outcome, _, _ in outcomes] == ["rejected", "rejected", "rejected", "ticket"]
    assert all(reason.endswith(".") for outcome, _, reason in outcomes if outcome == "rejected")
    assert len(harness.tickets()) == 1


def test_receipt_has_the_original_rows_and_their_outcomes(harness: IngestHarness) -> None:
    rows = [make_row(1), make_row(2, Subject="", Message="")]
    item = drop(harness, make_workbook(*rows))
    receipt = write_receipt(harness, item)
    ticket = format_number(harness.tickets()[0].id)
    reason = harness.items(disposition="rejected")[0].reason or ""
    assert read_cells(receipt) == [
        (*HEADERS, "Outcome", "Ticket", "Reason"),
        (*rows[0], "ticket", ticket, "A secure message from the practice software"),
        (*rows[1], "rejected", "", reason),
    ]


def test_receipt_written_before_rows_are_processed_says_pending(harness: IngestHarness) -> None:
    harness.accept(workbook_arrival(make_workbook(make_row(1))))
    harness.pipeline.drain()
    item = harness.items(kind="workbook")[0]
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(harness, item))] == ["pending"]
    with harness.database.read() as session:
        assert not is_finished(session, item.id)
    harness.drain()
    with harness.database.read() as session:
        assert is_finished(session, item.id)


def test_receipt_dropped_again_creates_nothing(harness: IngestHarness) -> None:
    rows = [make_row(1), make_row(""), make_row(""), make_row(3, Subject="", Message="")]
    receipt = write_receipt(harness, drop(harness, make_workbook(*rows)))
    before = harness.rows("SELECT id, disposition, parent_id, settled_at FROM inbound_item WHERE kind = 'row' ORDER BY id")
    again = drop(harness, receipt, "receipt.xlsx")
    assert again.reason == "4 rows: 0 new, 4 known before"
    assert len(harness.tickets()) == 3
    after = harness.rows("SELECT id, disposition, parent_id, settled_at FROM inbound_item WHERE kind = 'row' ORDER BY id")
    assert after == before
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(harness, again))] == ["duplicate"] * 4


@pytest.mark.parametrize("message_id", ["17", ""], ids=["with an id", "without an id"])
def test_rejected_row_corrected_in_its_receipt_becomes_a_ticket(harness: IngestHarness, message_id: str) -> None:
    rows = [make_row(1), make_row(message_id, Subject="", Message="")]
    receipt = write_receipt(harness, drop(harness, make_workbook(*rows)))
    corrected = drop(harness, correct(receipt, 3, "Message", "What I meant to say."), "corrected.xlsx")
    assert corrected.reason == "2 rows: 1 new, 1 known before"
    assert [ticket.description for ticket in harness.tickets()] == ["Please resend statement 1.", "What I meant to say."]
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(harness, corrected))] == ["duplicate", "ticket"]
    # With an id, the ledger row is reopened; without one, the cells are the identity and the row is a new item.
    assert len(harness.items(kind="row")) == (2 if message_id else 3)
    row = harness.items(parent_id=corrected.id)[0]
    assert (row.state, row.disposition, row.reason_code, row.attempts) == ("settled", "ticket", "secure_message", 0)


def test_row_still_invalid_after_its_correction_is_rejected_with_the_new_reason(harness: IngestHarness) -> None:
    receipt = write_receipt(harness, drop(harness, make_workbook(make_row(17, Subject="", Message=""))))
    half = correct(correct(receipt, 2, "Subject", "Half corrected"), 2, "Sent Date", "some day")
    drop(harness, half, "half.xlsx")
    assert [(row.disposition, row.reason_code) for row in harness.items(kind="row")] == [("rejected", "unreadable_date")]
    drop(harness, correct(half, 2, "Sent Date", "2026-11-19"), "whole.xlsx")
    assert [row.disposition for row in harness.items(kind="row")] == ["ticket"]


def test_changed_row_with_an_id_that_has_a_ticket_is_a_duplicate_and_its_content_is_stored(harness: IngestHarness) -> None:
    drop(harness, make_workbook(make_row(1)))
    changed = drop(harness, make_workbook(make_row(1, Message="Changed later")), "later.xlsx")
    assert len(harness.tickets()) == 1
    assert changed.reason == "1 row: 0 new, 1 known before"
    notes = harness.rows("SELECT note FROM sighting WHERE source = :source", source=f"workbook:{changed.id}")
    assert str(notes[0][0]).startswith("other content: ")


def test_later_messages_of_a_thread_are_appended_to_its_ticket(harness: IngestHarness) -> None:
    rows = [make_row(count, **{"Thread ID": "T-1", "E-mail": "ben@riverside.example"}) for count in (1, 2)]
    item = drop(harness, make_workbook(*rows, make_row(3)))
    assert [row.disposition for row in harness.items(kind="row")] == ["ticket", "appended", "ticket"]
    drop(harness, make_workbook(make_row(4, **{"Thread ID": "T-1", "E-mail": "ben@riverside.example"})), "later.xlsx")
    assert len(harness.tickets()) == 2
    of_thread = [message.title for message in harness.messages() if message.ticket_id == harness.tickets()[0].id]
    assert of_thread == ["Statement 1", "Statement 2", "Statement 4"]
    outcomes = read_outcomes(write_receipt(harness, item))
    assert [(outcome, ticket) for outcome, ticket, _ in outcomes] == [
        ("ticket", "BS-000001"), ("appended", "BS-000001"), ("ticket", "BS-000002"),
    ]  # fmt: skip


def test_thread_id_of_another_sender_opens_a_new_ticket(harness: IngestHarness) -> None:
    drop(harness, make_workbook(make_row(1, **{"Thread ID": "T-1"})))
    drop(harness, make_workbook(make_row(2, **{"Thread ID": "T-1", "Practice": "Another practice"})), "other.xlsx")
    assert len(harness.tickets()) == 2


def test_thread_id_too_long_for_an_index_still_identifies_its_thread(harness: IngestHarness) -> None:
    thread = os.urandom(5_000).hex()
    rows = [make_row(count, **{"Thread ID": thread, "E-mail": "ben@riverside.example"}) for count in (1, 2)]
    drop(harness, make_workbook(*rows))
    assert [row.disposition for row in harness.items(kind="row")] == ["ticket", "appended"]


def test_encrypted_workbook_without_password_is_rejected_with_a_reason(harness: IngestHarness) -> None:
    item = drop(harness, encrypt(make_workbook(make_row(1))))
    assert item.disposition == "rejected"
    assert "password" in (item.reason or "").casefold()
    assert harness.tickets() == []


def test_rejected_file_dropped_again_with_its_password_configured_is_expanded(make_harness: Callable[..., IngestHarness]) -> None:
    raw = encrypt(make_workbook(make_row(1)))
    rejected = drop(make_harness(), raw)
    folder = {"path": "drop", "workbooks": {"passwords": [PASSWORD]}}
    harness = make_harness(folders={"drop": folder})
    again = harness.accept(workbook_arrival(raw, "again", source="folder:drop"))[0]
    assert (again.item_id, again.known) == (rejected.id, False)
    harness.drain()
    assert [item.disposition for item in harness.items()] == ["expanded", "ticket"]
    # A settled item that was not rejected stays settled when its file is dropped again.
    assert harness.accept(workbook_arrival(raw, "third", source="folder:drop"))[0].known
    assert {item.state for item in harness.items()} == {"settled"}


def test_options_depend_on_the_source_of_the_workbook(tmp_path: Path) -> None:
    settings: Settings = settings_for(
        "",
        tmp_path,
        mailboxes={"m": mailbox(workbooks={"columns": {"subject": ["Betreff"]}, "passwords": ["of the mailbox"]})},
        folders={"f": {"path": str(tmp_path), "workbooks": {"columns": {"subject": ["Asunto"]}, "passwords": ["of the folder"]}}},
    )
    folder = workbook_options(settings, "folder:f", {})
    mail = workbook_options(settings, "mail:12", {"mailbox": "m"})
    upload = workbook_options(settings, "upload", {})
    assert (folder.passwords, folder.column_aliases) == (("of the folder",), {"subject": ("Asunto",)})
    assert (mail.passwords, mail.column_aliases) == (("of the mailbox",), {"subject": ("Betreff",)})
    assert (upload.passwords, upload.column_aliases["subject"]) == (("of the folder", "of the mailbox"), ("Asunto", "Betreff"))


def test_hidden_sheets_are_named_and_not_read(harness: IngestHarness) -> None:
    book = load_workbook(io.BytesIO(make_workbook(make_row(1))))
    hidden = book.create_sheet("Old messages")
    hidden.append(list(HEADERS))
    hidden.append(list(make_row(2)))
    hidden.sheet_state = "hidden"
    packed = io.BytesIO()
    book.save(packed)
    item = drop(harness, packed.getvalue())
    assert item.reason == "1 row: 1 new, 0 known before; hidden sheets not read: Old messages"
    assert len(harness.tickets()) == 1


def test_sheet_name_too_long_for_an_index_is_expanded(harness: IngestHarness) -> None:
    name = os.urandom(4_000).hex()
    plain = make_workbook(make_row(1), title="Messages")
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as source, zipfile.ZipFile(packed, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            target.writestr(entry, content.replace(b'name="Messages"', f'name="{name}"'.encode()))
    item = drop(harness, packed.getvalue())
    assert (item.state, item.disposition) == ("settled", "expanded")
    assert [outcome for outcome, _, _ in read_outcomes(write_receipt(harness, item))] == ["ticket"]


def test_expansion_stops_when_its_claim_is_lost(harness: IngestHarness) -> None:
    harness.accept(workbook_arrival(make_workbook(make_row(1))))
    (claimed,) = claims.claim(harness.database, "mine", 10)
    task = harness.pipeline.planner.parse_task(claimed, make_workbook(make_row(1)))
    workbook = harness.pool.parse([task])[0]
    harness.expire()
    assert expand(harness.database, "mine", claimed, workbook, "") is False  # type: ignore[arg-type]
    assert harness.items(kind="row") == []


def test_database_error_while_expanding_is_a_failure_of_the_workbook(
    monkeypatch: pytest.MonkeyPatch, harness: IngestHarness
) -> None:
    def refuse(*_arguments: object) -> str:
        raise ValueError("what a statement may raise")

    monkeypatch.setattr(expand_module, "place_of", refuse)
    accepted = harness.accept(workbook_arrival(make_workbook(make_row(1))), arrival(make_mail()))
    for _ in range(3):
        harness.drain()
        harness.make_due()
    items = {item.id: item for item in harness.items()}
    book, mail = (items[one.item_id] for one in accepted)
    assert (book.disposition, book.reason_code, mail.disposition) == ("quarantined", "not_storable", "ticket")
    assert book.ticket_id


def test_two_thousand_rows_become_tickets_in_under_thirty_seconds(harness: IngestHarness) -> None:
    raw = make_workbook(*(make_row(count) for count in range(2_000)))
    start = time.monotonic()
    item = drop(harness, raw)
    seconds = time.monotonic() - start
    assert item.reason == "2000 rows: 2000 new, 0 known before"
    assert Counter(row.disposition for row in harness.items(kind="row")) == {"ticket": 2_000}
    assert seconds < 30
    receipt = write_receipt(harness, item)
    assert Counter(outcome for outcome, _, _ in read_outcomes(receipt)) == {"ticket": 2_000}


def test_receipt_of_an_item_that_is_no_workbook_is_refused(harness: IngestHarness) -> None:
    (mail,) = harness.take(arrival(make_mail()))
    with pytest.raises(NotFoundError):
        write_receipt(harness, mail)
    bad = drop(harness, b"nothing of the kind")
    with pytest.raises(RefusedError):
        write_receipt(harness, bad)
