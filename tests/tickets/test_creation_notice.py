"""Settling creation notices: entries, stages and tasks."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import event, update
from sqlalchemy.orm import Session

from core.reasons import Reason
from tests.tickets.world import NOW, World, dana_mail
from tickets import creation_notice, manual_entry
from tickets.creation_notice import NoticeOutcome
from tickets.models import Activity, FollowUp, Ticket

LATER = NOW + timedelta(minutes=3)


def outcome(ticket_id: int, result: str) -> NoticeOutcome:
    return NoticeOutcome(ticket_id, result, Reason(f"code_{result}", f"It was {result}"), "dana@lakeside.example")


def settle(world: World, *outcomes: NoticeOutcome) -> None:
    world.database.transaction(lambda session: creation_notice.settle_creation_notices(session, outcomes, LATER))


@pytest.mark.parametrize(
    ("result", "title"),
    [
        ("sent", "Creation notice sent"),
        ("skipped", "Creation notice not sent"),
        ("failed", "Creation notice failed"),
        ("ambiguous", "Creation notice may not have arrived"),
    ],
)
def test_any_final_outcome_moves_the_ticket_to_in_progress_with_its_reason(world: World, result: str, title: str) -> None:
    world.receive(dana_mail())
    settle(world, outcome(1, result))
    shown = world.show(1)
    assert (shown["stage"], shown["creation_notice"]) == ("4-In Progress", result)
    notice, stage = (entry for entry in shown["timeline"] if entry["kind"] in ("notice", "stage"))
    assert (notice["kind"], notice["title"], notice["body"]) == ("notice", title, f"It was {result}")
    assert notice["reasons"] == [{"code": f"code_{result}", "text": f"It was {result}"}]
    assert (stage["kind"], stage["title"]) == ("stage", "Moved to 4-In Progress")
    assert stage["reasons"][0]["code"] == "creation_notice_settled"
    ticket = world.ticket(1)
    assert (ticket.version, ticket.updated_at) == (2, LATER)
    assert ticket.opened_at == NOW, "the timers go on from the creation"


@pytest.mark.parametrize("result", ["failed", "ambiguous"])
def test_notice_that_may_not_have_arrived_raises_a_task_for_the_owner(world: World, result: str) -> None:
    world.company("Lakeside", "lakeside.example", consultant_id=world.staff("Ada"))
    world.team("billing", default=True, manager=world.staff("Max", role="manager"))
    world.receive(dana_mail())
    settle(world, outcome(1, result))
    (task,) = world.show(1)["tasks"]
    assert (task["kind"], task["assignee"]) == ("notice_problem", "Ada")
    assert task["reason"] == f"It was {result}"
    assert world.rows(FollowUp)[0].due_at > LATER


@pytest.mark.parametrize("result", ["failed", "ambiguous"])
def test_without_an_owner_the_task_goes_to_the_default_teams_manager(world: World, result: str) -> None:
    world.team("other", manager=world.staff("Olga", role="manager"))
    world.team("billing", default=True, manager=world.staff("Max", role="manager"))
    world.receive(dana_mail())
    settle(world, outcome(1, result))
    (task,) = world.show(1)["tasks"]
    assert task["assignee"] == "Max"


def test_task_is_raised_unassigned_without_owner_and_manager(world: World) -> None:
    world.receive(dana_mail())
    settle(world, outcome(1, "failed"))
    assert [task["assignee"] for task in world.show(1)["tasks"]] == [None]


@pytest.mark.parametrize("result", ["sent", "skipped"])
def test_notice_that_was_sent_or_skipped_raises_no_task(world: World, result: str) -> None:
    world.receive(dana_mail())
    settle(world, outcome(1, result))
    assert world.show(1)["tasks"] == []


def test_settling_a_notice_twice_changes_nothing(world: World) -> None:
    world.receive(dana_mail())
    settle(world, outcome(1, "failed"))
    before = world.show(1)
    settle(world, outcome(1, "failed"))
    settle(world, outcome(1, "sent"))
    assert world.show(1) == before
    assert world.ticket(1).version == 2


def test_concurrent_settling_of_one_notice_is_recorded_once(world: World) -> None:
    world.receive(dana_mail())
    gate = threading.Barrier(4)

    def run() -> None:
        gate.wait()
        settle(world, outcome(1, "failed"))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kinds = [row.kind for row in world.rows(Activity, Activity.id)]
    assert kinds == ["message_in", "assignment", "notice", "stage", "task"]
    assert world.count(FollowUp) == 1 and world.ticket(1).version == 2


def test_a_batch_settles_each_ticket_by_its_own_outcome(world: World) -> None:
    world.receive(*(dana_mail() for _ in range(4)))
    settle(world, *(outcome(number, result) for number, result in ((3, "failed"), (1, "sent"), (2, "skipped"), (99, "sent"))))
    assert [(ticket.stage, ticket.creation_notice) for ticket in world.rows(Ticket, Ticket.id)] == [
        (4, "sent"), (4, "skipped"), (4, "failed"), (1, "pending"),
    ]  # fmt: skip


def test_ticket_with_milestones_set_before_its_notice_advances_by_the_table(world: World) -> None:
    world.receive(dana_mail())

    def check(session: Session) -> None:
        values = {"follow_up_sent_at": NOW, "follow_up_sent_by": "ada"}
        session.execute(update(Ticket).where(Ticket.id == 1).values(values))

    world.database.transaction(check)
    settle(world, outcome(1, "sent"))
    stages = [entry["title"] for entry in world.show(1)["timeline"] if entry["kind"] == "stage"]
    assert stages == ["Moved to 4-In Progress", "Moved to 5-Audit"]
    assert world.ticket(1).stage == 5


def test_a_batch_of_a_hundred_is_settled_in_a_few_statements(world: World) -> None:
    world.receive(*(dana_mail() for _ in range(100)))
    statements: list[str] = []
    event.listen(world.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    settle(world, *(outcome(number, "failed") for number in range(1, 101)))
    assert len(statements) <= 12
    assert world.count(FollowUp) == 100


def test_ticket_created_by_hand_goes_through_intake(world: World) -> None:
    world.staff("Ben")
    submission = dana_mail(source="phone", owner_email="ben@billing.example")
    ticket_id = world.database.transaction(lambda session: manual_entry.create_by_hand(session, submission, world.settings, NOW))
    assert world.show(ticket_id)["owner"] == "Ben"
