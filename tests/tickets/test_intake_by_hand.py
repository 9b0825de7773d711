"""Intake: tickets that staff enter by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from accounts.models import Contact
from outbox.facts import TicketAssigned, TicketCreated
from tests.tickets.world import World, dana_mail
from tickets.models import Ticket
from tickets.submission import Submission, TicketSource


def by_hand(**values: Any) -> Submission:
    base = dana_mail(source=TicketSource.PHONE, subject="Asked about ERA", owner_email="ben@billing.example", company="Lakeside")
    return replace(base, **values)


def test_a_ticket_by_hand_is_owned_by_its_creator_and_named_after_the_company(world: World) -> None:
    ada, _ben = world.staff("Ada"), world.staff("Ben", active=True)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    shown = world.receive_one(by_hand())
    assert (shown["name"], shown["owner"], shown["stage"]) == ("Support – Lakeside", "Ben", "1-Submitted")
    assert (shown["source"], shown["type"]) == ("phone", "Billing Issue")
    assert world.steps(1) == ["created_by_hand"]
    assert [type(fact) for fact in world.facts()] == [TicketCreated, TicketAssigned]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"company": "Unheard Of Clinic"}, "Support – Unheard Of Clinic"),
        ({"company": "", "name": "Dana Reyes"}, "Support – Dana Reyes"),
        ({"company": "", "name": "", "email": "dana@gmail.com"}, "Support – dana@gmail.com"),
        ({"company": "", "name": "", "email": None, "phone": "1"}, "Support – unknown customer"),
    ],
)
def test_ticket_by_hand_without_a_known_company_is_named_after_the_caller(
    world: World, values: dict[str, Any], name: str
) -> None:
    world.staff("Ben")
    assert world.receive_one(by_hand(**values))["name"] == name


def test_a_ticket_by_hand_has_exactly_one_requester_and_further_contacts(world: World) -> None:
    world.staff("Ben")
    lakeside = world.company("Lakeside")
    sam = world.contact("sam@lakeside.example", lakeside, name="Sam")
    contacts = ("sam@lakeside.example", "new@lakeside.example", "dana@lakeside.example")
    shown = world.receive_one(by_hand(contacts=contacts))
    roles = {one["email"]: one["role"] for one in shown["contacts"]}
    assert roles == {
        "dana@lakeside.example": "requester",
        "sam@lakeside.example": "participant",
        "new@lakeside.example": "participant",
    }
    assert world.ticket(1).company_id == lakeside
    assert sam in {contact.id for contact in world.rows(Contact)}


@pytest.mark.parametrize("company", [True, False])
@pytest.mark.parametrize("contact", [True, False])
def test_choice_to_show_activity_on_timelines_is_stored(world: World, company: bool, contact: bool) -> None:
    world.staff("Ben")
    shown = world.receive_one(by_hand(on_company_timeline=company, on_contact_timeline=contact))
    assert world.ticket(1).on_company_timeline is company
    assert shown["contacts"][0]["on_timeline"] is contact


def test_a_ticket_by_hand_counts_as_load_of_its_creator(world: World) -> None:
    ada, ben = world.staff("Ada"), world.staff("Ben")
    world.team("billing", ben, ada, default=True)
    world.receive(by_hand(), dana_mail(source=TicketSource.EMAIL))
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == [ben, ada]
