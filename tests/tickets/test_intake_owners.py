"""Intake: who gets the tickets of a batch, and the task for telemedicine."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from tests.tickets.world import NOW, World, dana_mail, file
from tickets.models import FollowUp, Ticket
from tickets.submission import Submission, TicketSource


def test_each_assignment_of_a_batch_sees_the_loads_of_those_before(world: World) -> None:
    ada, ben = world.staff("Ada"), world.staff("Ben", capacity=3)
    world.team("billing", ada, ben, default=True)
    world.open_tickets(ada, 2)
    world.receive(*(dana_mail(subject=str(number)) for number in range(6)))
    owners = [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id) if ticket.name != "earlier"]
    # Ben 1, 2; then level with Ada, who was longer without; Ben is full with three.
    assert owners == [ben, ben, ada, ben, ada, ada]


def test_the_next_batch_sees_the_loads_and_the_order_of_the_last_one(world: World) -> None:
    people = [world.staff(name) for name in ("Ada", "Ben", "Cleo")]
    world.team("billing", *people, default=True)
    world.receive(dana_mail(), dana_mail(), dana_mail())
    world.receive(*(dana_mail() for _ in range(3)), now=NOW + timedelta(minutes=1))
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == people * 2


def test_completed_tickets_are_no_load(world: World) -> None:
    ada, ben = world.staff("Ada"), world.staff("Ben")
    world.team("billing", ada, ben, default=True)
    world.open_tickets(ada, 5, stage=6)
    world.open_tickets(ben, 1, stage=5)
    world.receive(dana_mail())
    assert world.rows(Ticket, Ticket.id)[-1].owner_id == ada


def test_tickets_beyond_all_capacities_stay_unassigned(world: World) -> None:
    world.team("billing", world.staff("Ada", capacity=2), default=True)
    world.receive(*(dana_mail() for _ in range(4)))
    owners = [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)]
    assert [owner is None for owner in owners] == [False, False, True, True]
    assert world.steps(4) == ["no_consultant", "no_routing_rule", "team_full_or_away", "nobody"]


def test_the_steps_of_an_assignment_are_on_the_timeline_with_their_reasons(world: World) -> None:
    ada, ben, cleo = world.staff("Ada"), world.staff("Ben"), world.staff("Cleo")
    world.company("Lakeside", "lakeside.example", consultant_id=world.staff("Dov", stand_in_id=ada, active=False))
    world.away(ada, NOW - timedelta(hours=1), NOW + timedelta(days=1))
    world.team("billing", ben, cleo, default=True)
    world.open_tickets(ben, 1)
    (received,) = world.receive(dana_mail())
    expected = ["consultant_unavailable", "stand_in_unavailable", "no_routing_rule", "least_loaded"]
    assert world.steps(received.ticket_id) == expected
    shown = world.show(received.ticket_id)["timeline"][1]
    assert [reason["code"] for reason in shown["reasons"]] == expected
    assert (shown["title"], shown["body"]) == ("Assigned to Cleo", "Cleo has the fewest open tickets in Billing (0)")


def test_the_stand_in_gets_it_while_the_consultant_is_away_and_not_afterwards(world: World) -> None:
    ada = world.staff("Ada")
    dov = world.staff("Dov", stand_in_id=ada)
    world.away(dov, NOW, NOW + timedelta(days=1))
    world.company("Lakeside", "lakeside.example", consultant_id=dov)
    world.receive(dana_mail())
    world.receive(dana_mail(), now=NOW + timedelta(days=1))
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == [ada, dov]


def test_rules_of_the_configuration_reach_persons_and_teams(world: World) -> None:
    ada, ben, cleo = world.staff("Ada"), world.staff("Ben"), world.staff("Cleo")
    world.team("denials", ben)
    world.team("billing", cleo, default=True)
    rules = [
        {"source": "formstack", "category": "Enrollment", "person": "Ada@billing.example"},
        {"keyword": "denied", "team": "denials"},
        {"sender_domain": "hill.example", "person": "ada@billing.example"},
    ]
    world.configure(routing={"rules": rules})
    world.receive(
        dana_mail(source=TicketSource.FORMSTACK, category="enrollment"),
        dana_mail(),
        dana_mail(subject="x", text="y", email="sam@hill.example"),
        dana_mail(subject="x", text="y"),
    )
    assert [ticket.owner_id for ticket in world.rows(Ticket, Ticket.id)] == [ada, ben, ada, cleo]


def test_two_concurrent_batches_do_not_exceed_a_capacity(world: World) -> None:
    world.team("billing", world.staff("Ada", capacity=5), world.staff("Ben", capacity=5), default=True)
    gate = threading.Barrier(4)

    def run(number: int) -> None:
        gate.wait()
        world.receive(*(dana_mail(email=f"p{number}.{one}@lakeside.example") for one in range(4)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owners = [ticket.owner_id for ticket in world.rows(Ticket)]
    assert sorted(owners.count(owner) for owner in set(owners) - {None}) == [5, 5]
    assert owners.count(None) == 6


def test_a_batch_of_a_hundred_takes_no_more_statements_than_one_of_two(world: World) -> None:
    world.team("billing", world.staff("Ada"), default=True)
    statements: list[str] = []
    event.listen(world.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2].split("(")[0]))

    def count(*submissions: Submission) -> int:
        statements.clear()
        world.receive(*submissions)
        return len(statements)

    def one(number: int) -> Submission:
        return dana_mail(email=f"p{number}@d{number}.example", files=(file("a", str(number).encode()),))

    few, many = count(*map(one, range(2))), count(*map(one, range(2, 102)))
    assert many <= few + 2


@pytest.mark.parametrize(
    ("company", "values", "code"),
    [
        ({"telemedicine": True}, {}, "telemedicine_company"),
        ({}, {"category": "telemedicine"}, "telemedicine_category"),
        ({}, {"text": "The video visit of yesterday"}, "telemedicine_keyword"),
        ({}, {"subject": "TELEHEALTH claim"}, "telemedicine_keyword"),
    ],
)
def test_telemedicine_raises_a_task_and_the_owner_stays(
    world: World, company: dict[str, Any], values: dict[str, Any], code: str
) -> None:
    ada, jo = world.staff("Ada"), world.staff("Jo")
    world.company("Lakeside", "lakeside.example", consultant_id=ada, **company)
    world.configure(routing={"telemedicine": {"person": "jo@billing.example"}})
    shown = world.receive_one(**values)
    assert shown["owner"] == "Ada"
    (task,) = world.rows(FollowUp)
    assert (task.kind, task.assignee_id, task.team_id, task.key) == ("assist", jo, None, "telemedicine:1")
    assert shown["tasks"][0]["assignee"] == "Jo"
    assert code in ("telemedicine_company", "telemedicine_category", "telemedicine_keyword") and task.reason


def test_without_telemedicine_there_is_no_task(world: World) -> None:
    world.company("Lakeside", "lakeside.example")
    assert world.receive_one()["tasks"] == []


def test_the_telemedicine_task_may_go_to_a_team_or_to_the_default_teams_manager(world: World) -> None:
    jo = world.staff("Jo")
    default = world.team("billing", default=True, manager=jo)
    onboarding = world.team("onboarding", jo)
    world.configure(routing={"telemedicine": {"team": "onboarding"}})
    world.receive_one(text="telemedicine")
    world.configure(routing={})
    world.receive_one(text="telemedicine")
    first, second = world.rows(FollowUp, FollowUp.id)
    assert (first.assignee_id, first.team_id) == (None, onboarding)
    assert (second.assignee_id, second.team_id) == (jo, default)
