"""Workbooks: the corpus, row identities, limits, and arbitrary bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parsers.types import ParsedWorkbook, ParseOptions, Refusal
from ingest.parsers.workbook.parse import CANONICAL_COLUMNS, MAX_COLUMNS, MAX_ROWS, parse_workbook
from tests.corpus.workbooks.build import (
    BUILDERS,
    DATA,
    FOLDER,
    HEADERS,
    PASSWORD,
    make_book,
    make_cell,
    make_message,
    make_parts,
    make_row,
    save,
    zip_parts,
)

EXPECTED: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text("utf-8"))
ROOT = Path(__file__).parents[4]


def parse(data: bytes, **options: Any) -> ParsedWorkbook:
    parsed = parse_workbook(data, ParseOptions(**options))
    assert isinstance(parsed, ParsedWorkbook), parsed
    return parsed


def refuse(data: bytes, **options: Any) -> Refusal:
    refusal = parse_workbook(data, ParseOptions(**options))
    assert isinstance(refusal, Refusal)
    return refusal


def write(*rows: Sequence[object]) -> bytes:
    return save(make_book(*rows))


def test_each_file_of_the_corpus_has_its_builder_and_its_expectation() -> None:
    files = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", ".json") and path.is_file()}
    assert files == set(BUILDERS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_each_workbook_of_the_corpus_reads_as_expected(name: str) -> None:
    expected = EXPECTED[name]
    passwords = ("wrong", expected["password"]) if "password" in expected else ()
    parsed = parse_workbook((FOLDER / name).read_bytes(), ParseOptions(passwords=passwords))
    if isinstance(parsed, Refusal):
        assert parsed.code == expected.get("refusal"), parsed
        assert expected.get("says", "") in parsed.text
        return
    assert {s.name: [s.header_row, s.columns] for s in parsed.sheets} == expected["headers"]
    read = [[r.sheet, r.number, None if r.identity.startswith("hash:") else r.identity, r.fields, r.extra] for r in parsed.rows]
    assert read == expected["rows"]
    assert list(parsed.hidden_sheets) == expected.get("hidden", [])
    assert list(parsed.sheets_without_header) == expected.get("headerless", [])
    assert list(parsed.notes) == expected.get("notes", [])


@pytest.mark.parametrize("name", ["lying-dimension.xlsx", "sparse.xlsx", "far-row.xlsx", "bomb.xlsx", "doctype.xlsx"])
def test_a_hostile_workbook_costs_neither_time_nor_memory(name: str) -> None:
    data = (FOLDER / name).read_bytes()
    tracemalloc.start()
    started = time.perf_counter()
    parse_workbook(data, ParseOptions())
    took = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 2
    assert peak < 8_000_000


def test_ten_thousand_rows_are_read_and_one_more_is_refused() -> None:
    rows = [("Subject", "Message"), *((f"S{number}", "text") for number in range(MAX_ROWS))]
    assert len(parse(write(*rows)).rows) == MAX_ROWS
    assert refuse(write(*rows, ("one", "more"))).code == "too_many_rows"


def test_two_hundred_columns_are_read_and_one_more_is_refused() -> None:
    header = ("Subject", "Message", *(f"C{number}" for number in range(2, MAX_COLUMNS)))
    row = tuple(f"v{number}" for number in range(MAX_COLUMNS))
    assert len(parse(write(header, row)).rows[0].extra) == MAX_COLUMNS - 2
    assert refuse(write(header, (*row, "one more"))).code == "too_many_columns"
    assert refuse(write((*header, "one more"), row)).code == "too_many_columns"


def test_a_row_keeps_its_identity_in_a_longer_export() -> None:
    listed = [("A", "text", "Ana"), ("A", "text", "Ana"), ("B", "text", "Ben")]
    header = ("Subject", "Message", "Sender")
    short = [row.identity for row in parse(write(header, *listed)).rows]
    longer = write(("Export",), (), header, *listed[:2], (), ("new", "text", "Eve"), listed[2], ("A", "text", "Ana"))
    assert [row.identity for row in parse(longer).rows if row.identity in short] == short
    assert len({row.identity for row in parse(longer).rows}) == 5
    assert [identity.rsplit(":")[-1] for identity in short] == ["1", "2", "1"]


def test_cells_that_join_to_the_same_text_have_different_identities() -> None:
    rows = parse(write(("Subject", "Message"), ("a", "b c"), ("a b", "c"), ("a,b", "c"), ("", "abc"))).rows
    assert len({row.identity for row in rows}) == 4


def test_message_id_is_the_identity_and_an_overlong_one_is_not() -> None:
    rows = parse(write(("Message ID", "Message"), ("M-7", "x"), ("long" * 100, "y"), (None, "z"))).rows
    assert rows[0].identity == "M-7"
    assert all(row.identity.startswith("hash:") for row in rows[1:])


def test_a_configured_header_name_wins_over_a_built_in_one() -> None:
    data = write(("Subject", "Betreff", "Nachricht"), ("old", "new", "Guten Tag"))
    parsed = parse(data, column_aliases={"subject": ("betreff",), "message": ("NACHRICHT",), "unknown": ("x",)})
    assert parsed.rows[0].fields == {"subject": "new", "message": "Guten Tag"}
    assert parsed.rows[0].extra == {"Subject": "old"}


def test_of_two_matching_columns_the_more_specific_one_is_used() -> None:
    parsed = parse(write(("Date", "Notes", "Sent Date", "Message Text"), ("d1", "n", "d2", "m")))
    assert parsed.rows[0].fields == {"sent_at": "d2", "message": "m"}
    assert parsed.rows[0].extra == {"Date": "d1", "Notes": "n"}


def test_columns_without_a_name_or_with_one_name_are_all_kept() -> None:
    parsed = parse(write(("Message", "Sender", "Note to us", None, "Note to us"), ("m", "s", "1", "2", "3", "4")))
    assert parsed.rows[0].extra == {"Note to us": "1", "Column D": "2", "Note to us (E)": "3", "Column F": "4"}


def test_canonical_columns_are_the_thirteen_of_the_contract() -> None:
    assert CANONICAL_COLUMNS == (
        "message_id", "thread_id", "sent_at", "company", "account_number", "sender_name", "sender_email", "phone",
        "subject", "message", "category", "reference", "attachment_names",
    )  # fmt: skip


def test_header_is_searched_only_in_the_first_twenty_rows() -> None:
    titles = [("title",)] * 19
    assert parse(write(*titles, HEADERS, make_message(1))).sheets[0].header_row == 20
    assert refuse(write(*titles, ("title",), HEADERS, make_message(1))).code == "no_header"


def test_one_known_column_or_no_text_column_is_not_a_header() -> None:
    assert refuse(write(("Message", "Colour"), ("x", "y"))).code == "no_header"
    assert refuse(write(("Sender", "Email", "Phone"), ("x", "y", "z"))).code == "no_header"


def test_a_header_repeated_by_page_breaks_is_left_out() -> None:
    parsed = parse(write(("Subject", "Message"), ("a", "b"), ("Subject", "Message"), ("c", "d")))
    assert [row.number for row in parsed.rows] == [2, 4]
    assert parsed.notes == ("1 rows repeat the header and were left out.",)


def test_refusal_counts_the_hidden_sheets() -> None:
    book = make_book(("Colour",))
    book.create_sheet("Messages").sheet_state = "hidden"
    assert "1 hidden" in refuse(save(book)).text


def test_texts_shared_between_cells_are_read_as_excel_writes_them() -> None:
    strings = (
        '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>Subject</t></si>'
        "<si><t>Message</t></si><si><r><t>bo</t></r><r><t>ld</t></r></si></sst>"
    )
    rows = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
    parts = make_parts(f'<sheetData>{rows}<row><c t="s"><v>2</v></c><c t="str"><f>A2</f><v></v></c></row></sheetData>')
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    listed = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'.encode()
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", listed)
    parsed = parse(zip_parts({**parts, "xl/sharedStrings.xml": strings.encode()}))
    assert [row.fields for row in parsed.rows] == [{"subject": "bold"}]
    assert parsed.notes == ()


def test_formats_that_cannot_be_read_do_not_lose_the_rows() -> None:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"
    parts = make_parts(DATA)
    listed = f'<Override PartName="/xl/styles.xml" ContentType="{kind}"/></Types>'.encode()
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", listed)
    parts["xl/styles.xml"] = b"<styleSheet><fills><fill>none</fill></fills>"
    parsed = parse(zip_parts(parts))
    assert len(parsed.rows) == 1
    assert parsed.notes == ("The formats could not be read: dates may stand as numbers.",)


@pytest.mark.parametrize(
    "cell",
    ['<c r="!"><v>1</v></c>', '<c r="ZZZZ1"><v>1</v></c>', '<row r="0"/>', '<c r="A3"><v>1</v>'],
)
def test_contradicting_cells_are_a_refusal(cell: str) -> None:
    sheet = f'<sheetData>{make_row(1, "Subject", "Message")}<row r="3">{cell}</row><row r="2"/></sheetData>'
    assert refuse(zip_parts(make_parts(sheet))).code == "workbook_damaged"


def test_an_integer_too_long_for_a_number_stays_a_text() -> None:
    sheet = f'<sheetData>{make_row(1, "Subject", "Message")}<row r="2"><c r="A2"><v>{"9" * 5000}</v></c></row></sheetData>'
    parsed = parse(zip_parts(make_parts(sheet)))
    assert parsed.rows[0].fields == {"subject": "9" * 5000}


def test_the_parser_refuses_to_run_without_defusedxml() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import ingest.parsers.workbook.parse"],
        env={**os.environ, "OPENPYXL_DEFUSEDXML": "False"},
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 1
    assert b"defusedxml" in ran.stderr


def test_reading_is_quick_enough_for_a_parser_process() -> None:
    row = ("M", "T", "2026-11-20", "Riverside", "00042", "Dana", "d@x.example", 5550104477, "Subject", "text " * 30)
    data = write(("Message ID", "Thread", "Sent", "Practice", "Acct", "Name", "Email", "Phone", "Subject", "Message",
                  "Type", "Ref"), *((*row, "Claims", number) for number in range(2_000)))  # fmt: skip
    started = time.process_time()
    assert len(parse(data).rows) == 2_000
    assert 2_000 / (time.process_time() - started) > 1_000


@given(st.binary(max_size=400))
def test_any_bytes_give_a_workbook_or_a_refusal(data: bytes) -> None:
    for magic in (b"", b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        assert isinstance(parse_workbook(magic + data, ParseOptions(passwords=("x",))), Refusal)


PLAIN = (FOLDER / "plain.xlsx").read_bytes()
ENCRYPTED = (FOLDER / "encrypted.xlsx").read_bytes()


DAMAGE = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([PLAIN, ENCRYPTED]), DAMAGE)
def test_a_workbook_with_damaged_bytes_never_raises(whole: bytes, damage: list[tuple[float, int]]) -> None:
    damaged = bytearray(whole)
    for place, value in damage:
        damaged[int(place * len(whole))] = value
    parsed = parse_workbook(bytes(damaged), ParseOptions(passwords=(PASSWORD,)))
    assert isinstance(parsed, ParsedWorkbook | Refusal)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="<>/cvrs=\"A12 tfis'nlS&;.-eE", max_size=80))
def test_any_sheet_content_never_raises(content: str) -> None:
    row = make_cell("A1", "Subject") + make_cell("B1", "Message")
    data = zip_parts(make_parts(f'<sheetData><row r="1">{row}</row><row>{content}</row></sheetData>'))
    assert isinstance(parse_workbook(data, ParseOptions()), ParsedWorkbook | Refusal)
