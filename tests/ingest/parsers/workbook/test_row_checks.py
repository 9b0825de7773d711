"""Rows that cannot become a ticket, and dates as people and programs write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.workbook.parse import find_row_problem, read_sent_at

VALID_ROW = {"sender_email": "dana@riverside.example", "message": "Where is it?", "sent_at": "2026-11-20"}


def test_a_row_with_sender_text_and_date_has_no_problem() -> None:
    assert find_row_problem(VALID_ROW) is None
    assert find_row_problem({"company": "Riverside", "subject": "Claim"}) is None
    assert find_row_problem({"sender_name": "Dana", "sender_email": "none", "subject": "Claim"}) is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "no_sender"),
        ({"sender_email": "not an address", "message": "x"}, "no_sender"),
        ({"sender_email": "a@b.example, c@d.example", "message": "x"}, "no_sender"),
        ({"sender_name": "  ", "phone": "555", "message": "x"}, "no_sender"),
        ({"sender_name": "Dana", "message": " \n"}, "no_text"),
        ({**VALID_ROW, "sent_at": "yesterday"}, "unreadable_date"),
        ({**VALID_ROW, "sent_at": "#VALUE!"}, "unreadable_date"),
    ],
)
def test_row_that_cannot_become_a_ticket_has_a_reason_code(fields: dict[str, str], code: str) -> None:
    problem = find_row_problem(fields)
    assert problem is not None
    assert problem.code == code
    assert problem.text.endswith(".")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20", (2026, 11, 20)),
        ("2026-11-20T09:30:00", (2026, 11, 20, 9, 30)),
        ("2026-11-20 09:30", (2026, 11, 20, 9, 30)),
        ("2026-11-20T09:30:15.250Z", (2026, 11, 20, 9, 30, 15)),
        ("2026-11-20T09:30:00-06:00", (2026, 11, 20, 15, 30)),
        ("2026-11-20 23:30:00 +0530", (2026, 11, 20, 18)),
        ("2026/11/20 9:30", (2026, 11, 20, 9, 30)),
        ("20261120", (2026, 11, 20)),
        ("20261120T093015Z", (2026, 11, 20, 9, 30, 15)),
        ("11/20/2026", (2026, 11, 20)),
        ("3/4/26", (2026, 3, 4)),
        ("11/20/2026 9:30 AM", (2026, 11, 20, 9, 30)),
        ("11/20/2026 12:05 AM", (2026, 11, 20, 0, 5)),
        ("11/20/2026 12:05:06 p.m.", (2026, 11, 20, 12, 5, 6)),
        ("11-20-2026 9:30PM EST", (2026, 11, 21, 2, 30)),
        ("11/20/2026, 9:30:00 AM", (2026, 11, 20, 9, 30)),
        ("Nov 20, 2026 09:30 AM", (2026, 11, 20, 9, 30)),
        ("November 20th, 2026 at 4:15 pm", (2026, 11, 20, 16, 15)),
        ("Fri, 20 Nov 2026 09:30:00 -0600", (2026, 11, 20, 15, 30)),
        ("20-Nov-2026", (2026, 11, 20)),
        ("  2026-11-20\n09:30 ", (2026, 11, 20, 9, 30)),
        ("46346.395833333336", (2026, 11, 20, 9, 30)),
    ],
)
def test_dates_are_read_in_utc(text: str, moment: tuple[int, ...]) -> None:
    assert read_sent_at(text) == datetime(*moment, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "20/11/2026", "2026-13-01", "2026-02-30", "11/20/2026 13:00 PM", "2026-11-20 25:00", "0001-01-01",
        "Nonsense 20, 2026", "Marchmallow 1, 2026", "2026-11-20 XYZ", "99999", "5550104477", "12:30", "00000000",
        "9" * 100, "2026-11-20T09:30:00+99:99",
    ],
)  # fmt: skip
def test_text_that_is_not_a_date_gives_none(text: str) -> None:
    assert read_sent_at(text) is None


@given(st.text(max_size=70) | st.text(alphabet="0123456789-/: TZAPM+.", max_size=30))
def test_any_text_gives_a_moment_in_utc_or_none(text: str) -> None:
    moment = read_sent_at(text)
    assert moment is None or moment.tzinfo is UTC


@given(st.datetimes(min_value=datetime(1990, 1, 2), max_value=datetime(2199, 1, 1)))  # noqa: DTZ001
def test_every_iso_moment_is_read_to_the_second(moment: datetime) -> None:
    assert read_sent_at(moment.isoformat()) == moment.replace(microsecond=0, tzinfo=UTC)
