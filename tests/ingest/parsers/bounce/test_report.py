"""Reports of mail systems: arbitrary bytes, time limits on hostile ones, and cases beyond the corpus."""

from __future__ import annotations

import random
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.parsers.bounce.text_report import read_text_report
from ingest.parsers.mail.authentication import MAX_VALUE_LENGTH, read_authentication
from ingest.parsers.mail.headers import read_block
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import ParsedMail, ParseOptions, Refusal

FOLDER = Path(__file__).parents[3] / "corpus" / "mail"
KINDS = ("bounce", "delay", "complaint", "receipt", "auth_")
REPORTS = [path.read_bytes() for path in sorted(FOLDER.glob("*.eml")) if path.name.startswith(KINDS)]
OPTIONS = ParseOptions(authserv_id="mx.acme.example")
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
HEAD = "Return-Path: <>\nFrom: MAILER-DAEMON@x.example\nSubject: failure notice\n"


def read_report(text: str) -> ParsedMail:
    found = parse_mail((HEAD + text).encode(), OPTIONS)
    assert isinstance(found, ParsedMail)
    return found


@given(st.integers(min_value=0, max_value=2**32))
@FUZZ
def test_no_damaged_report_raises(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(chance.choice(REPORTS))
    for _ in range(chance.randint(1, 10)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 2, 20, 200)))
        other = chance.choice(REPORTS)
        cut = chance.randrange(len(other))
        data[start:end] = chance.choice((b"", chance.randbytes(3), other[cut : cut + 60], bytes(data[start:end]) * 2))
    found = parse_mail(bytes(data), OPTIONS)
    assert not isinstance(found, Refusal) or found.code in ("empty", "not_a_mail")
    msgspec.msgpack.encode(found)


WORDS = st.sampled_from(
    ["mx.acme.example", ";", "dmarc=pass", "dkim=pass", "header.d=", "customer.example", "(", ")", '"', "\\", " ", "1", "=",
     "none", "smtp.mailfrom=", "@", "é", "\x00", "spf", ".", "reason="]
)  # fmt: skip


@given(st.lists(WORDS, max_size=30).map("".join))
@FUZZ
def test_no_authentication_results_raise(value: str) -> None:
    read_authentication([f"mx.acme.example; {value}", value], "mx.acme.example", "ana@customer.example")
    read_authentication([value], "microsoft365", "ana@customer.example")


HOSTILE = {
    "newlines": "\n" * 60_000,
    "quotes": "> " * 30_000,
    "dashes": "--\n" * 20_000,
    "addresses": "<a@b.example>\n" * 4_000,
    "unended addresses": "<a@" * 20_000,
    "codes": "5.1." * 15_000,
    "one long line": "x" * 60_000,
    "words and colons": "aa bb: " * 8_000,
    "message ids": "Message-ID: <" * 5_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_read_in_time(name: str) -> None:
    start = time.process_time()
    read_text_report(read_block(HEAD.encode()).headers, HOSTILE[name], "failure notice")
    assert time.process_time() - start < 2


@pytest.mark.parametrize("value", ["(" * 3_900, "a=b " * 900, "dkim=pass header.d=" + "a." * 1_500])
def test_hostile_authentication_results_are_read_in_time_and_authenticate_no_sender(value: str) -> None:
    start = time.process_time()
    found = read_authentication([f"mx.acme.example; {value}", value], "mx.acme.example", "ana@customer.example")
    assert time.process_time() - start < 2
    assert not found.passed


def test_results_over_the_length_limit_authenticate_no_sender() -> None:
    value = "mx.acme.example; dmarc=pass header.from=customer.example" + " " * MAX_VALUE_LENGTH
    assert not read_authentication([f"{value}x"], "mx.acme.example", "ana@customer.example").passed


def test_a_thousand_recipients_are_read_up_to_a_limit() -> None:
    group = "Final-Recipient: rfc822; a{}@x.example\nAction: failed\nStatus: 5.1.1\n\n"
    head = "MIME-Version: 1.0\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
    found = read_report(head + "".join(map(group.format, range(1_000))) + "--b--\n")
    assert found.report is not None
    assert (found.is_bounce, len(found.report.recipients)) == (True, 200)


def test_without_authserv_id_no_authentication_is_reported() -> None:
    found = parse_mail(REPORTS[0], ParseOptions())
    assert isinstance(found, ParsedMail)
    assert found.authentication is None
