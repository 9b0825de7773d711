"""Forwards found in texts: edge cases and hostile texts. The corpus covers mail programs and languages."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parsers.forward.forward_phrases import read_subject_prefix
from ingest.parsers.forward.original import find_inline_forward, read_person

SIZE = 400_000
BANNER = "---------- Forwarded message ---------\n"
BLOCK = "From: a@x.example\nTo: b@x.example\nDate: c\nSubject: d\n"
HOSTILE = {
    "markers": BANNER * (SIZE // 39),
    "markers with a field": (BANNER + "To:\n") * (SIZE // 43),
    "authors": "From: a\n" * (SIZE // 8),
    "authors without a value": "From:\n\n" * (SIZE // 7),
    "fields": "From: a\nDate:\n" * (SIZE // 14),
    "a long line": "From: " + "x" * SIZE,
    "at signs": "From: " + "a@" * (SIZE // 2) + "\nTo: " + "a@" * (SIZE // 2) + "\nSubject: x\nDate: y\n",
    "mailto": "From: a\nTo: " + "<mailto:" * (SIZE // 8) + "\nSubject: x\n",
    "40 kB lines": ("On Mon, Oct 6 wrote: " * 2_000 + "\n") * 25,
    "a rule above": ("_" * 5_000 + "\n") * 70 + BLOCK,
    "ends": BLOCK + "---- \n" * (SIZE // 6),
    "quotes": BLOCK + "> " * (SIZE // 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_takes_linear_time(name: str) -> None:
    start = time.process_time()
    find_inline_forward("Fwd: x", HOSTILE[name])
    find_inline_forward("x", HOSTILE[name])
    assert time.process_time() - start < 3


@given(
    st.lists(
        st.sampled_from([BANNER, BLOCK, "From:", "Von: ", "> ", "\n", " ", "a@x.example", "Date: 1\n", "---", "é", "：", "x"])
    )
)
@settings(max_examples=200, deadline=None)
def test_no_text_raises_and_nothing_of_it_is_lost(pieces: list[str]) -> None:
    body = "".join(pieces)
    found = find_inline_forward("Fwd: x", body)
    if found is not None:
        assert sum(map(body.count, "éx")) >= sum(map((found.body + found.message).count, "éx"))


@pytest.mark.parametrize(
    ("subject", "prefix"),
    [
        ("Fwd: Re: Claim", "forward"), ("RE: FW: Claim", "reply"), ("[Acme] WG: Claim", "forward"), ("Fw[2]: Claim", "forward"),
        ("VS: Lasku", "either"), ("I: Fattura", "forward"), ("R: Fattura", "reply"), ("Trouble: the claim", None),
        ("Intake: a question", None), ("转发：发票", "forward"), ("", None),
    ],
)  # fmt: skip
def test_only_the_outermost_prefix_of_a_subject_counts(subject: str, prefix: str | None) -> None:
    assert read_subject_prefix(subject) == prefix


@pytest.mark.parametrize(
    ("value", "person"),
    [
        ("Ana Bell <ana@x.example>", ("ana@x.example", "Ana Bell")),
        ("'Ana Bell' <Ana@X.example>", ("ana@x.example", "Ana Bell")),
        ("Bell, Ana <ana@x.example<mailto:ana@x.example>>", ("ana@x.example", "Bell, Ana")),
        ("Ana Bell [mailto:ana@x.example]", ("ana@x.example", "Ana Bell")),
        ("Ana Bell (ana@x.example)", ("ana@x.example", "Ana Bell")),
        ("ana@x.example", ("ana@x.example", None)),
        ("ana@x.example <ana@x.example>", ("ana@x.example", None)),
        ("*Ana* <ana@x.example>", ("ana@x.example", "Ana")),
        ("Ana Bell", (None, "Ana Bell")),
        ("", (None, None)),
    ],
)
def test_person_is_read_as_mail_programs_show_one(value: str, person: tuple[str | None, str | None]) -> None:
    assert read_person(value) == person
