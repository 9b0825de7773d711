"""Lists of follow-up tasks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from core import clock
from tests.tickets.staff_actions import clock_at, finish, mark, sweep
from tests.tickets.world import NOW, World, dana_mail
from tickets import lifecycle
from tickets.models import FollowUp
from tickets.tasks import list_tasks

DAY = timedelta(days=1)


@pytest.fixture
def tasked(world: World) -> World:
    """Ticket 1 was opened a day before ticket 2; both reminders and the first escalation have fired."""
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    world.receive(dana_mail())
    sweep(world, NOW + 2 * DAY)
    world.receive(dana_mail(), now=NOW + DAY)
    sweep(world, NOW + 3 * DAY)
    return world


def listed(world: World, now: datetime = NOW + 3 * DAY, **choice: Any) -> list[dict[str, Any]]:
    with clock_at(now), world.database.read() as session:
        return list_tasks(session, clock.now(), **choice)


def test_open_tasks_are_listed_the_most_overdue_first(tasked: World) -> None:
    rows = listed(tasked, NOW + 3 * DAY + timedelta(microseconds=1))
    assert [(row["ticket"], row["kind"], row["assignee"], row["overdue"]) for row in rows] == [
        ("BS-000001", "reminder", "Ada", True),
        ("BS-000002", "reminder", "Ada", False),
        ("BS-000001", "escalation", "Max", False),
    ]
    assert rows[0]["due_at"] == (NOW + 3 * DAY).isoformat()
    assert all(row["title"] and row["reason"] and row["done_at"] is None for row in rows)


def test_a_task_is_overdue_from_the_moment_after_it_was_due(tasked: World) -> None:
    assert [row["overdue"] for row in listed(tasked, NOW + 4 * DAY + timedelta(microseconds=1))] == [True] * 3


def test_the_tasks_of_one_person_are_listed_alone(tasked: World) -> None:
    assert [row["kind"] for row in listed(tasked, assignee="max@billing.example")] == ["escalation"]
    assert listed(tasked, assignee="nobody@billing.example") == []


def test_done_tasks_are_listed_apart_latest_first_and_are_never_overdue(tasked: World) -> None:
    for hours, ticket_id in enumerate((1, 2)):
        mark(tasked, lifecycle.mark_follow_up_sent, ticket_id, at=NOW + 4 * DAY + timedelta(hours=hours))
    done = listed(tasked, NOW + 9 * DAY, done=True)
    assert [(row["ticket"], row["kind"], row["overdue"]) for row in done] == [
        ("BS-000002", "reminder", False),
        ("BS-000001", "reminder", False),
    ]
    assert done[0]["done_at"] == (NOW + 4 * DAY + timedelta(hours=1)).isoformat()
    assert [row["kind"] for row in listed(tasked)] == ["escalation"]


def test_finished_task_stays_finished_is_recorded_and_sets_no_milestone(tasked: World) -> None:
    before = tasked.ticket(1).version
    for day in (4, 5):
        finish(tasked, 1, NOW + day * DAY)
    assert [row["id"] for row in listed(tasked, done=True)] == [1]
    assert tasked.rows(FollowUp, FollowUp.id)[0].done_at == NOW + 4 * DAY
    assert (tasked.ticket(1).version, tasked.ticket(1).follow_up_sent_at) == (before + 1, None)


def test_a_task_of_a_team_names_the_team(world: World) -> None:
    team_id = world.team("onboarding")
    world.configure(routing={"telemedicine": {"team": "onboarding"}}, teams={"onboarding": {"title": "Onboarding"}})
    world.receive(dana_mail(text="A question about telemedicine"))
    (row,) = listed(world)
    assert (row["kind"], row["assignee"]) == ("assist", "Onboarding")
    assert world.rows(FollowUp)[0].team_id == team_id
