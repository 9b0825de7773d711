"""Receipts show outcomes, contain no formula, and can be dropped again."""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook, load_workbook

from ingest.parsers.types import ParsedSheet, ParsedWorkbook, ParseOptions, WorkbookRow
from ingest.parsers.workbook.parse import parse_workbook
from ingest.workbooks.receipt import RowOutcome, write_receipt
from tests.corpus.workbooks.build import FOLDER, HEADERS, make_book, make_message, save


def parse(data: bytes) -> ParsedWorkbook:
    parsed = parse_workbook(data, ParseOptions())
    assert isinstance(parsed, ParsedWorkbook), parsed
    return parsed


def open_receipt(data: bytes) -> Workbook:
    return load_workbook(io.BytesIO(data))


def list_identities(workbook: ParsedWorkbook) -> list[str]:
    return [row.identity for row in workbook.rows]


def make_workbook(*rows: tuple[str, ...]) -> ParsedWorkbook:
    return parse(save(make_book(("Subject", "Message", "Sender"), *rows)))


def test_receipt_shows_each_row_with_its_outcome() -> None:
    workbook = make_workbook(("A", "text", "Ana"), ("B", "text", ""), ("C", "text", "Cy"))
    receipt = write_receipt(
        workbook,
        {
            ("Messages", 2): RowOutcome("ticket", "BS-000001"),
            ("Messages", 3): RowOutcome("rejected", None, "The row names no sender."),
        },
    )
    assert list(open_receipt(receipt)["Messages"].values) == [
        ("Subject", "Message", "Sender", "Outcome", "Ticket", "Reason"),
        ("A", "text", "Ana", "ticket", "BS-000001", None),
        ("B", "text", None, "rejected", None, "The row names no sender."),
        ("C", "text", "Cy", "pending", None, None),
    ]


def test_summary_counts_outcomes_and_names_sheets_that_were_not_read() -> None:
    workbook = parse((FOLDER / "hidden-sheets.xlsx").read_bytes())
    book = open_receipt(write_receipt(workbook, {("Messages", 2): RowOutcome("ticket", "BS-000001")}))
    assert book.sheetnames == ["Messages", "Receipt"]
    lines = [tuple(value for value in row if value is not None) for row in book["Receipt"].values]
    assert lines == [
        ("Receipt of a secure-message workbook",), ("Rows", 1), ("ticket", 1), (),
        ("Hidden sheets, not read",), ("Secret",), ("Deep",), (),
        ("Sheets without a header row, not read",), ("Legend",),
    ]  # fmt: skip


def test_receipt_dropped_again_has_the_same_rows() -> None:
    for name in ("plain", "kinds-of-cells", "header-in-row-5", "several-sheets", "receipt-again", "rich-text"):
        workbook = parse((FOLDER / f"{name}.xlsx").read_bytes())
        again = parse(write_receipt(workbook, {("Messages", 2): RowOutcome("duplicate", "BS-000001", "=seen")}))
        assert list_identities(again) == list_identities(workbook)
        assert [row.cells for row in again.rows] == [row.cells for row in workbook.rows]
        assert [row.fields for row in again.rows] == [row.fields for row in workbook.rows]
        assert [sheet.headers for sheet in again.sheets] == [sheet.headers for sheet in workbook.sheets]
        assert again.sheets_without_header == ()


def test_only_a_corrected_row_of_a_receipt_is_new() -> None:
    workbook = parse(save(make_book(HEADERS, make_message(1), ("", "", "", "", "", "", "No sender", "text"))))
    book = open_receipt(write_receipt(workbook, {}))
    book["Messages"]["E3"] = "Ben Ortiz"
    again = parse(save(book))
    assert again.rows[0].identity == workbook.rows[0].identity
    assert again.rows[1].identity != workbook.rows[1].identity
    assert again.rows[1].fields["sender_name"] == "Ben Ortiz"


def test_no_cell_of_a_receipt_starts_a_formula() -> None:
    nasty = ["=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "'=1"]
    workbook = make_workbook(*((text, text, text) for text in nasty))
    book = open_receipt(
        write_receipt(workbook, {("Messages", 2): RowOutcome("rejected", "=2", "\t=3"), ("Messages", 3): RowOutcome("@x")})
    )
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row if isinstance(cell.value, str)]
    assert len(cells) > 20
    assert {cell.data_type for cell in cells} == {"s"}
    assert not [cell.value for cell in cells if cell.value.startswith(("=", "+", "-", "@", "\t", "\r"))]
    again = parse(write_receipt(workbook, {}))
    assert list_identities(again) == list_identities(workbook)


def test_cell_past_the_last_header_keeps_its_column() -> None:
    workbook = parse(save(make_book(("Subject", "Message"), ("A", "text", None, "beyond"), ("B", "text"))))
    receipt = write_receipt(workbook, {})
    assert next(iter(open_receipt(receipt)["Messages"].values)) == (
        "Subject", "Message", None, None, "Outcome", "Ticket", "Reason",
    )  # fmt: skip
    assert list_identities(parse(receipt)) == list_identities(workbook)


def test_cell_longer_than_excel_allows_keeps_the_identity_of_its_row() -> None:
    row = WorkbookRow("M", 2, "", ("s", "=" + "x" * 40_000), {}, {})
    workbook = ParsedWorkbook((ParsedSheet("M", 1, ("Subject", "Message"), {}),), (row,), (), (), ())
    once = parse(write_receipt(workbook, {}))
    assert list_identities(parse(write_receipt(once, {}))) == list_identities(once)


def test_sheet_called_receipt_is_data_unless_it_is_ours() -> None:
    book = make_book(("Subject", "Message"), ("A", "text"), title="Receipt")
    workbook = parse(save(book))
    assert len(workbook.rows) == 1
    receipt = write_receipt(workbook, {})
    assert open_receipt(receipt).sheetnames == ["Receipt", "Receipt (2)"]
    assert list_identities(parse(receipt)) == list_identities(workbook)


def test_sheet_names_excel_refuses_are_corrected_and_unique() -> None:
    names = ["a" * 40, "A" * 40, "x/y:[z]", "''", "receipt"]
    sheets = tuple(ParsedSheet(name, 1, ("Subject", "Message"), {}) for name in names)
    rows = tuple(WorkbookRow(name, 2, "", ("S", name), {}, {}) for name in names)
    book = open_receipt(write_receipt(ParsedWorkbook(sheets, rows, (), (), ()), {}))
    assert book.sheetnames == ["a" * 31, "A" * 27 + " (2)", "x_y__z_", "Sheet", "receipt", "Receipt (2)"]
    assert [sheet["B2"].value for sheet in book.worksheets[:5]] == ["a" * 40, "A" * 40, "x/y:[z]", "'" * 2, "receipt"]


CELLS = st.text(max_size=15) | st.text(alphabet="'=+-@_x0D5F \n\r\t", max_size=12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4))
def test_any_texts_survive_two_receipts_unchanged(rows: list[tuple[str, str, str]]) -> None:
    listed = tuple(WorkbookRow("M", number, "", row, {}, {}) for number, row in enumerate(rows, start=2))
    sheet = ParsedSheet("M", 1, ("Subject", "Message", "Sender"), {})
    once = parse(write_receipt(ParsedWorkbook((sheet,), listed, (), (), ()), {}))
    again = parse(write_receipt(once, {}))
    assert [row.cells for row in again.rows] == [row.cells for row in once.rows]
    assert list_identities(again) == list_identities(once)
