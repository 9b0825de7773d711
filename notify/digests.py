"""The daily digest: for staff who want it, once a working day, in their own morning. The delivery's key decides that it is once.

No word of a customer: number, company, stage and age; the titles of tasks are what rules and colleagues wrote, so those of
tasks added by hand stay out.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from accounts.models import Absence, Company, Staff
from core import clock
from core.database.bulk import insert_ignore
from core.database.session import Database
from core.reasons import Reason
from core.settings.sections import Calendar
from notify.mailing_types import DIGEST
from notify.mailings import build_delivery_row
from notify.models import Delivery
from tickets.deadlines import day_after
from tickets.follow_ups import BY_HAND
from tickets.models import FollowUp, Ticket
from tickets.numbers import number
from tickets.permissions import MANAGERS
from tickets.stages import COMPLETED, STAGE_NAMES
from tickets.tasks import OPEN

#: The longest list in one mail; the desk shows the rest.
LISTED: Final = 30
NOTHING: Final = Reason("nothing_to_say", "No open tickets, no tasks due, nothing that waits")


def sweep(database: Database, calendar: Calendar) -> int:
    """Make the digests that are due; returns how many, those with nothing to say among them."""
    now = clock.now()
    with database.read() as session:
        due = _due(session, calendar, now)
    if not due:
        return 0
    return database.transaction(lambda session: _make(session, due, now))


def is_due(person: Staff, calendar: Calendar, now: datetime) -> bool:
    """Whether it is the morning of one of their working days: from the set time to the end of their work. Pure."""
    local = now.astimezone(ZoneInfo(person.zone))
    working = str(local.weekday()) in person.weekdays and local.date() not in calendar.holidays
    return person.active and person.digest and working and calendar.digest_at <= local.time() < person.ends


def key_of(person: Staff, now: datetime) -> str:
    """One a person and local day."""
    return f"{DIGEST}:{person.id}:{now.astimezone(ZoneInfo(person.zone)).date()}"


def _due(session: Session, calendar: Calendar, now: datetime) -> list[Staff]:
    away = select(Absence.staff_id).where(Absence.starts_at <= now, Absence.ends_at > now)
    wanting = select(Staff).where(Staff.digest, Staff.active, Staff.id.not_in(away)).order_by(Staff.id)
    people = {key_of(one, now): one for one in session.execute(wanting).scalars() if is_due(one, calendar, now)}
    made = set(session.execute(select(Delivery.key).where(Delivery.key.in_(people))).scalars()) if people else set()
    return [person for key, person in people.items() if key not in made]


def _make(session: Session, people: Iterable[Staff], now: datetime) -> int:
    rows = [_row(person, _context(session, person, now), now) for person in people]
    insert_ignore(session, Delivery, sorted(rows, key=lambda row: str(row["key"])))
    return len(rows)


def _row(person: Staff, context: dict[str, Any], now: datetime) -> dict[str, Any]:
    empty = not (context["open_count"] or context["tasks"] or context["unassigned"])
    row = build_delivery_row(key_of(person, now), DIGEST, None, person.email, now) | {"context": context}
    skipped = {"state": "skipped", "reason_code": NOTHING.code, "reason": NOTHING.text, "finished_at": now}
    return row | skipped if empty else row


def _context(session: Session, person: Staff, now: datetime) -> dict[str, Any]:
    mine = Ticket.owner_id == person.id, Ticket.stage < COMPLETED
    count = session.execute(select(func.count()).select_from(Ticket).where(*mine)).scalar_one()
    waiting = _tickets(session, now, Ticket.owner_id.is_(None), Ticket.stage < COMPLETED) if person.role in MANAGERS else []
    tasks = _tasks(session, person, now)
    return {"open_tickets": _tickets(session, now, *mine), "open_count": count, "tasks": tasks, "unassigned": waiting}


def _tickets(session: Session, now: datetime, *conditions: Any) -> list[dict[str, Any]]:
    listed = select(Ticket.id, Ticket.stage, Ticket.opened_at, Company.name).outerjoin(Company, Company.id == Ticket.company_id)
    rows = session.execute(listed.where(*conditions).order_by(Ticket.stage, Ticket.id).limit(LISTED))
    return [
        {"number": number(one), "stage": STAGE_NAMES[stage], "company": company or "", "age": (now - opened) // timedelta(days=1)}
        for one, stage, opened, company in rows
    ]


def _tasks(session: Session, person: Staff, now: datetime) -> list[dict[str, Any]]:
    mine = FollowUp.assignee_id == person.id, OPEN, FollowUp.due_at < day_after(now, person.zone)
    rows = session.execute(select(FollowUp).where(*mine).order_by(FollowUp.due_at, FollowUp.id).limit(LISTED)).scalars()
    return [
        {
            "number": number(task.ticket_id),
            "title": "A task added by hand" if task.kind == BY_HAND else task.title,
            "overdue": task.due_at < now,
        }
        for task in rows
    ]
