"""Intake: messages that are added to an existing ticket, by thread or as a reply."""

from __future__ import annotations

from datetime import timedelta

import pytest

from outbox.facts import TicketCreated
from tests.tickets.world import NOW, World, dana_mail, file, secure_message
from tickets.models import Ticket, TicketThread

HEAD = "secure_message:"


def test_messages_of_a_thread_in_one_batch_are_one_ticket(world: World) -> None:
    lakeside = world.company("Lakeside")
    one, two, three = (
        secure_message(subject=subject, company="Lakeside", email="dana@gmail.com", thread_key=HEAD + thread, item_id=number)
        for number, (subject, thread) in enumerate([("First", "7"), ("Second", "7"), ("Other", "8")], 1)
    )
    results = world.receive(one, two, three)
    assert [result.ticket_id for result in results] == [1, 1, 2]
    assert [result.appended for result in results] == [False, True, False]
    assert results[1].reason.code == "thread_known"
    messages = [entry for entry in world.show(1)["timeline"] if entry["kind"] == "message_in"]
    assert [(entry["title"], entry["item"]) for entry in messages] == [("First", 1), ("Second", 2)]
    assert world.ticket(1).version == 2 and world.ticket(1).company_id == lakeside
    assert len([fact for fact in world.facts() if isinstance(fact, TicketCreated)]) == 2


def test_later_message_of_a_thread_is_added_to_its_ticket(world: World) -> None:
    world.company("Lakeside")
    world.receive_one(secure_message(company="Lakeside", thread_key=HEAD + "7"))
    later = NOW + timedelta(hours=1)
    (result,) = world.receive(
        secure_message(subject="More", company="Lakeside", thread_key=HEAD + "7", files=(file("a.pdf", b"a"),)), now=later
    )
    assert (result.ticket_id, result.appended) == (1, True)
    shown = world.show(1)
    assert [entry["title"] for entry in shown["timeline"] if entry["kind"] == "message_in"] == ["Claim denied", "More"]
    assert [one["name"] for one in shown["attachments"]] == ["a.pdf"]
    assert (world.ticket(1).version, world.ticket(1).updated_at) == (2, later)
    assert world.count(Ticket) == world.count(TicketThread) == 1


def test_colleague_of_the_same_company_joins_the_ticket(world: World) -> None:
    world.company("Lakeside")
    world.receive_one(secure_message(company="Lakeside", email="dana@gmail.com", thread_key=HEAD + "7"))
    (result,) = world.receive(secure_message(company="Lakeside", email="sam@gmail.com", name="Sam", thread_key=HEAD + "7"))
    assert result.appended
    people = {one["email"]: one["role"] for one in world.show(1)["contacts"]}
    assert people == {"dana@gmail.com": "requester", "sam@gmail.com": "participant"}


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
def test_stranger_who_names_a_thread_gets_a_new_ticket(world: World, together: bool) -> None:
    world.company("Lakeside")
    world.company("Hill")
    first = secure_message(company="Lakeside", email="dana@gmail.com", thread_key=HEAD + "7")
    strangers = [
        secure_message(company="Hill", email="mallory@gmail.com", thread_key=HEAD + "7"),
        secure_message(company="", email="nobody@gmail.com", thread_key=HEAD + "7"),
        secure_message(company="", email=None, name="", thread_key=HEAD + "7"),
    ]
    results = world.receive(first, *strangers) if together else world.receive(first) + world.receive(*strangers)
    assert [result.ticket_id for result in results] == [1, 2, 3, 4]
    assert not any(result.appended for result in results)
    assert len(world.show(1)["timeline"]) == 2
    (thread,) = world.rows(TicketThread)
    assert thread.ticket_id == 1


@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
def test_two_senders_without_a_company_are_not_colleagues(world: World, together: bool) -> None:
    one = secure_message(email="dana@gmail.com", thread_key=HEAD + "7")
    other = secure_message(email="mallory@gmail.com", thread_key=HEAD + "7")
    results = world.receive(one, other) if together else world.receive(one) + world.receive(other)
    assert [result.appended for result in results] == [False, False]
    (again,) = world.receive(one)
    assert (again.ticket_id, again.appended) == (1, True)


def test_message_without_a_thread_opens_new_ticket(world: World) -> None:
    results = world.receive(secure_message(thread_key=None), secure_message(thread_key=None), secure_message(thread_key=None))
    assert [result.ticket_id for result in results] == [1, 2, 3]


def test_timeline_entry_holds_new_text_and_quoted_text_apart(world: World) -> None:
    shown = world.receive_one(text="It is paid.", quoted="> Is it\x00 paid?", signature="-- \nDana")
    (message, _) = shown["timeline"]
    assert (shown["description"], message["body"]) == ("It is paid.", "It is paid.")
    assert (message["quoted"], message["signature"]) == ("> Is it\N{REPLACEMENT CHARACTER} paid?", "-- \nDana")


def test_a_reply_from_one_of_its_people_is_added_to_the_ticket_it_answers(world: World) -> None:
    world.receive_one()
    (result,) = world.receive(dana_mail(subject="Re: [BS-000001] received", text="One more thing", replies_to=1))
    assert (result.ticket_id, result.appended, result.reason.code) == (1, True, "reply_to_notice")
    assert [entry["body"] for entry in world.show(1)["timeline"] if entry["kind"] == "message_in"][1] == "One more thing"
    assert world.count(Ticket) == 1
    assert len([fact for fact in world.facts() if isinstance(fact, TicketCreated)]) == 1, "no second creation notice"


@pytest.mark.parametrize("email", ["mallory@gmail.com", "boss@lakeside.example", None])
def test_reply_from_stranger_opens_new_ticket(world: World, email: str | None) -> None:
    world.company("Lakeside", "lakeside.example")
    world.receive_one()
    (result,) = world.receive(dana_mail(email=email, replies_to=1))
    assert (result.ticket_id, result.appended) == (2, False)


def test_reply_to_unknown_ticket_opens_new_ticket(world: World) -> None:
    (result,) = world.receive(dana_mail(replies_to=4711))
    assert (result.ticket_id, result.appended) == (1, False)
