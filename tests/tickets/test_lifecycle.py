"""Acts of staff on a ticket: each leaves an activity, and the stage moves by the table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from core.settings import Settings
from outbox.facts import TicketAssigned
from tests.tickets.staff_actions import finish
from tests.tickets.world import NOW, World, dana_mail
from tickets import creation_notice, follow_ups, lifecycle
from tickets.creation_notice import NoticeOutcome
from tickets.models import FollowUp, Ticket

LATER = NOW + timedelta(hours=1)
Verb = Callable[..., Any]


@pytest.fixture
def started(world: World) -> World:
    """Ticket 1 of Ada, in progress; Ben is there, and Max, a manager."""
    world.company("Lakeside", "lakeside.example", consultant_id=world.staff("Ada"))
    world.staff("Ben")
    world.staff("Max", role="manager")
    world.receive(dana_mail())
    settled = NoticeOutcome(1, "sent", Reason("accepted", "Accepted"), "dana@lakeside.example")
    world.database.transaction(lambda session: creation_notice.settle_creation_notices(session, [settled], NOW))
    return world


def person(session: Session, name: str) -> Staff:
    return session.execute(select(Staff).where(Staff.name == name)).scalar_one()


def mark(world: World, verb: Verb, by: str = "Ada", at: Any = LATER) -> None:
    world.database.transaction(lambda session: verb(session, 1, person(session, by), at) and None)


def complete(world: World) -> None:
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        mark(world, verb)


def refusal(world: World, unit: Callable[[Session], Any]) -> str:
    before = world.show(1)
    with pytest.raises(RefusedError) as refused:
        world.database.transaction(unit)
    assert world.show(1) == before, "a refusal changes nothing"
    return refused.value.code


def stages(world: World) -> list[str]:
    return [entry["title"].removeprefix("Moved to ") for entry in world.show(1)["timeline"] if entry["kind"] == "stage"]


def test_milestones_move_a_ticket_through_audit_to_completed(started: World) -> None:
    mark(started, lifecycle.mark_follow_up_sent)
    assert started.show(1)["stage"] == "5-Audit"
    mark(started, lifecycle.mark_resolved)
    assert started.show(1)["stage"] == "5-Audit"
    mark(started, lifecycle.mark_recap_sent)
    shown = started.show(1)
    assert shown["stage"] == "6-Completed"
    assert stages(started) == ["4-In Progress", "5-Audit", "6-Completed"]
    for name in ("follow_up_sent", "resolution", "recap_sent"):
        assert shown[name]["by"] == "ada@billing.example" and shown[name]["at"]
    ticket = started.ticket(1)
    assert ticket.completed_at == LATER
    assert ticket.reminder_due_at is ticket.escalation_due_at is None


def test_a_follow_up_is_possible_from_stage_one_on(world: World) -> None:
    world.staff("Ada")
    world.receive(dana_mail())
    mark(world, lifecycle.mark_follow_up_sent)
    assert world.show(1)["stage"] == "5-Audit"


@pytest.mark.parametrize("verb", [lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent])
def test_milestone_is_set_once_and_keeps_who_set_it(started: World, verb: Verb) -> None:
    mark(started, verb)
    before = started.show(1)
    mark(started, verb, by="Ben", at=LATER + timedelta(days=1))
    assert started.show(1) == before


@pytest.mark.parametrize("verb", [lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent])
def test_milestone_of_a_completed_ticket_is_refused(started: World, verb: Verb) -> None:
    complete(started)
    assert refusal(started, lambda session: verb(session, 1, person(session, "Ben"), LATER)) == "completed"


def test_milestones_clear_their_timers(started: World) -> None:
    mark(started, lifecycle.mark_follow_up_sent)
    ticket = started.ticket(1)
    assert ticket.reminder_due_at is None and ticket.escalation_due_at is not None
    mark(started, lifecycle.mark_resolved)
    assert started.ticket(1).escalation_due_at is None


def reopen(session: Session, world: World, reason: str = "The customer wrote again", at: Any = LATER) -> None:
    lifecycle.reopen(session, 1, person(session, "Ben"), reason, world.settings, at)


def test_reopening_clears_milestones_starts_timers_and_keeps_history(started: World) -> None:
    complete(started)
    before = len(started.show(1)["timeline"])
    again = LATER + timedelta(days=30)
    started.database.transaction(lambda session: reopen(session, started, at=again))
    shown, ticket = started.show(1), started.ticket(1)
    assert shown["stage"] == "4-In Progress"
    assert shown["follow_up_sent"] is shown["resolution"] is shown["recap_sent"] is None
    assert (ticket.opening, ticket.opened_at, ticket.completed_at) == (2, again, None)
    assert ticket.reminder_due_at == again + timedelta(days=2)
    assert ticket.escalation_due_at == again + timedelta(days=3)
    assert len(shown["timeline"]) == before + 1
    assert shown["timeline"][-1]["reasons"] == [{"code": "reopened", "text": "The customer wrote again"}]
    assert shown["timeline"][-1]["actor"] == "ben@billing.example"
    complete(started)
    assert started.show(1)["stage"] == "6-Completed"


def test_only_a_completed_ticket_is_reopened_and_only_with_a_reason(started: World) -> None:
    assert refusal(started, lambda session: reopen(session, started)) == "not_completed"
    complete(started)
    assert refusal(started, lambda session: reopen(session, started, "  ")) == "no_reason"


def force(session: Session, stage: int, by: str = "Max", reason: str = "A mistake") -> None:
    lifecycle.force_stage(session, 1, stage, person(session, by), reason, Settings(), LATER)


def test_a_manager_forces_a_move_with_a_reason(started: World) -> None:
    started.database.transaction(lambda session: force(session, 6))
    shown = started.show(1)
    assert shown["stage"] == "6-Completed"
    assert shown["timeline"][-1]["reasons"] == [{"code": "forced", "text": "A mistake"}]
    assert started.ticket(1).completed_at == LATER
    started.database.transaction(lambda session: force(session, 5))
    assert started.show(1)["stage"] == "5-Audit"
    assert started.ticket(1).completed_at is None


@pytest.mark.parametrize(
    ("stage", "by", "reason", "code"),
    [
        (5, "Ada", "why", "not_a_manager"),
        (2, "Max", "why", "unknown_stage"),
        (4, "Max", "why", "same_stage"),
        (5, "Max", " ", "no_reason"),
    ],
)
def test_a_forced_move_is_refused_without_a_manager_a_stage_or_a_reason(
    started: World, stage: int, by: str, reason: str, code: str
) -> None:
    assert refusal(started, lambda session: force(session, stage, by, reason)) == code


def assign_ticket(session: Session, to: str, by: str = "Ada", reason: str = "") -> None:
    lifecycle.assign(session, 1, person(session, to), person(session, by), reason, LATER)


def test_reassignment_is_recorded_and_notifies_the_new_owner(started: World) -> None:
    started.database.transaction(lambda session: assign_ticket(session, "Ben", reason="She knows them"))
    shown = started.show(1)
    assert shown["owner"] == "Ben"
    entry = shown["timeline"][-1]
    assert (entry["kind"], entry["title"], entry["body"]) == ("assignment", "Assigned to Ben", "She knows them")
    last = started.facts()[-1]
    assert isinstance(last, TicketAssigned) and (last.ticket_id, last.reason) == (1, "She knows them")


def test_reassignment_to_the_owner_or_an_inactive_person_is_refused(started: World) -> None:
    started.staff("Gone", active=False)
    assert refusal(started, lambda session: assign_ticket(session, "Ada", by="Ben")) == "same_owner"
    assert refusal(started, lambda session: assign_ticket(session, "Gone")) == "not_active"


def test_a_note_needs_a_text(started: World) -> None:
    started.database.transaction(
        lambda session: lifecycle.add_note(session, 1, person(session, "Ben"), " Called them \n", LATER) and None
    )
    entry = started.show(1)["timeline"][-1]
    assert (entry["kind"], entry["body"], entry["actor"]) == ("note", "Called them", "ben@billing.example")
    assert refusal(started, lambda session: lifecycle.add_note(session, 1, person(session, "Ben"), "\n", LATER)) == "no_reason"


def test_act_on_unknown_ticket_is_not_found(started: World) -> None:
    for unit in (
        lambda session: lifecycle.mark_resolved(session, 99, person(session, "Ada"), LATER),
        lambda session: follow_ups.finish_task(session, 99, person(session, "Ada"), LATER),
    ):
        with pytest.raises(NotFoundError):
            started.database.transaction(unit)


def test_concurrent_milestones_are_all_stored(started: World) -> None:
    gate = threading.Barrier(3)

    def run(verb: Verb) -> None:
        gate.wait()
        mark(started, verb)

    verbs = (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent)
    threads = [threading.Thread(target=run, args=(verb,)) for verb in verbs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert started.show(1)["stage"] == "6-Completed"
    assert stages(started) == ["4-In Progress", "5-Audit", "6-Completed"]


def test_a_task_is_finished_once(started: World) -> None:
    started.receive_one(text="telemedicine")
    task_id = started.rows(FollowUp)[0].id
    for at in (LATER, LATER + timedelta(days=1)):
        finish(started, task_id, at)
    assert started.rows(FollowUp)[0].done_at == LATER


def test_every_change_of_a_ticket_raises_its_version(started: World) -> None:
    versions = [started.ticket(1).version]
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        mark(started, verb)
        versions.append(started.ticket(1).version)
    assert versions == sorted(set(versions))
    assert all(ticket.updated_at == LATER for ticket in started.rows(Ticket))
