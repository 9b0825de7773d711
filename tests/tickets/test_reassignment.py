"""Reassignment of all open work of a person who is away or leaves."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.errors import RefusedError
from outbox.facts import TicketAssigned
from tests.tickets.staff_actions import complete, person, sweep
from tests.tickets.world import NOW, World, dana_mail
from tickets import queries, reassignment
from tickets.models import FollowUp, Ticket

DAY = timedelta(days=1)


@pytest.fixture
def staffed_world(world: World) -> World:
    """Ada owns tickets 1 to 4, of which 4 is completed; Ben and Cleo are on the default team of the manager Max."""
    ada, ben, cleo = (world.staff(name) for name in ("Ada", "Ben", "Cleo"))
    max_ = world.staff("Max", role="manager")
    world.team("billing", ada, ben, cleo, default=True, manager=max_)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    world.receive(*(dana_mail() for _ in range(4)))
    complete(world, 4)
    sweep(world, NOW + 2 * DAY)
    return world


def deactivate(world: World, *, by: str = "Max", to: str | None = None) -> dict[str, int]:
    return world.database.transaction(
        lambda s: reassignment.deactivate(
            s, person(s, "Ada"), person(s, by), "Ada has left", NOW + 2 * DAY, to=person(s, to) if to else None
        )
    )


def owners(world: World) -> list[str | None]:
    return [world.show(number)["owner"] for number in (1, 2, 3, 4)]


def test_deactivation_reassigns_open_tickets_and_tasks_with_reasons(staffed_world: World) -> None:
    assert deactivate(staffed_world) == {"Ben": 2, "Cleo": 1}
    assert owners(staffed_world) == ["Ben", "Cleo", "Ben", "Ada"]
    entry = staffed_world.show(1)["timeline"][-1]
    assert (entry["title"], entry["actor"]) == ("Assigned to Ben", "max@billing.example")
    assert entry["body"].startswith("Ada has left. Ben has the fewest open tickets")
    assert [task.assignee_id for task in staffed_world.rows(FollowUp, FollowUp.id)] == [2, 3, 2]
    new_owners = [fact.staff_id for fact in staffed_world.facts() if isinstance(fact, TicketAssigned)]
    assert new_owners[-3:] == [2, 3, 2]


def test_named_successor_gets_everything(staffed_world: World) -> None:
    assert deactivate(staffed_world, to="Cleo") == {"Cleo": 3}
    assert owners(staffed_world) == ["Cleo", "Cleo", "Cleo", "Ada"]


def test_without_an_available_person_tickets_stay_unassigned_and_tasks_go_to_the_manager(staffed_world: World) -> None:
    for name in (2, 3):
        staffed_world.away(name, NOW, NOW + 9 * DAY)
    assert deactivate(staffed_world) == {"unassigned": 3}
    assert owners(staffed_world) == [None, None, None, "Ada"]
    with staffed_world.database.read() as session:
        waiting = queries.list_tickets(session, "unassigned", NOW)
    assert [row["owner"] for row in waiting] == [None] * 3
    assert {task.assignee_id for task in staffed_world.rows(FollowUp)} == {4}


def test_only_a_manager_deactivates_staff_and_never_themselves(staffed_world: World) -> None:
    with pytest.raises(RefusedError) as refused:
        deactivate(staffed_world, by="Ben")
    assert refused.value.code == "not_a_manager"
    with pytest.raises(RefusedError) as refused:
        deactivate(staffed_world, to="Ada")
    assert refused.value.code == "unfit_successor"
    with pytest.raises(RefusedError) as refused:
        staffed_world.database.transaction(lambda s: reassignment.deactivate(s, person(s, "Max"), person(s, "Max"), "x", NOW))
    assert refused.value.code == "own_leave"


def test_representative_reassigns_own_tickets_and_stays_active(staffed_world: World) -> None:
    given = staffed_world.database.transaction(
        lambda s: reassignment.reassign_all(s, person(s, "Ada"), person(s, "Ada"), "On leave", NOW, to=person(s, "Ben"))
    )
    assert given == {"Ben": 3}
    with staffed_world.database.read() as session:
        assert person(session, "Ada").active
    assert {ticket.owner_id for ticket in staffed_world.rows(Ticket) if ticket.stage < 6} == {2}


def test_tickets_of_an_absent_owner_show_it(staffed_world: World) -> None:
    staffed_world.away(1, NOW - DAY, NOW + DAY)
    with staffed_world.database.read() as session:
        assert all(row["owner_away"] for row in queries.list_tickets(session, "open", NOW))
        assert not any(row["owner_away"] for row in queries.list_tickets(session, "open", NOW + DAY))
