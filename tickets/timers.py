"""The sweep of the timers: reminders to owners, escalations to managers, each once per opening (domain.md, Tickets).

A timer is a column with a moment. The rule is checked again at the moment it acts; a row that raises is pushed on and the
others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from accounts.models import Company, Staff, Team
from core import clock
from core.database.session import Database, is_unavailable
from core.reasons import Reason
from core.settings.sections import Calendar
from outbox.append import append_facts
from outbox.facts import TaskRaised
from tickets.deadlines import due_after
from tickets.intake_writer import SYSTEM
from tickets.lifecycle import ESCALATION, REMINDER
from tickets.models import FollowUp, Ticket
from tickets.stages import COMPLETED
from tickets.timeline import add_entry

log = logging.getLogger("casemill.due")

BATCH_SIZE = 100
RETRY_DELAY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Timer:
    """One rule with its column: what it raises, and whether it is still needed when its moment comes."""

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
    """Fire what is due, a batch of each timer; returns how many tickets were looked at."""
    return sum(_fire_all(database, timer, calendar) for timer in TIMERS)


def _fire_all(database: Database, timer: Timer, calendar: Calendar) -> int:
    with database.read() as session:
        due = list(session.execute(_due(timer, clock.now())).scalars())
    for ticket_id in due:
        try:
            database.transaction(lambda session, one=ticket_id: _fire(session, timer, one, calendar))  # type: ignore[misc]
        except Exception as error:
            if is_unavailable(error):
                raise
            log.error("a timer failed and is tried again later", exc_info=error, extra={"ticket": ticket_id, "kind": timer.kind})
            database.transaction(lambda session, one=ticket_id: _push_on(session, timer, one))  # type: ignore[misc]
    return len(due)


def _due(timer: Timer, now: datetime) -> Select[int]:
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
    if session.execute(select(FollowUp.id).where(FollowUp.key == key)).first() is not None:
        return  # it has fired in this opening, and a forced move wound the timer up again
    _raise_task(session, timer, ticket, key, now, calendar)


def _raise_task(session: Session, timer: Timer, ticket: Ticket, key: str, now: datetime, calendar: Calendar) -> None:
    assignee_id = _assignee(session, timer, ticket)
    row = {"key": key, "ticket_id": ticket.id, "kind": timer.kind, "title": timer.title, "reason": timer.reason}
    moments = {"due_at": due_after(now, calendar.task_days, calendar), "created_at": now}
    made = insert(FollowUp).values(**row, assignee_id=assignee_id, **moments).returning(FollowUp.id)
    task_id = session.execute(made).scalar_one()
    reasons = [Reason(f"{timer.kind}_due", timer.reason).as_dict()]
    data = {"task_id": task_id, "code": "task_raised", "reasons": reasons}
    name = session.execute(select(Staff.name).where(Staff.id == assignee_id)).scalar() or "nobody"
    add_entry(session, ticket, now, SYSTEM, "task", f"Task for {name}: {timer.title}", timer.reason, data)
    append_facts(session, [TaskRaised(ticket.id, task_id, timer.kind, assignee_id)], now)


def _assignee(session: Session, timer: Timer, ticket: Ticket) -> int | None:
    """The owner, or for an escalation the manager on the company record; else the default team's manager.

    Whoever has left gets nothing: their task would be seen by nobody.
    """
    of_company = select(Company.manager_id).where(Company.id == ticket.company_id)
    of_ticket = select(Ticket.owner_id).where(Ticket.id == ticket.id)
    of_team = select(Team.manager_id).where(Team.is_default)
    for wanted in (of_company if timer.kind == ESCALATION else of_ticket, of_team):
        person = session.execute(select(Staff.id).where(Staff.active, Staff.id.in_(wanted))).scalars().first()
        if person is not None:
            return person
    return None


def _push_on(session: Session, timer: Timer, ticket_id: int) -> None:
    """Unless it was cleared or wound up anew meanwhile: then there is nothing to try again."""
    now = clock.now()
    still_due = Ticket.id == ticket_id, timer.column <= now
    session.execute(update(Ticket).where(*still_due).values({timer.column.key: now + RETRY_DELAY}))
