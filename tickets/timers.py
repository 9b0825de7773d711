"""The sweep of the timers: reminders to owners, escalations to managers, each once per opening (domain.md, Tickets).

A timer is a column with the time at which it is due. The sweep:

1. Reads the ids of the tickets that are due.
2. Locks each ticket in a transaction of its own, checks again that the timer is due and the rule still needed, clears the timer
   and raises the task.
3. Postpones a ticket whose transaction failed, so that it does not keep the others from their turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from accounts.models import Company, Staff, Team
from core import clock
from core.database.session import Database, is_unavailable
from core.reasons import Reason
from core.settings.sections import Calendar
from outbox.append import append_facts
from outbox.facts import TaskRaised
from tickets import follow_ups
from tickets.deadlines import due_after
from tickets.follow_ups import ESCALATION, REMINDER
from tickets.models import Ticket
from tickets.stages import COMPLETED
from tickets.timeline import SYSTEM, add_entry

log = logging.getLogger("casemill.timers")

BATCH_SIZE: Final = 100
RETRY_DELAY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Timer:
    """One rule with its column: the task it raises, and whether that is still needed when the timer is due."""

    kind: str
    column: InstrumentedAttribute[datetime | None]
    is_needed: Callable[[Ticket], bool]
    title: str
    reason: str


TIMERS = (
    Timer(
        REMINDER,
        Ticket.reminder_due_at,
        lambda ticket: ticket.follow_up_sent_at is None and ticket.stage != COMPLETED,
        "Follow up with the customer",
        "4-Support Follow Up Sent was not checked in time",
    ),
    Timer(
        ESCALATION,
        Ticket.escalation_due_at,
        lambda ticket: ticket.resolution_at is None and ticket.stage != COMPLETED,
        "Escalate: not resolved in time",
        "Resolution was not set in time",
    ),
)


def sweep(database: Database, calendar: Calendar) -> int:
    """Fire the timers that are due, a batch of each; return how many tickets were looked at."""
    return sum(_fire_batch(database, timer, calendar) for timer in TIMERS)


def _fire_batch(database: Database, timer: Timer, calendar: Calendar) -> int:
    with database.read() as session:
        due = list(session.execute(_select_due(timer, clock.now())).scalars())
    for ticket_id in due:
        try:
            database.transaction(lambda session, one=ticket_id: _fire(session, timer, one, calendar))  # type: ignore[misc]
        except Exception as error:
            if is_unavailable(error):
                raise
            log.error("ticket timer failed, postponed", exc_info=error, extra={"ticket": ticket_id, "kind": timer.kind})
            database.transaction(lambda session, one=ticket_id: _postpone(session, timer, one))  # type: ignore[misc]
    return len(due)


def _select_due(timer: Timer, now: datetime) -> Select[int]:
    return select(Ticket.id).where(timer.column <= now).order_by(timer.column, Ticket.id).limit(BATCH_SIZE)


def _fire(session: Session, timer: Timer, ticket_id: int, calendar: Calendar) -> None:
    now = clock.now()
    statement = select(Ticket).where(Ticket.id == ticket_id, timer.column <= now).with_for_update(key_share=True)
    ticket = session.execute(statement).scalar_one_or_none()
    if ticket is None:
        return
    setattr(ticket, timer.column.key, None)
    if not timer.is_needed(ticket):
        return
    key = f"{timer.kind}:{ticket.id}:{ticket.opening}"
    # A forced move starts the timer again in the same opening, and a rule fires once per opening.
    if follow_ups.find_raised_keys(session, [key]):
        return
    _raise_task(session, timer, ticket, key, now, calendar)


def _raise_task(session: Session, timer: Timer, ticket: Ticket, key: str, now: datetime, calendar: Calendar) -> None:
    assignee_id = _find_assignee(session, timer, ticket)
    due_at = due_after(now, calendar.task_days, calendar)
    row = follow_ups.task_row(key, ticket.id, timer.kind, timer.title, timer.reason, due_at, now, assignee_id=assignee_id)
    task_id = follow_ups.insert_task(session, row)
    reasons = [Reason(f"{timer.kind}_due", timer.reason).as_dict()]
    data = {"task_id": task_id, "code": "task_raised", "reasons": reasons}
    name = session.execute(select(Staff.name).where(Staff.id == assignee_id)).scalar()
    title = f"Task for {name}: {timer.title}" if name else f"Unassigned task: {timer.title}"
    add_entry(session, ticket, now, SYSTEM, "task", title, timer.reason, data)
    append_facts(session, [TaskRaised(ticket.id, task_id, timer.kind, assignee_id)], now)


def _find_assignee(session: Session, timer: Timer, ticket: Ticket) -> int | None:
    """The owner, or for an escalation the manager on the company record; else the default team's manager.

    A person who has left gets no task, because an inactive member of staff does not see it.
    """
    of_company = select(Company.manager_id).where(Company.id == ticket.company_id)
    of_ticket = select(Ticket.owner_id).where(Ticket.id == ticket.id)
    of_team = select(Team.manager_id).where(Team.is_default)
    for wanted in (of_company if timer.kind == ESCALATION else of_ticket, of_team):
        person = session.execute(select(Staff.id).where(Staff.active, Staff.id.in_(wanted))).scalars().first()
        if person is not None:
            return person
    return None


def _postpone(session: Session, timer: Timer, ticket_id: int) -> None:
    """Postpone a timer that failed, unless it was cleared or started again meanwhile."""
    now = clock.now()
    still_due = Ticket.id == ticket_id, timer.column <= now
    session.execute(update(Ticket).where(*still_due).values({timer.column.key: now + RETRY_DELAY}))
