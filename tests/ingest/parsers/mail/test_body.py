from __future__ import annotations

import base64

import pytest

from ingest.parsers.mail.body import MAX_PART_BYTES, build_body, unwrap_flowed
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.mail.parts import Leaf
from ingest.parsers.types import ParsedMail, ParseOptions


def test_text_alternative_is_preferred_and_parts_are_joined() -> None:
    leaves = [
        Leaf("text/plain", b"one", alternative=1),
        Leaf("text/html", b"<p>ONE</p>", alternative=1),
        Leaf("text/html", b"<p>two</p>"),
        Leaf("text/plain", b"three"),
    ]
    assert build_body(leaves, [], html_text=False).text == "one\n\ntwo\n\nthree"


def test_newlines_are_normalised_and_control_characters_removed() -> None:
    assert build_body([Leaf("text/plain", b"a\r\nb\rc\n\0\x07d\te")], [], html_text=False).text == "a\nb\nc\nd\te"


def test_page_is_rendered_once() -> None:
    notes: list[str] = []
    body = build_body([Leaf("text/html", b"<p>\xfc</p>")], notes, html_text=True)
    assert (body.text, body.html_text, notes) == ("ü", "ü", ["charset_windows_1252"])


def test_body_over_the_limit_is_cut_at_a_line_end() -> None:
    notes: list[str] = []
    body = build_body([Leaf("text/plain", "ü\n".encode() * MAX_PART_BYTES)], notes, html_text=False)
    assert notes[0] == "body_cut"
    assert set(body.text) == {"ü", "\n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a \nb", "a b"),
        ("a\nb", "a\nb"),
        ("> a \n> b\nc", "> a b\nc"),
        ("> a \n>> b", "> a \n>> b"),
        ("a \n> b", "a \n> b"),
        ("-- \nAna \nBell", "-- \nAna Bell"),
        ("a \n-- \nb", "a \n-- \nb"),
        (" From here\n >not quoted", "From here\n>not quoted"),
        ("", ""),
    ],
)
def test_flowed_lines_are_joined(text: str, expected: str) -> None:
    assert unwrap_flowed(text, del_space=False) == expected


def read_body(content: bytes) -> str:
    mail = parse_mail(b"From: a@x.example\nSubject: s\n\n" + content, ParseOptions())
    assert isinstance(mail, ParsedMail)
    return mail.body


def test_undeclared_base64_body_is_decoded() -> None:
    text = "Die Rechnung ist falsch – bitte prüfen Sie sie noch einmal und rufen Sie zurück.\n" * 40
    assert read_body(base64.encodebytes(text.encode())) == text.strip()


@pytest.mark.parametrize(
    "content",
    [
        base64.encodebytes(bytes(range(256))),
        base64.encodebytes(b"x" * 300),
        b"See:\n" + base64.encodebytes(b"a word and another " * 20),
        base64.encodebytes(b"a short text"),
        base64.encodebytes(b"\x1b[1m words and words " * 20),
    ],
)
def test_doubtful_base64_stays_unchanged(content: bytes) -> None:
    assert read_body(content).split() == content.decode().split()
