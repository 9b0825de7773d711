from __future__ import annotations

from ingest.parsers.mail.headers import read_block
from ingest.parsers.mail.mime_outline import Outline, build_outline, find_detached_leaf, restore_leaves


def make_outline(text: str) -> Outline:
    data = text.encode()
    block = read_block(data)
    return build_outline(data, block.headers, block.body_start)


LARGE_BODY = "QUJD" * 500
MAIL = (
    "From: a@x.example\nReceived: from a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nText\n--b\n"
    f"Content-Type: application/x-thing\nContent-Transfer-Encoding: base64\n\n{LARGE_BODY}\n--b\n"
    "Content-Type: message/rfc822\n\nSubject: inner\n\n--notours\nx\n--b--\nepilogue"
)


def test_large_bodies_and_attached_messages_are_detached_byte_for_byte() -> None:
    found = make_outline(MAIL)
    assert found.leaves == [LARGE_BODY.encode(), b"Subject: inner\n\n--notours\nx"]
    assert len(found.skeleton) < 400
    assert found.notes == []


def test_the_skeleton_holds_no_trace_or_address_fields() -> None:
    skeleton = make_outline(MAIL).skeleton
    assert b"Received" not in skeleton
    assert b"From" not in skeleton


def test_restoring_the_leaves_gives_the_original_body() -> None:
    found = make_outline(MAIL)
    assert restore_leaves(found, found.skeleton).partition(b"\n\n")[2].decode() == MAIL.partition("\n\n")[2]


def test_payload_is_a_leaf_only_when_it_is_exactly_a_placeholder() -> None:
    found = make_outline(MAIL)
    assert find_detached_leaf(found, b"casemillsetaside0leaf\n") == LARGE_BODY.encode()
    assert find_detached_leaf(found, b"x casemillsetaside0leaf") is None
    assert find_detached_leaf(found, b"casemillsetaside9leaf") is None


def test_an_inner_boundary_that_equals_the_outer_ends_the_inner_part() -> None:
    text = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n"
    assert make_outline(text).notes == []


def test_a_boundary_in_a_later_line_of_a_long_header_is_found() -> None:
    text = 'Content-Type: multipart/mixed;\n charset=utf-8;\n\tboundary="a b"\n\n--a b\n\nx\n--a b--\n'
    assert make_outline(text).notes == []


def test_missing_end_delimiter_is_noted() -> None:
    assert make_outline("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n").notes == ["end_boundary_missing"]
