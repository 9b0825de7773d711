"""Split mbox files."""

import io
import mailbox
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sources.mbox import is_mbox, read_mbox

SEPARATOR = b"From ann@clinic.example Mon Nov  2 09:00:00 2026\n"


def split_mbox(data: bytes) -> list[bytes]:
    """Return the messages of an mbox in memory."""
    return [message for message, _ in read_mbox(io.BytesIO(data), len(data))]


def test_messages_have_no_separator_and_no_closing_blank_line() -> None:
    data = SEPARATOR + b"Subject: a\n\none\n\n" + SEPARATOR + b"Subject: b\n\ntwo\n\n"
    assert split_mbox(data) == [b"Subject: a\n\none\n", b"Subject: b\n\ntwo\n"]


def test_one_quote_sign_is_removed_from_quoted_from_line() -> None:
    data = SEPARATOR + b"Subject: a\n\n>From the desk\n>>From deeper\n> From a quote\n>Fromage\n"
    assert split_mbox(data) == [b"Subject: a\n\nFrom the desk\n>From deeper\n> From a quote\n>Fromage\n"]


def test_sentence_that_begins_with_from_is_no_separator() -> None:
    body = b"Subject: a\n\nFrom now on, call me.\n\nFrom 9:30 we are here\n"
    assert split_mbox(SEPARATOR + body) == [body]


@pytest.mark.parametrize(
    "separator",
    [
        b"From - Mon Nov  2 09:00:00 2026\n",
        b"From MAILER-DAEMON Mon Nov  2 09:00 2026\n",
        b"From 1700@xxx Mon Nov 02 09:00:00 +0000 2026\n",
        b"From ???@??? Mon Nov  2 09:00:00 2026\r\n",
    ],
)
def test_separators_of_common_programs_are_recognised(separator: bytes) -> None:
    data = separator + b"Subject: a\n\none\n\n" + separator + b"Subject: b\n\ntwo\n"
    assert split_mbox(data) == [b"Subject: a\n\none\n", b"Subject: b\n\ntwo\n"]


def test_line_ends_are_preserved() -> None:
    data = (SEPARATOR + b"Subject: a\n\none\n\n" + SEPARATOR + b"Subject: b\n\n>From x\n").replace(b"\n", b"\r\n")
    assert split_mbox(data) == [b"Subject: a\r\n\r\none\r\n", b"Subject: b\r\n\r\nFrom x\r\n"]


def test_file_that_is_no_mbox_has_no_messages() -> None:
    assert split_mbox(b"") == []
    assert split_mbox(b"Subject: a\n\n" + SEPARATOR) == []
    assert not is_mbox(b"Subject: a\n\nFrom b\n")
    assert is_mbox(b"\r\n" + SEPARATOR)


def test_large_message_is_cut_and_the_next_one_is_complete() -> None:
    large = b"Subject: a\n\n" + b"x" * 80 + b"\n"
    data = SEPARATOR + large * 50_000 + b"\n" + SEPARATOR + b"Subject: b\n\ntwo\n"
    (first, size), (second, _) = read_mbox(io.BytesIO(data), 10_000)
    assert size == len(large) * 50_000
    assert 10_000 <= len(first) < 11_000 and first.startswith(large)
    assert second == b"Subject: b\n\ntwo\n"


def test_line_of_many_megabytes_is_one_line() -> None:
    body = b"Subject: a\n\n" + b"x" * (3 * 1024 * 1024) + SEPARATOR + b"end\n"
    assert split_mbox(SEPARATOR + body) == [body]


LINES = st.lists(st.sampled_from([b"", b"text", b"From x", b">From y", b">>From z", SEPARATOR.strip(), b">"]), max_size=8)


@given(st.lists(LINES, min_size=1, max_size=4))
def test_messages_written_as_mboxrd_are_read_back(messages: list[list[bytes]]) -> None:
    bodies = [b"Subject: a\n\n" + b"".join(line + b"\n" for line in lines) + b"end\n" for lines in messages]
    quoted = [b"".join(b">" * line.lstrip(b">").startswith(b"From ") + line for line in body.splitlines(True)) for body in bodies]
    data = b"".join(SEPARATOR + body + b"\n" for body in quoted)
    assert split_mbox(data) == bodies


def test_messages_are_those_of_the_standard_library(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "box.mbox")
    for number in range(20):
        box.add(f"From: ann@clinic.example\nSubject: {number}\n\nFrom the desk\n\n".encode())
    box.close()
    found = split_mbox((tmp_path / "box.mbox").read_bytes())
    assert [raw.splitlines()[1] for raw in found] == [f"Subject: {number}".encode() for number in range(20)]
    assert all(b"\nFrom the desk\n" in raw for raw in found)
