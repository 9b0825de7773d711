"""Acts of staff on follow-up tasks, each recorded on the ticket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.errors import NotFoundError, RefusedError
from tests.tickets.staff_actions import complete, person, sweep
from tests.tickets.world import NOW, World, dana_mail
from tickets import follow_ups
from tickets.models import FollowUp

DAY = timedelta(days=1)
Unit = Callable[[Session], Any]


@pytest.fixture
def staffed_world(world: World) -> World:
    """Ticket 1 of Ada, Ben is there too, Eve has left; task 1 is the reminder."""
    ada = world.staff("Ada")
    world.staff("Ben")
    world.staff("Eve", active=False)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    world.receive(dana_mail())
    sweep(world, NOW + 2 * DAY)
    return world


def do(world: World, unit: Unit) -> None:
    world.database.transaction(lambda session: unit(session) and None)


def task(world: World, number: int = 1) -> FollowUp:
    found: FollowUp = world.rows(FollowUp, FollowUp.id)[number - 1]
    return found


def task_entries(world: World) -> list[tuple[str, str, str]]:
    """What the ticket's timeline tells of its tasks by hand."""
    entries = [entry for entry in world.show(1)["timeline"] if entry["kind"] == "task"]
    return [(entry["title"], entry["body"], entry["actor"]) for entry in entries if entry["actor"] != "casemill"]


def test_task_added_for_a_colleague_is_recorded_on_the_ticket(staffed_world: World) -> None:
    do(
        staffed_world,
        lambda s: follow_ups.add_task(s, 1, " Ask  the payer ", NOW + DAY, person(s, "Ada"), NOW, to=person(s, "Ben")),
    )
    added = task(staffed_world, 2)
    assert (added.title, added.kind, added.due_at, added.reason) == ("Ask the payer", "by_hand", NOW + DAY, "Added by Ada")
    assert task_entries(staffed_world) == [("Task for Ben: Ask the payer", "", "ada@billing.example")]


def test_task_is_reassigned_postponed_finished_and_reopened_with_its_history(staffed_world: World) -> None:
    do(staffed_world, lambda s: follow_ups.reassign_task(s, 1, person(s, "Ben"), person(s, "Ada"), "", NOW))
    do(staffed_world, lambda s: follow_ups.postpone_task(s, 1, NOW + 9 * DAY, person(s, "Ben"), "The payer is closed", NOW))
    for _ in range(2):
        do(staffed_world, lambda s: follow_ups.finish_task(s, 1, person(s, "Ben"), NOW + DAY))
    do(staffed_world, lambda s: follow_ups.reopen_task(s, 1, person(s, "Ada"), "No answer", NOW + DAY))
    title = "Follow up with the customer"
    assert task_entries(staffed_world) == [
        (f"Task reassigned to Ben: {title}", "Reassigned by Ada", "ada@billing.example"),
        (f"Task postponed: {title}", "The payer is closed", "ben@billing.example"),
        (f"Task done: {title}", "", "ben@billing.example"),
        (f"Task reopened: {title}", "No answer", "ada@billing.example"),
    ]
    assert (task(staffed_world).done_at, task(staffed_world).due_at) == (None, NOW + 9 * DAY)


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        ("no_reason", lambda s: follow_ups.add_task(s, 1, " ", NOW, person(s, "Ada"), NOW)),
        ("long_value", lambda s: follow_ups.add_task(s, 1, "x" * 201, NOW, person(s, "Ada"), NOW)),
        ("not_active", lambda s: follow_ups.add_task(s, 1, "x", NOW, person(s, "Eve"), NOW)),
        ("not_active", lambda s: follow_ups.add_task(s, 1, "x", NOW, person(s, "Ada"), NOW, to=person(s, "Eve"))),
        ("not_active", lambda s: follow_ups.reassign_task(s, 1, person(s, "Eve"), person(s, "Ada"), "", NOW)),
        ("same_assignee", lambda s: follow_ups.reassign_task(s, 1, person(s, "Ada"), person(s, "Ben"), "", NOW)),
        ("moment_gone", lambda s: follow_ups.postpone_task(s, 1, NOW, person(s, "Ada"), "x", NOW)),
        ("no_reason", lambda s: follow_ups.postpone_task(s, 1, NOW + DAY, person(s, "Ada"), " ", NOW)),
        ("not_done", lambda s: follow_ups.reopen_task(s, 1, person(s, "Ada"), "x", NOW)),
    ],
)
def test_invalid_act_on_a_task_is_refused_and_changes_nothing(staffed_world: World, code: str, unit: Unit) -> None:
    before = staffed_world.show(1)
    with pytest.raises(RefusedError) as refused:
        do(staffed_world, unit)
    assert (refused.value.code, staffed_world.show(1)) == (code, before)


def test_a_task_of_a_rule_stays_done_when_its_ticket_is_completed(staffed_world: World) -> None:
    complete(staffed_world, at=NOW + 2 * DAY)
    with pytest.raises(RefusedError) as refused:
        do(staffed_world, lambda s: follow_ups.reopen_task(s, 1, person(s, "Ada"), "x", NOW))
    assert refused.value.code == "not_needed"
    with pytest.raises(RefusedError, match="is done"):
        do(staffed_world, lambda s: follow_ups.reassign_task(s, 1, person(s, "Ben"), person(s, "Ada"), "", NOW))


def test_unknown_task_is_not_found(staffed_world: World) -> None:
    with pytest.raises(NotFoundError):
        do(staffed_world, lambda s: follow_ups.finish_task(s, 99, person(s, "Ada"), NOW))
