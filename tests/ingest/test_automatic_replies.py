"""Automatic replies: to the ticket whose mail they answer, whoever sends them; they open nothing and let nobody in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.signing import Signer
from ingest.decisions.classify import classify
from ingest.decisions.mail_rules import rules_for
from ingest.ledger.models import InboundItem
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import ParsedMail, ParseOptions
from tests.ingest.support import KEY, Room, arrival, mailbox, make_mail, notices, settings_for

SIGNER = Signer([KEY.encode()], "casemill.example")
STAND_IN = "frontdesk@riverside.example"
AWAY = "Auto-Submitted: auto-replied"
#: A mailbox whose automatic mail is a ticket, and one where it is set aside.
MAILBOXES = ("mailbox:support", "mailbox:billing")


def known(room: Room) -> int:
    """A ticket of Dana's, whose mail has the id <1@riverside.example>."""
    (item,) = room.take(arrival(make_mail(1), "first"))
    assert item.ticket_id is not None
    return item.ticket_id


def reply(*headers: str, number: str = "2", sender: str = STAND_IN) -> bytes:
    return make_mail(number, sender=sender, headers=headers, body="I am away until Monday.")


def away(ticket_id: int, *headers: str, sender: str = STAND_IN) -> bytes:
    """An out-of-office that answers a notice of ours."""
    return reply(f"In-Reply-To: {SIGNER.message_id(f't{ticket_id}.d1')}", AWAY, *headers, sender=sender)


def take(room: Room, raw: bytes, source: str = MAILBOXES[0]) -> InboundItem:
    return room.take(arrival(raw, "second", source=source))[0]


def people(room: Room) -> list[str]:
    statement = "SELECT email FROM contact JOIN ticket_contact ON contact_id = contact.id ORDER BY email"
    return [email for (email,) in room.rows(statement)]


@pytest.mark.parametrize("source", MAILBOXES)
def test_an_automatic_reply_of_anybody_to_our_mail_is_added_to_its_ticket_and_lets_nobody_in(room: Room, source: str) -> None:
    ticket_id = known(room)
    item = take(room, away(ticket_id), source)
    assert (item.disposition, item.reason_code, item.ticket_id) == ("appended", "automatic_reply", ticket_id)
    assert [message.actor for message in room.messages()] == ["dana1@riverside.example", STAND_IN]
    assert people(room) == ["dana1@riverside.example"]
    assert len(notices(room)) == 1


def test_an_automatic_reply_of_one_of_its_people_is_told_as_theirs(room: Room) -> None:
    item = take(room, away(known(room), sender="dana1@riverside.example"))
    assert (item.disposition, item.reason_code) == ("appended", "reply_to_notice")


def test_an_automatic_reply_opens_no_completed_ticket(room: Room) -> None:
    ticket_id = known(room)
    room.sql("UPDATE ticket SET stage = 6, completed_at = created_at WHERE id = :id", id=ticket_id)
    assert take(room, away(ticket_id)).disposition == "appended"
    assert [ticket.stage for ticket in room.tickets()] == [6]


def test_a_person_who_is_nobody_of_the_ticket_still_gets_one_of_their_own(room: Room) -> None:
    ticket_id = known(room)
    raw = reply(f"In-Reply-To: {SIGNER.message_id(f't{ticket_id}.d1')}")
    item = take(room, raw)
    assert (item.disposition, item.ticket_id) == ("ticket", ticket_id + 1)


def test_what_a_list_passed_on_is_no_automatic_reply(room: Room) -> None:
    ticket_id = known(room)
    item = take(room, away(ticket_id, "List-Id: <office.riverside.example>"))
    assert (item.disposition, item.ticket_id) == ("ticket", ticket_id + 1)


def test_outside_a_known_ticket_the_mailbox_decides(room: Room) -> None:
    known(room)
    pointers = ["<t1.d1.aaaaaaaaaaaaaaaaaaaaaaaaaa@casemill.example>", "<1@riverside.example>", SIGNER.message_id("t99.d1")]
    headers = [(), *((f"In-Reply-To: {pointer}",) for pointer in pointers)]
    aside = [reply(AWAY, *some, number=f"a{number}") for number, some in enumerate(headers)]
    items = room.take(*(arrival(raw, f"a{number}", source=MAILBOXES[1]) for number, raw in enumerate(aside)))
    assert [(item.disposition, item.ticket_id) for item in items] == [("automatic", None)] * 4
    assert room.rows("SELECT count(*) FROM contact") == [(1,)], "nobody is entered for what is set aside"
    others = [reply(AWAY, *some, number=f"b{number}") for number, some in enumerate(headers)]
    items = room.take(*(arrival(raw, f"b{number}") for number, raw in enumerate(others)))
    assert [(item.disposition, item.ticket_id) for item in items] == [("ticket", number) for number in (2, 3, 4, 5)]


@pytest.mark.parametrize(("header", "source"), [(AWAY, MAILBOXES[1]), ("List-Id: <x.riverside.example>", MAILBOXES[0])])
def test_what_is_set_aside_is_added_when_it_answers_a_mail_of_its_sender_that_is_known(
    room: Room, header: str, source: str
) -> None:
    ticket_id = known(room)
    item = take(room, reply(header, "References: <1@riverside.example>", sender="dana1@riverside.example"), source)
    assert (item.disposition, item.reason_code, item.ticket_id) == ("appended", "message_known", ticket_id)


@pytest.mark.parametrize(("source", "disposition"), [("mailbox:support", "ticket"), ("mailbox:billing", "automatic")])
def test_an_automatic_reply_that_nobody_vouches_for_is_not_added(
    make_room: Callable[..., Room], source: str, disposition: str
) -> None:
    server = {"authserv_id": "mx.casemill.example"}
    boxes = {"support": mailbox(**server), "billing": mailbox(automatic="set-aside", **server)}
    room = make_room(mailboxes=boxes)
    ticket_id = known(room)
    assert take(room, away(ticket_id), source).disposition == disposition


def test_without_a_ticket_the_rules_say_what_is_to_become_of_it(tmp_path: object) -> None:
    settings = settings_for("", tmp_path)
    mail = parse_mail(away(1), ParseOptions())
    assert isinstance(mail, ParsedMail)
    for source, otherwise in zip(MAILBOXES, (None, "automatic"), strict=True):
        verdict = classify(mail, rules_for(settings, source, SIGNER))
        assert verdict.disposition == "ticket"
        assert (verdict.otherwise.disposition if verdict.otherwise else None) == otherwise
