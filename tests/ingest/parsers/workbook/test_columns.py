"""Headers identified by name, the columns of a receipt, and cells that look like formulas."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.workbook.cells import clean_cell, escape_controls, escape_formula, show_value, unescape_formula
from ingest.parsers.workbook.columns import (
    ALIASES,
    find_receipt_columns,
    index_aliases,
    make_key,
    read_header,
    strip_receipt,
)

INDEX = index_aliases({})


@pytest.mark.parametrize("spelling", ["E-Mail Address", "email_address", "EmailAddress", "  email  ADDRESS: "])
def test_spellings_of_one_name_are_one_name(spelling: str) -> None:
    assert make_key(spelling) == "emailaddress"
    assert INDEX[make_key(spelling)][1] == "sender_email"


def test_a_number_sign_reads_number() -> None:
    assert INDEX[make_key("Account #")][1] == "account_number"


def test_no_name_stands_for_two_columns() -> None:
    keys = Counter(key for names in ALIASES.values() for key in {make_key(name) for name in names})
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize("canonical", ALIASES)
def test_each_canonical_name_is_a_header_itself(canonical: str) -> None:
    assert INDEX[make_key(canonical)] == (1, canonical)


def test_sentence_is_not_a_header() -> None:
    assert read_header(1, ["Message", "s" * 200], INDEX) is None
    assert read_header(1, ["Please read the message", "Sender of the message"], INDEX) is None


def test_header_called_reason_or_ticket_alone_is_not_a_receipt() -> None:
    assert find_receipt_columns(["Message", "Reason", "Ticket", "Outcome"]) is None
    assert find_receipt_columns(["Message", "Outcome", "Ticket", "Reason", "Mine"]) == 1
    assert strip_receipt(["m", "ticket", "BS-000001", "", "mine", ""], 1) == ("m", "mine")
    header = read_header(1, ["Message", "Reason", "Sender"], INDEX)
    assert header is not None
    assert header.columns == {"sender_name": 2, "message": 0, "category": 1}


@pytest.mark.parametrize("text", ["=1+1", "+1 555", "-5", "@a", "\tx", "\rx", "\x00x", "'=1", "''-x"])
def test_text_that_could_be_a_formula_is_escaped_and_restored(text: str) -> None:
    assert escape_formula(text) == "'" + text
    assert unescape_formula(escape_formula(text)) == text


@given(st.text(alphabet="'=+-@\t\r\x00ab _x0D", max_size=12))
def test_escaping_is_undone_exactly(text: str) -> None:
    assert unescape_formula(escape_formula(text)) == text
    assert escape_formula(text)[:1] not in tuple("=+-@\t\r\x00")


@given(st.text(max_size=30) | st.text(alphabet="_x0005FD ", max_size=30))
def test_a_cleaned_text_is_written_and_read_as_itself(text: str) -> None:
    cleaned = clean_cell(escape_controls(text))
    assert clean_cell(escape_controls(cleaned)) == cleaned


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "TRUE"), (17, "17"), (17.0, "17"), (1e15, "1000000000000000"), (0.1 + 0.2, "0.3"),
        (float("inf"), ""), (-2.5, "-2.5"), (10**20, "100000000000000000000"),
    ],
)  # fmt: skip
def test_numbers_are_shown_as_a_spreadsheet_does(value: object, text: str) -> None:
    assert show_value(value) == text
