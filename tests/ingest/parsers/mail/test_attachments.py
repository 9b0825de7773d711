from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.parsers.mail.attachments import MAX_NAME_LENGTH, clean_name, make_attachment, split_leaves
from ingest.parsers.mail.parts import Leaf

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 30


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\ana\\x.doc", "x.doc"),
        ("../../x", "x"),
        ("..", ""),
        (".htaccess", "htaccess"),
        ("a\r\nb.txt", "a b.txt"),
        ("a\u202efdp.exe", "afdp.exe"),
        ('a<b>:"c|?*.txt', "a_b_c_.txt"),
        ("  spaced   name .txt. ", "spaced name .txt"),
        ("u\u0308.txt", "ü.txt"),
        ("", ""),
        ("x" * 300 + ".tar", "x" * 146 + ".tar"),
    ],
)
def test_a_name_is_cleaned(name: str, cleaned: str) -> None:
    assert clean_name(name) == cleaned


@given(st.text())
def test_no_cleaned_name_holds_a_path_or_a_control_character(name: str) -> None:
    cleaned = clean_name(name)
    assert len(cleaned) <= MAX_NAME_LENGTH
    assert not set(cleaned) & set("/\\\r\n\0\u202e")
    assert not cleaned.startswith(".")


@pytest.mark.parametrize(
    ("leaf", "name"),
    [
        (Leaf("message/rfc822", b"Subject: A / B\r\n\r\nx"), "A _ B.eml"),
        (Leaf("message/rfc822", b"\r\nSubject: =?utf-8?Q?=C3=BC?=\r\n\r\nx"), "ü.eml"),
        (Leaf("message/rfc822", b"From: a@x.example\r\n\r\nx"), "message.eml"),
        (Leaf("message/rfc822", b"Subject: x\r\n\r\n", name="named.eml"), "named.eml"),
        (Leaf("image/png", PNG), "image.png"),
        (Leaf("application/octet-stream", PNG), "attachment.png"),
        (Leaf("application/x-strange", b"?"), "attachment.bin"),
        (Leaf("text/calendar", b"BEGIN:VCALENDAR"), "invite.ics"),
        (Leaf("application/pdf", b"x", name="../"), "attachment.pdf"),
    ],
)
def test_every_attachment_has_a_name(leaf: Leaf, name: str) -> None:
    assert make_attachment(leaf).name == name


def test_media_type_is_sniffed_from_the_bytes() -> None:
    mislabelled = make_attachment(Leaf("text/plain", PNG, name="notes.txt"))
    assert (mislabelled.type, mislabelled.sniffed, mislabelled.size) == ("text/plain", "image/png", len(PNG))
    assert make_attachment(Leaf("text/plain", b"plain text")).sniffed is None


@pytest.mark.parametrize(
    ("leaf", "inline"),
    [
        (Leaf("image/png", PNG, disposition="inline"), True),
        (Leaf("image/png", PNG, related=True), True),
        (Leaf("image/png", PNG, related=True, disposition="attachment"), False),
        (Leaf("image/png", PNG), False),
        (Leaf("application/pdf", b"%PDF-1.7", related=True), False),
        (Leaf("text/css", b"p {}", related=True, content_id="sheet@x"), True),
    ],
)
def test_an_image_shown_in_the_body_is_inline(leaf: Leaf, inline: bool) -> None:
    assert make_attachment(leaf).inline is inline


def test_a_named_text_is_the_body_only_when_there_is_no_other() -> None:
    named, plain = Leaf("text/plain", b"n", name="n.txt"), Leaf("text/plain", b"p")
    assert split_leaves([named, plain]) == ([plain], [named])
    assert split_leaves([named]) == ([named], [])
    assert split_leaves([Leaf("text/plain", b"n", name="n.txt", disposition="attachment")])[0] == []


def test_alternative_body_formats_are_not_attachments() -> None:
    amp = Leaf("text/x-amp-html", b"<html amp4email>", alternative=1)
    assert split_leaves([Leaf("text/plain", b"p", alternative=1), amp])[1] == []
