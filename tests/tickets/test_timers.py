"""The timers: a reminder for the owner, an escalation to the company's manager, each once per opening."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy import update
from sqlalchemy.orm import Session

from outbox.facts import TaskRaised
from tests.tickets.world import NOW, World, dana_mail
from tickets import timers
from tickets.models import FollowUp, Ticket

REMINDED, ESCALATED = NOW + timedelta(days=2), NOW + timedelta(days=3)


@pytest.fixture
def opened(world: World) -> Iterator[World]:
    """Ticket 1 of Ada for Lakeside, whose manager is Max; Olga manages the default team."""
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.team("billing", default=True, manager=world.staff("Olga", role="manager"))
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    world.receive(dana_mail())
    yield world


def sweep(world: World, at: datetime) -> int:
    with time_machine.travel(at, tick=False):
        return timers.sweep(world.database, world.settings.calendar)


def change(world: World, **values: Any) -> None:
    def unit(session: Session) -> None:
        session.execute(update(Ticket).where(Ticket.id == 1).values(values))

    world.database.transaction(unit)


def tasks(world: World) -> list[tuple[str, str | None]]:
    return [(task["kind"], task["assignee"]) for task in world.show(1)["tasks"]]


def test_no_timer_fires_before_it_is_due(opened: World) -> None:
    assert sweep(opened, REMINDED - timedelta(seconds=1)) == 0
    assert tasks(opened) == []


def test_without_a_follow_up_the_owner_is_reminded_after_two_days(opened: World) -> None:
    sweep(opened, REMINDED)
    assert tasks(opened) == [("reminder", "Ada")]
    (task,) = opened.rows(FollowUp)
    assert (task.due_at, task.created_at) == (REMINDED + timedelta(days=1), REMINDED)
    raised = opened.facts()[-1]
    assert isinstance(raised, TaskRaised) and (raised.ticket_id, raised.task_id) == (1, task.id)


def test_without_a_resolution_the_companys_manager_gets_a_task_after_three_days(opened: World) -> None:
    sweep(opened, ESCALATED)
    assert sorted(tasks(opened)) == [("escalation", "Max"), ("reminder", "Ada")]


def test_each_timer_fires_once_over_many_sweeps(opened: World) -> None:
    for hours in range(5):
        sweep(opened, ESCALATED + timedelta(hours=hours))
    assert len(tasks(opened)) == 2
    assert len([fact for fact in opened.facts() if isinstance(fact, TaskRaised)]) == 2


def test_concurrent_sweeps_fire_each_timer_once(opened: World) -> None:
    gate = threading.Barrier(4)

    def run() -> None:
        gate.wait()
        timers.sweep(opened.database, opened.settings.calendar)

    with time_machine.travel(ESCALATED, tick=True):
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(tasks(opened)) == [("escalation", "Max"), ("reminder", "Ada")]
    assert len([fact for fact in opened.facts() if isinstance(fact, TaskRaised)]) == 2


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"follow_up_sent_at": NOW}, [("escalation", "Max")]),
        ({"resolution_at": NOW}, [("reminder", "Ada")]),
        ({"stage": 6}, []),
    ],
)
def test_timer_checks_again_that_its_task_is_needed(opened: World, values: dict[str, Any], left: list[tuple[str, str]]) -> None:
    change(opened, **values)
    sweep(opened, ESCALATED)
    assert tasks(opened) == left
    assert sweep(opened, ESCALATED + timedelta(days=1)) == 0


def test_each_timer_fires_again_in_a_new_opening(opened: World) -> None:
    sweep(opened, ESCALATED)
    again = ESCALATED + timedelta(days=10)
    change(opened, opening=2, reminder_due_at=again, escalation_due_at=again)
    sweep(opened, again)
    assert sorted(tasks(opened)) == [("escalation", "Max")] * 2 + [("reminder", "Ada")] * 2


@pytest.mark.parametrize("values", [{"owner_id": None, "company_id": None}])
def test_without_an_owner_or_a_manager_the_default_teams_manager_gets_the_task(opened: World, values: dict[str, Any]) -> None:
    change(opened, **values)
    sweep(opened, ESCALATED)
    assert sorted(tasks(opened)) == [("escalation", "Olga"), ("reminder", "Olga")]


def test_task_without_owner_and_manager_stays_unassigned(world: World) -> None:
    world.receive(dana_mail())
    sweep(world, ESCALATED)
    assert sorted(tasks(world)) == [("escalation", None), ("reminder", None)]


def test_more_due_tickets_than_a_batch_are_all_handled(opened: World) -> None:
    opened.receive(*(dana_mail() for _ in range(249)))
    while sweep(opened, REMINDED):
        pass
    assert opened.count(FollowUp) == 250
