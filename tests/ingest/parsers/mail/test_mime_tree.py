"""The tree built here equals the tree of the standard library; for a regular structure without its feed parser."""

from __future__ import annotations

import email
import random
from collections.abc import Callable
from email.message import Message

import pytest

from benchmarks.mails import make_mails
from ingest.parsers.mail import message as email_message
from ingest.parsers.mail import mime_tree
from ingest.parsers.mail.message import _DEFECTS, parse_mail
from ingest.parsers.mail.mime_tree import build_tree
from ingest.parsers.types import ParseOptions
from tests.ingest.parsers.hostile_mail import CORPUS, build_hostile

FEED_PARSER = email.message_from_bytes
KINDS = (None, b"text/plain", b"text/html; charset=latin-1", b"image/png", b"nonsense", b"", b"text", b"\xff/x")
TOP = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
PARTS = b"--b\r\nContent-Type: text/plain\r\n\r\none\r\n--b\r\nX: 1\r\n\tgoes on\r\n\r\ntwo\r\n"


@pytest.mark.parametrize("kind", KINDS)
def test_message_of_one_part_has_the_tree_of_the_standard_library(kind: bytes | None) -> None:
    fields = b"MIME-Version: 1.0\nDate: \xe9" + (b"" if kind is None else b"\nContent-Type: " + kind)
    for body in (b"", b"one\r\ntwo\rthree\n\nfour: 5\n", b"\n\nFrom me\n--x\n\xff\x00\x0b\x85"):
        assert_same_tree(fields + b"\n\n" + body)


REGULAR = {
    "closed, with text before and after": b"before\r\n" + PARTS + b"--b--\r\nafter\r\n",
    "closed at the very end": PARTS + b"--b--",
    "white space after delimiters": b"--b \t\n\none\n--b\t\n\n\n--b-- \n",
    "a line that only begins as a delimiter": b"--b\n\n--bb\n--b x\nx--b\n--b--x\n--b--\n",
    "parts within a part": b"--b\nContent-Type: multipart/mixed;\n boundary=\"c\"\n\n--c\n\none\n--c\n\ntwo\n--c--\n\n--b--\n",
    "bytes that are not ASCII": b"--b\nContent-Type: text/plain; name=\xe9\n\n\xff\x00\x0b\x85\n--b--\n",
    "an empty body": b"--b\nA: 1\n\n\n--b--\n",
}  # fmt: skip
IRREGULAR = {
    "never closed": PARTS,
    "closed before the first part": b"--b--\n" + PARTS + b"--b--\n",
    "no delimiter at all": b"nothing\n",
    "two delimiters in a row": b"--b\n--b\n\none\n--b--\n",
    "a delimiter at the very end": b"--b",
    "no empty line": b"--b\nContent-Type: text/plain\n--b--\n",
    "a line that is not a field": b"--b\nContent-Type: text/plain\nnonsense\n\none\n--b--\n",
    "fields that begin with a continuation": b"--b\n goes on\nA: 1\n\none\n--b--\n",
    "a field without a name": b"--b\n: 1\n\none\n--b--\n",
    "an envelope line": b"--b\nFrom me\nA: 1\n\none\n--b--\n",
    "a bare CR": b"--b\nA: 1\r--b\n\none\n--b--\n",
    "a message in it": b"--b\nContent-Type: message/rfc822\n\nSubject: x\n\none\n--b--\n",
    "a digest in it": b"--b\nContent-Type: multipart/digest; boundary=c\n\n--c\n\nSubject: x\n\none\n--c--\n--b--\n",
    "the same boundary within": b"--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n",
    "parts without a boundary": b"--b\nContent-Type: multipart/mixed\n\none\n--b--\n",
}


@pytest.mark.parametrize("name", REGULAR)
def test_regular_structure_needs_no_feed_parser(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_same_tree(TOP + REGULAR[name])
    monkeypatch.delattr(mime_tree.email, "message_from_bytes")
    assert isinstance(build_tree(TOP + REGULAR[name]).get_payload(), list)


@pytest.mark.parametrize("name", IRREGULAR)
def test_irregular_structure_uses_the_feed_parser(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(mime_tree.email, "message_from_bytes", lambda data: parsed.append(data) or FEED_PARSER(data))
    assert_same_tree(TOP + IRREGULAR[name])
    assert parsed == [TOP + IRREGULAR[name]]


def test_deep_nesting_uses_the_feed_parser() -> None:
    inner = b"\n\none\n"
    for level in range(30):
        inner = b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n%s\n--b%d--\n" % (level, level, inner, level)
    assert_same_tree(b"MIME-Version: 1.0\n" + inner)


def test_damaged_messages_have_the_tree_of_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare every skeleton of 500 damaged messages, of the mixed mails of the benchmarks, and of the hostile set."""
    skeletons: list[bytes] = []
    monkeypatch.setattr(email_message, "build_tree", lambda skeleton: skeletons.append(skeleton) or build_tree(skeleton))
    chance = random.Random(4711)
    mixed = list(make_mails(100))
    several = [mail for mail in [*CORPUS, *mixed] if b"multipart" in mail]
    for mail in [*mixed, *build_hostile().values(), *(damage(chance, chance.choice(several)) for _ in range(500))]:
        parse_mail(mail, ParseOptions())
    assert len(skeletons) > 600
    for skeleton in skeletons:
        assert_same_tree(skeleton)


PIECES = (
    b"\r", b"\n", b"\r\n", b"\n\n", b"--", b" ", b"\t", b":", b"--b", b"From ", b"\x00", b"\x0b", b"\xff", b"message/rfc822",
    b"multipart/digest", b"boundary", b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: text/plain\n",
)  # fmt: skip


def damage(chance: random.Random, mail: bytes) -> bytes:
    """Return the mail without its middle, with a few pieces inserted, removed or doubled."""
    data = bytearray(mail if len(mail) < 8_000 else mail[:2_500] + mail[-2_500:])
    for _ in range(chance.randint(1, 5)):
        near = data.find(chance.choice((b"\n--", b"\n\r\n", b"ontent-", b"boundary")), chance.randrange(len(data)))
        at = min(max(near + chance.randint(-3, 25), 0), len(data))
        end = at + chance.choice((1, 2, 5, 40))
        data[at:end] = chance.choice((b"", bytes(data[at:end]) * 2, chance.choice(PIECES) + bytes(data[at:end])))
    return bytes(data)


def assert_same_tree(skeleton: bytes) -> None:
    assert describe_tree(build_tree, skeleton) == describe_tree(FEED_PARSER, skeleton), skeleton


def describe_tree(make: Callable[[bytes], Message], skeleton: bytes) -> object:
    """Return what the parser reads from a tree: fields, type and text of each part, and the defects that become notes; or the
    exception.
    """
    try:
        message = make(skeleton)
    except Exception as error:
        return type(error)
    return [
        (
            list(part.raw_items()),
            part.get_content_type(),
            part._payload if isinstance(part._payload, str) else len(part._payload or ()),
            {type(defect).__name__ for defect in part.defects} & set(_DEFECTS),
        )
        for part in message.walk()
    ]
