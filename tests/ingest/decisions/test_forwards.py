"""Whose ticket a forwarded mail becomes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core import clock
from ingest.decisions import normalise
from ingest.decisions.classify import classify
from ingest.decisions.mail_rules import MailRules
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import ParsedMail, ParseOptions
from tests.ingest.support import RECEIVED, IngestHarness, arrival, make_mail
from tickets.submission import Submission

FORWARD = """Please take it.

---------- Forwarded message ---------
From: Ana Bell <{original}>
Date: Mon, Oct 6, 2025 at 9:15 AM
Subject: Claim 4711 denied
To: <office@acme.example>

It was denied again.
"""


def forward(original: str = "ana@customer.example", headers: list[str] | None = None, body: str = FORWARD) -> bytes:
    return make_mail(1, sender="sam@acme.example", body=body.format(original=original), headers=headers or [])


def submit(raw: bytes, **rules: frozenset[str]) -> Submission:
    mail = parse_mail(raw, ParseOptions())
    assert isinstance(mail, ParsedMail)
    known = MailRules(**{"own_addresses": frozenset(), "own_domain": "x.example", "never_answer": frozenset(), **rules})
    return normalise.from_mail(mail, classify(mail, known), known, 7, RECEIVED)


@pytest.mark.parametrize("forwarder", ["sam@acme.example", "acme.example"])
def test_forward_from_configured_forwarder_belongs_to_the_original_sender(forwarder: str) -> None:
    submission = submit(forward(), forwarders=frozenset({forwarder}))
    assert (submission.email, submission.name, submission.subject) == ("ana@customer.example", "Ana Bell", "Claim 4711 denied")
    assert (submission.text, submission.silence, submission.original) == ("It was denied again.", None, None)
    assert [reason.code for reason in submission.reasons] == ["new_matter", "forwarded"]
    assert ("forwarded by", "sam@acme.example") in submission.details
    assert ("forwarder's words", "Please take it.") in submission.details


def test_other_forward_stays_the_forwarders_with_the_original_for_intake() -> None:
    submission = submit(forward())
    assert (submission.email, submission.subject) == ("sam@acme.example", "Claim 1")
    assert submission.original is not None
    assert (submission.original.email, submission.original.original) == ("ana@customer.example", None)


@pytest.mark.parametrize(
    ("original", "rules"),
    [
        ("sam@acme.example", {}),
        ("support@acme.example", {"own_addresses": frozenset({"support@acme.example"})}),
        ("no address at all", {}),
    ],
)
def test_forward_of_own_mail_or_without_original_sender_stays_the_forwarders(
    original: str, rules: dict[str, frozenset[str]]
) -> None:
    submission = submit(forward(original), forwarders=frozenset({"acme.example"}), **rules)
    assert (submission.email, submission.original) == ("sam@acme.example", None)


@pytest.mark.parametrize(
    ("original", "headers", "code"),
    [
        ("noreply@payer.example", [], "no_reply"),
        ("ana@silent.example", [], "never_answer"),
        ("ana@customer.example", ["Auto-Submitted: auto-generated"], "automatic_mail"),
    ],
)
def test_original_sender_who_must_not_be_answered_is_not(original: str, headers: list[str], code: str) -> None:
    rules = {"forwarders": frozenset({"acme.example"}), "never_answer": frozenset({"silent.example"})}
    submission = submit(forward(original, headers), **rules)
    assert submission.silence is not None
    assert (submission.email, submission.silence.code) == (original, code)


def test_files_of_an_attached_original_are_files_of_the_ticket() -> None:
    inner = make_mail(2, sender="ana@customer.example", headers=["Content-Type: multipart/mixed; boundary=in"]).partition(
        b"\r\n\r\n"
    )[0]
    inner += b"\r\n\r\n--in\r\n\r\nDenied.\r\n--in\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF-1\r\n--in--\r\n"
    raw = forward(headers=["MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=out"], body="")
    raw += b"--out\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"--out--\r\n"
    submission = submit(raw, forwarders=frozenset({"acme.example"}))
    assert (submission.email, submission.text.strip()) == ("ana@customer.example", "Denied.")
    assert [file.name for file in submission.files] == ["Claim 2.eml", "a.pdf"]


def test_mail_forwarded_by_staff_becomes_the_original_senders_ticket_and_a_customers_forward_stays_theirs(
    make_harness: Callable[..., IngestHarness],
) -> None:
    harness = make_harness()
    harness.sql(
        "INSERT INTO staff (email, name, role, active, capacity, skills, zone, weekdays, starts, ends, created_at)"
        " VALUES ('sam@acme.example', 'Sam', 'representative', TRUE, 5, '[]', 'UTC', '0123456', '00:00', '23:59', :now)",
        now=clock.now(),
    )
    customers = forward("lee@payer.example").replace(b"sam@acme.example", b"ana@customer.example").replace(b"<1@", b"<2@")
    harness.take(arrival(forward(), "1"), arrival(customers, "2"))
    messages = {message.title: message for message in harness.messages()}
    assert sorted(messages) == ["Claim 1", "Claim 4711 denied"]
    assert {message.data["from"] for message in messages.values()} == {"ana@customer.example"}
    assert "forwarded" in [reason["code"] for reason in messages["Claim 4711 denied"].data["reasons"]]
    assert "forwarded" not in [reason["code"] for reason in messages["Claim 1"].data["reasons"]]
