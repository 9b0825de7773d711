"""Openings: effects of milestones, reopening and forced moves on stages, timers and tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations

import pytest

from accounts.models import Staff
from core.errors import RefusedError
from outbox.facts import TaskRaised, TicketAssigned
from tests.tickets.staff_actions import assign_ticket, complete, force, mark, reopen, settle_notice, sweep, tasks
from tests.tickets.world import NOW, World, dana_mail
from tickets import lifecycle
from tickets.models import Activity, Ticket

DAY = timedelta(days=1)
LATER = NOW + timedelta(hours=1)
ALL_MARKS = (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent)


@pytest.fixture
def opened(world: World) -> World:
    """Ticket 1 of Ada for Lakeside, in progress; Max manages Lakeside, Ben is there too."""
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.staff("Ben")
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    world.receive(dana_mail())
    settle_notice(world)
    return world


def stage(world: World, ticket_id: int = 1) -> str:
    return str(world.show(ticket_id)["stage"])


def test_only_all_three_milestones_complete_a_ticket_in_any_order(opened: World) -> None:
    opened.receive(*(dana_mail() for _ in range(6)))
    for ticket_id, order in enumerate(permutations(ALL_MARKS), start=2):
        for count, verb in enumerate(order, start=1):
            mark(opened, verb, ticket_id)
            followed_up = lifecycle.mark_follow_up_sent in order[:count]
            expected = "6-Completed" if count == 3 else "5-Audit" if followed_up else "1-Submitted"
            assert stage(opened, ticket_id) == expected, [one.__name__ for one in order[:count]]


def test_each_milestone_is_on_the_timeline_with_actor_and_time(opened: World) -> None:
    for verb, by in zip(ALL_MARKS, ("Ada", "Ben", "Max"), strict=True):
        mark(opened, verb, by=by, at=LATER)
    marks = [entry for entry in opened.show(1)["timeline"] if entry["kind"] == "mark"]
    assert [(entry["title"], entry["actor"], entry["at"]) for entry in marks] == [
        ("4-Support Follow Up Sent", "ada@billing.example", LATER.isoformat()),
        ("Resolution: Yes", "ben@billing.example", LATER.isoformat()),
        ("5-Recap of Resolution Sent", "max@billing.example", LATER.isoformat()),
    ]
    assert "telephone" in marks[-1]["body"]


def test_a_notice_that_settles_after_the_follow_up_does_not_move_the_ticket_back(world: World) -> None:
    world.staff("Ada")
    world.receive(dana_mail())
    mark(world, lifecycle.mark_follow_up_sent)
    settle_notice(world)
    assert stage(world) == "5-Audit"


def test_a_notice_that_settles_last_completes_a_ticket_that_was_forced_back_to_submitted(world: World) -> None:
    world.staff("Ada")
    world.staff("Max", role="manager")
    world.receive(dana_mail())
    complete(world)
    force(world, 1)
    settle_notice(world, at=LATER)
    assert (stage(world), world.ticket(1).completed_at) == ("6-Completed", LATER)


def test_the_follow_up_closes_the_reminder_and_the_resolution_closes_the_escalation(opened: World) -> None:
    sweep(opened, NOW + 3 * DAY)
    mark(opened, lifecycle.mark_resolved, at=NOW + 4 * DAY)
    assert tasks(opened) == [("reminder", "Ada", False), ("escalation", "Max", True)]
    mark(opened, lifecycle.mark_follow_up_sent, at=NOW + 4 * DAY)
    assert tasks(opened) == [("reminder", "Ada", True), ("escalation", "Max", True)]


def test_a_forced_completion_closes_the_tasks_and_stops_the_timers(opened: World) -> None:
    sweep(opened, NOW + 2 * DAY)
    force(opened, 6, at=NOW + 2 * DAY)
    sweep(opened, NOW + 10 * DAY)
    assert tasks(opened) == [("reminder", "Ada", True)]
    ticket = opened.ticket(1)
    assert ticket.reminder_due_at is ticket.escalation_due_at is None


def test_after_a_reopening_both_timers_start_again_and_fire_once(opened: World) -> None:
    sweep(opened, NOW + 3 * DAY)
    complete(opened, at=NOW + 4 * DAY)
    again = NOW + 20 * DAY
    reopen(opened, at=again)
    sweep(opened, again + 2 * DAY - timedelta(seconds=1))
    assert [done for _, _, done in tasks(opened)] == [True, True]
    for days in (2, 3, 4, 30):
        sweep(opened, again + days * DAY)
    assert tasks(opened)[2:] == [("reminder", "Ada", False), ("escalation", "Max", False)]
    assert len([fact for fact in opened.facts() if isinstance(fact, TaskRaised)]) == 4


def test_reopening_changes_no_entry_of_the_timeline(opened: World) -> None:
    complete(opened)
    before = opened.show(1)["timeline"]
    reopen(opened, at=LATER)
    assert opened.show(1)["timeline"][: len(before)] == before


def test_refused_reopening_changes_nothing_even_when_the_error_is_caught(opened: World) -> None:
    complete(opened)
    before = opened.show(1)
    with opened.database.write() as session, pytest.raises(RefusedError):
        lifecycle.reopen(session, 1, session.get_one(Staff, 1), " ", opened.settings, LATER)
    assert opened.show(1) == before


def test_forced_stage_stays_until_the_next_milestone_applies_the_table(opened: World) -> None:
    force(opened, 1)
    assert stage(opened) == "1-Submitted"
    mark(opened, lifecycle.mark_recap_sent)
    assert stage(opened) == "4-In Progress"
    force(opened, 5)
    assert stage(opened) == "5-Audit"
    mark(opened, lifecycle.mark_resolved)
    assert stage(opened) == "6-Completed"


def test_ticket_forced_out_of_completed_completes_again_at_the_next_milestone(opened: World) -> None:
    complete(opened)
    force(opened, 4)
    assert (stage(opened), opened.ticket(1).completed_at) == ("4-In Progress", None)
    mark(opened, lifecycle.mark_resolved, by="Ben", at=LATER)
    shown = opened.show(1)
    assert shown["stage"] == "6-Completed"
    assert shown["resolution"]["by"] == "ada@billing.example"
    assert opened.ticket(1).completed_at == LATER


def test_a_ticket_forced_out_of_completed_has_its_timers_back_as_of_its_opening(opened: World) -> None:
    force(opened, 6, at=LATER)
    force(opened, 4, at=NOW + DAY)
    ticket = opened.ticket(1)
    assert (ticket.opening, ticket.opened_at) == (1, NOW)
    assert (ticket.reminder_due_at, ticket.escalation_due_at) == (NOW + 2 * DAY, NOW + 3 * DAY)


def test_a_rule_that_has_fired_does_not_fire_again_after_a_forced_move(opened: World) -> None:
    sweep(opened, NOW + 3 * DAY)
    force(opened, 6, at=NOW + 4 * DAY)
    force(opened, 4, at=NOW + 4 * DAY)
    sweep(opened, NOW + 5 * DAY)
    assert tasks(opened) == [("reminder", "Ada", True), ("escalation", "Max", True)]
    assert len([fact for fact in opened.facts() if isinstance(fact, TaskRaised)]) == 2
    assert opened.ticket(1).reminder_due_at is None


def test_milestones_that_are_set_start_no_timer_when_forced_out_of_completed(opened: World) -> None:
    complete(opened)
    force(opened, 5)
    ticket = opened.ticket(1)
    assert ticket.reminder_due_at is ticket.escalation_due_at is None


def test_an_administrator_may_force_a_move_too(opened: World) -> None:
    opened.staff("Root", role="administrator")
    force(opened, 5, by="Root")
    assert opened.show(1)["timeline"][-1]["actor"] == "root@billing.example"


def test_owner_tasks_are_reassigned_with_the_ticket_and_manager_tasks_stay(world: World) -> None:
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.staff("Ben")
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    world.receive(dana_mail())
    settle_notice(world, "failed")
    sweep(world, NOW + 3 * DAY)
    assign_ticket(world, "Ben", by="Ada")
    assert tasks(world) == [("notice_problem", "Ben", False), ("reminder", "Ben", False), ("escalation", "Max", False)]


@pytest.mark.parametrize(
    ("by", "reason", "text"),
    [("Ben", "", "Taken"), ("Ada", "", "Reassigned by Ada"), ("Ada", " Ben knows them ", "Ben knows them")],
)
def test_reassignment_shows_its_reason(opened: World, by: str, reason: str, text: str) -> None:
    assign_ticket(opened, "Ben", by=by, reason=reason, at=LATER)
    entry = opened.show(1)["timeline"][-1]
    assert (entry["kind"], entry["body"], entry["reasons"][0]["text"]) == ("assignment", text, text)
    activity = opened.rows(Activity, Activity.id.desc())[0]
    assert opened.facts()[-1] == TicketAssigned(1, 3, activity.id, text)


def note(world: World, text: str) -> None:
    world.database.transaction(lambda session: lifecycle.add_note(session, 1, session.get_one(Staff, 1), text, LATER) and None)


def test_every_act_raises_the_version(opened: World) -> None:
    acts: tuple[Callable[[], None], ...] = (
        lambda: mark(opened, lifecycle.mark_follow_up_sent, at=LATER),
        lambda: assign_ticket(opened, "Ben", by="Ada", at=LATER),
        lambda: force(opened, 6, at=LATER),
        lambda: reopen(opened, at=LATER),
        lambda: note(opened, "Called, no answer"),
    )
    versions = []
    for act in acts:
        act()
        versions.append(opened.ticket(1).version)
    assert versions == sorted(set(versions))
    assert [ticket.updated_at for ticket in opened.rows(Ticket)] == [LATER]
