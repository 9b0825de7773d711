"""When somebody is away or leaves: everything open goes to others, and nothing is left with nobody looking at it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.errors import RefusedError
from outbox.facts import TicketAssigned
from tests.tickets.acts import complete, person, sweep
from tests.tickets.world import NOW, World, matter
from tickets import queries, reassignment
from tickets.models import FollowUp, Ticket

DAY = timedelta(days=1)


@pytest.fixture
def desk(world: World) -> World:
    """Ada owns tickets 1 to 4, of which 4 is completed; Ben and Cleo are on the default team of the manager Max."""
    ada, ben, cleo = (world.staff(name) for name in ("Ada", "Ben", "Cleo"))
    max_ = world.staff("Max", role="manager")
    world.team("billing", ada, ben, cleo, default=True, manager=max_)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    world.receive(*(matter() for _ in range(4)))
    complete(world, 4)
    sweep(world, NOW + 2 * DAY)
    return world


def let_go(world: World, *, by: str = "Max", to: str | None = None) -> dict[str, int]:
    return world.database.transaction(
        lambda s: reassignment.deactivate(
            s, person(s, "Ada"), person(s, by), "Ada has left", NOW + 2 * DAY, to=person(s, to) if to else None
        )
    )


def owners(world: World) -> list[str | None]:
    return [world.show(number)["owner"] for number in (1, 2, 3, 4)]


def test_what_a_leaver_had_open_is_shared_out_with_its_tasks_and_its_reasons(desk: World) -> None:
    assert let_go(desk) == {"Ben": 2, "Cleo": 1}
    assert owners(desk) == ["Ben", "Cleo", "Ben", "Ada"]
    entry = desk.show(1)["timeline"][-1]
    assert (entry["title"], entry["actor"]) == ("Assigned to Ben", "max@billing.example")
    assert entry["body"].startswith("Ada has left. Ben has the fewest open tickets")
    assert [task.assignee_id for task in desk.rows(FollowUp, FollowUp.id)] == [2, 3, 2]
    told = [fact.staff_id for fact in desk.facts() if isinstance(fact, TicketAssigned)]
    assert told[-3:] == [2, 3, 2]


def test_a_named_successor_takes_all(desk: World) -> None:
    assert let_go(desk, to="Cleo") == {"Cleo": 3}
    assert owners(desk) == ["Cleo", "Cleo", "Cleo", "Ada"]


def test_with_nobody_to_take_them_they_wait_in_the_saved_view_and_their_tasks_go_to_the_manager(desk: World) -> None:
    for name in (2, 3):
        desk.away(name, NOW, NOW + 9 * DAY)
    assert let_go(desk) == {"unassigned": 3}
    assert owners(desk) == [None, None, None, "Ada"]
    with desk.database.read() as session:
        waiting = queries.list_tickets(session, "unassigned", NOW)
    assert [row["owner"] for row in waiting] == [None] * 3
    assert {task.assignee_id for task in desk.rows(FollowUp)} == {4}


def test_only_a_manager_lets_somebody_leave_and_nobody_themselves(desk: World) -> None:
    with pytest.raises(RefusedError) as refused:
        let_go(desk, by="Ben")
    assert refused.value.code == "not_a_manager"
    with pytest.raises(RefusedError) as refused:
        let_go(desk, to="Ada")
    assert refused.value.code == "unfit_successor"
    with pytest.raises(RefusedError) as refused:
        desk.database.transaction(lambda s: reassignment.deactivate(s, person(s, "Max"), person(s, "Max"), "x", NOW))
    assert refused.value.code == "own_leave"


def test_a_representative_hands_over_their_own_when_they_go_on_leave_and_stays_active(desk: World) -> None:
    given = desk.database.transaction(
        lambda s: reassignment.reassign_all(s, person(s, "Ada"), person(s, "Ada"), "On leave", NOW, to=person(s, "Ben"))
    )
    assert given == {"Ben": 3}
    with desk.database.read() as session:
        assert person(session, "Ada").active
    assert {ticket.owner_id for ticket in desk.rows(Ticket) if ticket.stage < 6} == {2}


def test_the_tickets_of_an_absent_owner_show_it(desk: World) -> None:
    desk.away(1, NOW - DAY, NOW + DAY)
    with desk.database.read() as session:
        assert all(row["owner_away"] for row in queries.list_tickets(session, "open", NOW))
        assert not any(row["owner_away"] for row in queries.list_tickets(session, "open", NOW + DAY))
