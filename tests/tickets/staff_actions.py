"""Acts of staff in tests, by first name: one act in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import time_machine
from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.reasons import Reason
from tests.tickets.world import NOW, World
from tickets import creation_notice, follow_ups, lifecycle, timers
from tickets.creation_notice import NoticeOutcome

Verb = Callable[[Session, int, Staff, datetime], Any]


def person(session: Session, name: str) -> Staff:
    return session.execute(select(Staff).where(Staff.name == name)).scalar_one()


def mark(world: World, verb: Verb, ticket_id: int = 1, *, by: str = "Ada", at: datetime = NOW) -> None:
    """Set one of the three milestones."""
    world.database.transaction(lambda session: verb(session, ticket_id, person(session, by), at) and None)


def complete(world: World, ticket_id: int = 1, *, at: datetime = NOW) -> None:
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        mark(world, verb, ticket_id, at=at)


def reopen(world: World, *, at: datetime, by: str = "Ada") -> None:
    def unit(session: Session) -> None:
        lifecycle.reopen(session, 1, person(session, by), "The customer wrote again", world.settings, at)

    world.database.transaction(unit)


def force(world: World, stage: int, *, at: datetime = NOW, by: str = "Max") -> None:
    def unit(session: Session) -> None:
        lifecycle.force_stage(session, 1, stage, person(session, by), "A mistake", world.settings, at)

    world.database.transaction(unit)


def assign_ticket(world: World, to: str, *, by: str, reason: str = "", at: datetime = NOW) -> None:
    world.database.transaction(
        lambda session: lifecycle.assign(session, 1, person(session, to), person(session, by), reason, at) and None
    )


def finish(world: World, task_id: int, at: datetime, by: str = "Ada") -> None:
    world.database.transaction(lambda session: follow_ups.finish_task(session, task_id, person(session, by), at) and None)


def settle_notice(world: World, outcome: str = "sent", *, at: datetime = NOW) -> None:
    """Settle the creation notice of ticket 1."""
    settled = NoticeOutcome(1, outcome, Reason("some_code", "Some reason"), "dana@lakeside.example")
    world.database.transaction(lambda session: creation_notice.settle_creation_notices(session, [settled], at))


@contextmanager
def clock_at(moment: datetime) -> Iterator[None]:
    with time_machine.travel(moment, tick=False):
        yield


def sweep(world: World, at: datetime) -> None:
    """Run the timer sweep at a time until nothing is due."""
    with clock_at(at):
        while timers.sweep(world.database, world.settings.calendar):
            pass


def tasks(world: World, ticket_id: int = 1) -> list[tuple[str, str | None, bool]]:
    """Kind, assignee and whether it is done."""
    return [(task["kind"], task["assignee"], task["done_at"] is not None) for task in world.show(ticket_id)["tasks"]]
