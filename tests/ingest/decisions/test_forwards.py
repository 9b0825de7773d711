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
from tests.ingest.support import RECEIVED, Room, arrival, make_mail
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
def test_what_a_configured_forwarder_sends_on_is_the_original_senders(forwarder: str) -> None:
    found = submit(forward(), forwarders=frozenset({forwarder}))
    assert (found.email, found.name, found.subject) == ("ana@customer.example", "Ana Bell", "Claim 4711 denied")
    assert (found.text, found.silence, found.original) == ("It was denied again.", None, None)
    assert [reason.code for reason in found.reasons] == ["new_matter", "forwarded"]
    assert ("forwarded by", "sam@acme.example") in found.details
    assert ("forwarder's words", "Please take it.") in found.details


def test_a_forward_of_anybody_else_stays_theirs_with_the_original_beside_it_for_intake() -> None:
    found = submit(forward())
    assert (found.email, found.subject) == ("sam@acme.example", "Claim 1")
    assert found.original is not None
    assert (found.original.email, found.original.original) == ("ana@customer.example", None)


@pytest.mark.parametrize(
    ("original", "rules"),
    [
        ("sam@acme.example", {}),
        ("support@acme.example", {"own_addresses": frozenset({"support@acme.example"})}),
        ("no address at all", {}),
    ],
)
def test_a_forward_of_ones_own_mail_of_ours_or_of_nobody_stays_the_forwarders(
    original: str, rules: dict[str, frozenset[str]]
) -> None:
    found = submit(forward(original), forwarders=frozenset({"acme.example"}), **rules)
    assert (found.email, found.original) == ("sam@acme.example", None)


@pytest.mark.parametrize(
    ("original", "headers", "code"),
    [
        ("noreply@payer.example", [], "no_reply"),
        ("ana@silent.example", [], "never_answer"),
        ("ana@customer.example", ["Auto-Submitted: auto-generated"], "automatic_mail"),
    ],
)
def test_an_original_sender_who_is_not_to_be_answered_is_not(original: str, headers: list[str], code: str) -> None:
    rules = {"forwarders": frozenset({"acme.example"}), "never_answer": frozenset({"silent.example"})}
    found = submit(forward(original, headers), **rules)
    assert found.silence is not None
    assert (found.email, found.silence.code) == (original, code)


def test_the_files_of_an_attached_original_come_with_the_ticket() -> None:
    inner = make_mail(2, sender="ana@customer.example", headers=["Content-Type: multipart/mixed; boundary=in"]).partition(
        b"\r\n\r\n"
    )[0]
    inner += b"\r\n\r\n--in\r\n\r\nDenied.\r\n--in\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\n%PDF-1\r\n--in--\r\n"
    raw = forward(headers=["MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=out"], body="")
    raw += b"--out\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"--out--\r\n"
    found = submit(raw, forwarders=frozenset({"acme.example"}))
    assert (found.email, found.text.strip()) == ("ana@customer.example", "Denied.")
    assert [file.name for file in found.files] == ["Claim 2.eml", "a.pdf"]


def test_a_mail_that_staff_forwarded_becomes_the_customers_ticket_and_a_customers_own_stays_theirs(
    make_room: Callable[..., Room],
) -> None:
    room = make_room()
    room.sql(
        "INSERT INTO staff (email, name, role, active, capacity, skills, zone, weekdays, starts, ends, created_at)"
        " VALUES ('sam@acme.example', 'Sam', 'representative', TRUE, 5, '[]', 'UTC', '0123456', '00:00', '23:59', :now)",
        now=clock.now(),
    )
    customers = forward("lee@payer.example").replace(b"sam@acme.example", b"ana@customer.example").replace(b"<1@", b"<2@")
    room.take(arrival(forward(), "1"), arrival(customers, "2"))
    found = {message.title: message for message in room.messages()}
    assert sorted(found) == ["Claim 1", "Claim 4711 denied"]
    assert {message.data["from"] for message in found.values()} == {"ana@customer.example"}
    assert "forwarded" in [reason["code"] for reason in found["Claim 4711 denied"].data["reasons"]]
    assert "forwarded" not in [reason["code"] for reason in found["Claim 1"].data["reasons"]]
