"""Ticket numbers as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickets.numbers import format_number, parse_number


def test_numbers_have_six_digits_and_more_when_needed() -> None:
    assert [format_number(one) for one in (1, 123, 999_999, 1_000_000)] == ["BS-000001", "BS-000123", "BS-999999", "BS-1000000"]


@pytest.mark.parametrize("text", ["BS-000123", "bs-000123", "BS-123", "bs123", "123", "000123", "  BS-000123 \n"])
def test_number_is_parsed_in_every_usual_form(text: str) -> None:
    assert parse_number(text) == 123


@pytest.mark.parametrize("text", ["", "BS-", "BS-0", "0", "-1", "1.5", "BS-12x", "XBS-12", "BS 12", "BS-" + "9" * 30, "ten"])
def test_text_without_a_number_is_none(text: str) -> None:
    assert parse_number(text) is None


@given(st.integers(1, 10**17))
def test_formatted_number_parses_to_its_id(ticket_id: int) -> None:
    assert parse_number(format_number(ticket_id)) == ticket_id
