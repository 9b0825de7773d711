from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parsers.mail.headers import MAX_LINES, clean_text, decode_base64, decode_words, find_empty_line, read_block, read_ids


@pytest.mark.parametrize("newline", [b"\r\n", b"\n", b"\r"])
def test_block_ends_at_first_blank_line_for_every_line_ending(newline: bytes) -> None:
    data = newline.join([b"Subject: one", b" two", b"TO : a@x.example", b"", b"body", b"", b"X: y"])
    block = read_block(data)
    assert block.headers.read_text("subject") == "one two"
    assert block.headers.read_first("to") == b"a@x.example"
    assert data[block.body_start :] == newline.join([b"body", b"", b"X: y"])
    assert "x" not in block.headers


@given(st.text("a\r\n", max_size=14), st.integers(0, 3), st.integers(0, 16))
@settings(max_examples=2_000)
def test_the_first_empty_line_is_found_as_a_regular_expression_finds_it(text: str, start: int, stop: int) -> None:
    found = re.compile(rb"(?>\r\n|\r|\n){2}").search(text.encode(), start, stop)
    assert find_empty_line(text.encode(), start, stop) == (found.span() if found else None)


def test_repeated_fields_are_kept_top_to_bottom() -> None:
    headers = read_block(b"X-A: 1\nx-a: 2\nX-A: 3\n\n").headers
    assert headers.read_all("x-a") == [b"1", b"2", b"3"]
    assert headers.read_first("x-a") == b"1"


def test_a_block_over_100_kb_is_cut_at_a_line_and_its_body_still_found() -> None:
    block = read_block(b"Subject: s\n" + b"X: " + b"a" * 60_000 + b"\nY: " + b"b" * 60_000 + b"\nZ: c\n\nbody")
    assert block.headers.read_text("subject") == "s"
    assert "z" not in block.headers
    assert block.headers.notes == ["headers_cut"]
    assert block.body_start == len(b"Subject: s\nX: \nY: \nZ: c\n\n") + 120_000


def test_lines_over_the_limit_are_left_out() -> None:
    headers = read_block(b"A: b\n" * MAX_LINES + b"Late: x\n\n").headers
    assert "late" not in headers
    assert headers.notes == ["header_lines_cut"]


@pytest.mark.parametrize(
    ("data", "is_mail"),
    [
        (b"Subject: x\n\n", True),
        (b"x-mailer: y\n\n", True),
        (b'{"a": 1}\n', False),
        (b"2025-01-01 10:00:00 INFO: started\n", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"no colon here\n", False),
    ],
)
def test_only_known_mail_fields_make_a_mail(data: bytes, is_mail: bool) -> None:
    assert read_block(data).headers.looks_like_mail is is_mail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("=?utf-8?Q?a_b=3D?=", "a b="),
        ("=?UTF-8?b?w7w=?=", "ü"),
        ("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?= x", "ü x"),
        ("a =?utf-8?Q?b?= c", "a b c"),
        ("=?utf-8?Q?a?=\t =?utf-8?Q?b?=", "ab"),
        ("=?utf-8*en?Q?a?=", "a"),
        ("=?utf-8?Q?a b?=", "a b"),
        ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
        ("=?utf-8?Q?a", "=?utf-8?Q?a"),
        ("=?x-unknown?Q?=FC?=", "ü"),
        ("=?utf-8?Q?=FC?=", "ü"),
        ("=?iso-2022-jp?B?GyRCQEE1YT1xGyhC?=", "請求書"),
    ],
)
def test_encoded_words_are_decoded(text: str, expected: str) -> None:
    assert decode_words(text) == expected


@given(st.text(alphabet="=?utf-8QqBb_ \t\r\nü<>", max_size=80))
def test_decoding_words_never_raises(text: str) -> None:
    clean_text(decode_words(text)).encode("utf-8")


@given(st.text())
def test_a_cleaned_text_is_one_line_without_invisible_characters(text: str) -> None:
    cleaned = clean_text(text)
    assert not set(cleaned) & set("\r\n\0\x1b\x7f\x85\u2028\u202e\u200b\ufeff\u2066")


@given(st.binary(max_size=200))
def test_base64_decodes_with_line_breaks_and_without_padding(data: bytes) -> None:
    encoded = base64.encodebytes(data)
    assert decode_base64(encoded) == data
    assert decode_base64(encoded.replace(b"=", b"").replace(b"\n", b"\r\n")) == data


def test_truncated_base64_is_decoded_as_far_as_possible() -> None:
    assert decode_base64(b"SGVsbG8gd29ybGQ=X") == b"Hello world"
    assert decode_base64(b"SGVsb") == b"Hel"


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (b"<a@x> <b@x>\t<a@x>", ("<a@x>", "<b@x>")),
        (b"a@x", ("<a@x>",)),
        (b"Your message of Monday <a@x>", ("<a@x>",)),
        (b"<<<<<", ()),
        (b"<>", ()),
        (b"<a b@x>", ("<ab@x>",)),  # mail programs fold long ids in the middle
    ],
)
def test_message_ids_are_read_with_their_brackets(value: bytes, ids: tuple[str, ...]) -> None:
    assert read_ids(read_block(b"References: " + value + b"\n\n").headers, "references") == ids
