"""Automatic replies are appended to the ticket whose mail they answer; they reopen nothing and add no participant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.signing import Signer
from ingest.decisions.classify import classify
from ingest.decisions.mail_rules import rules_for
from ingest.ledger.models import InboundItem
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import ParsedMail, ParseOptions
from tests.ingest.support import KEY, IngestHarness, arrival, mailbox, make_mail, notices, settings_for

SIGNER = Signer([KEY.encode()], "casemill.example")
STAND_IN = "frontdesk@riverside.example"
AWAY = "Auto-Submitted: auto-replied"
#: A mailbox whose automatic mail becomes a ticket, and one whose automatic mail becomes none.
MAILBOXES = ("mailbox:support", "mailbox:billing")


def create_ticket(harness: IngestHarness) -> int:
    """Create a ticket of Dana, whose mail has the id <1@riverside.example>, and return its id."""
    (item,) = harness.take(arrival(make_mail(1), "first"))
    assert item.ticket_id is not None
    return item.ticket_id


def reply(*headers: str, number: str = "2", sender: str = STAND_IN) -> bytes:
    return make_mail(number, sender=sender, headers=headers, body="I am away until Monday.")


def out_of_office(ticket_id: int, *headers: str, sender: str = STAND_IN) -> bytes:
    """Return an out-of-office mail that answers a notice of ours."""
    return reply(f"In-Reply-To: {SIGNER.message_id(f't{ticket_id}.d1')}", AWAY, *headers, sender=sender)


def take(harness: IngestHarness, raw: bytes, source: str = MAILBOXES[0]) -> InboundItem:
    return harness.take(arrival(raw, "second", source=source))[0]


def participants(harness: IngestHarness) -> list[str]:
    statement = "SELECT email FROM contact JOIN ticket_contact ON contact_id = contact.id ORDER BY email"
    return [email for (email,) in harness.rows(statement)]


@pytest.mark.parametrize("source", MAILBOXES)
def test_automatic_reply_to_our_mail_is_appended_to_its_ticket_and_adds_no_participant(
    harness: IngestHarness, source: str
) -> None:
    ticket_id = create_ticket(harness)
    item = take(harness, out_of_office(ticket_id), source)
    assert (item.disposition, item.reason_code, item.ticket_id) == ("appended", "automatic_reply", ticket_id)
    assert [message.actor for message in harness.messages()] == ["dana1@riverside.example", STAND_IN]
    assert participants(harness) == ["dana1@riverside.example"]
    assert len(notices(harness)) == 1


def test_automatic_reply_from_participant_is_recorded_as_their_reply(harness: IngestHarness) -> None:
    item = take(harness, out_of_office(create_ticket(harness), sender="dana1@riverside.example"))
    assert (item.disposition, item.reason_code) == ("appended", "reply_to_notice")


def test_automatic_reply_does_not_reopen_completed_ticket(harness: IngestHarness) -> None:
    ticket_id = create_ticket(harness)
    harness.sql("UPDATE ticket SET stage = 6, completed_at = created_at WHERE id = :id", id=ticket_id)
    assert take(harness, out_of_office(ticket_id)).disposition == "appended"
    assert [ticket.stage for ticket in harness.tickets()] == [6]


def test_reply_from_stranger_opens_new_ticket(harness: IngestHarness) -> None:
    ticket_id = create_ticket(harness)
    raw = reply(f"In-Reply-To: {SIGNER.message_id(f't{ticket_id}.d1')}")
    item = take(harness, raw)
    assert (item.disposition, item.ticket_id) == ("ticket", ticket_id + 1)


def test_mail_forwarded_by_a_list_is_no_automatic_reply(harness: IngestHarness) -> None:
    ticket_id = create_ticket(harness)
    item = take(harness, out_of_office(ticket_id, "List-Id: <office.riverside.example>"))
    assert (item.disposition, item.ticket_id) == ("ticket", ticket_id + 1)


def test_automatic_mail_without_known_ticket_follows_the_mailbox_setting(harness: IngestHarness) -> None:
    create_ticket(harness)
    pointers = ["<t1.d1.aaaaaaaaaaaaaaaaaaaaaaaaaa@casemill.example>", "<1@riverside.example>", SIGNER.message_id("t99.d1")]
    headers = [(), *((f"In-Reply-To: {pointer}",) for pointer in pointers)]
    to_billing = [reply(AWAY, *some, number=f"a{number}") for number, some in enumerate(headers)]
    items = harness.take(*(arrival(raw, f"a{number}", source=MAILBOXES[1]) for number, raw in enumerate(to_billing)))
    assert [(item.disposition, item.ticket_id) for item in items] == [("automatic", None)] * 4
    assert harness.rows("SELECT count(*) FROM contact") == [(1,)], "mail without a ticket adds no contact"
    to_support = [reply(AWAY, *some, number=f"b{number}") for number, some in enumerate(headers)]
    items = harness.take(*(arrival(raw, f"b{number}") for number, raw in enumerate(to_support)))
    assert [(item.disposition, item.ticket_id) for item in items] == [("ticket", number) for number in (2, 3, 4, 5)]


@pytest.mark.parametrize(("header", "source"), [(AWAY, MAILBOXES[1]), ("List-Id: <x.riverside.example>", MAILBOXES[0])])
def test_list_or_automatic_mail_is_appended_when_it_answers_a_known_mail_of_its_sender(
    harness: IngestHarness, header: str, source: str
) -> None:
    ticket_id = create_ticket(harness)
    item = take(harness, reply(header, "References: <1@riverside.example>", sender="dana1@riverside.example"), source)
    assert (item.disposition, item.reason_code, item.ticket_id) == ("appended", "message_known", ticket_id)


@pytest.mark.parametrize(("source", "disposition"), [("mailbox:support", "ticket"), ("mailbox:billing", "automatic")])
def test_automatic_reply_from_unauthenticated_sender_is_not_appended(
    make_harness: Callable[..., IngestHarness], source: str, disposition: str
) -> None:
    server = {"authserv_id": "mx.casemill.example"}
    boxes = {"support": mailbox(**server), "billing": mailbox(automatic="set-aside", **server)}
    harness = make_harness(mailboxes=boxes)
    ticket_id = create_ticket(harness)
    assert take(harness, out_of_office(ticket_id), source).disposition == disposition


def test_fallback_of_automatic_reply_follows_the_mailbox_setting(tmp_path: object) -> None:
    settings = settings_for("", tmp_path)
    mail = parse_mail(out_of_office(1), ParseOptions())
    assert isinstance(mail, ParsedMail)
    for source, fallback in zip(MAILBOXES, (None, "automatic"), strict=True):
        result = classify(mail, rules_for(settings, source, SIGNER))
        assert result.disposition == "ticket"
        assert (result.fallback.disposition if result.fallback else None) == fallback
