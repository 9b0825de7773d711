"""The daily digest: one mail on each working day to staff who asked for it, in the morning of their time zone.

The key of the delivery makes it one a day. The mail holds nothing that a customer wrote: numbers, companies, stages and ages
only. Tasks that staff added by hand appear without their title, which may quote a customer.
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
from tickets.numbers import format_number
from tickets.permissions import MANAGERS
from tickets.stages import COMPLETED, STAGE_NAMES
from tickets.tasks import OPEN

#: Rows of one list in the mail; the desk shows all.
MAX_LISTED: Final = 30
NOTHING_TO_SAY: Final = Reason("nothing_to_say", "No open tickets, no tasks due and no tickets without an owner")


def sweep(database: Database, calendar: Calendar) -> int:
    """Create the deliveries of the digests that are due; returns how many, skipped ones included."""
    now = clock.now()
    with database.read() as session:
        due = _find_due(session, calendar, now)
    if not due:
        return 0
    return database.transaction(lambda session: _create(session, due, now))


def is_due(person: Staff, calendar: Calendar, now: datetime) -> bool:
    """Return whether the digest of ``person`` is due: on a working day, from ``calendar.digest_at`` to the end of work. Pure."""
    local = now.astimezone(ZoneInfo(person.zone))
    working = str(local.weekday()) in person.weekdays and local.date() not in calendar.holidays
    return person.active and person.digest and working and calendar.digest_at <= local.time() < person.ends


def digest_key(person: Staff, now: datetime) -> str:
    """Return the key of the delivery: one for each person and local day."""
    return f"{DIGEST}:{person.id}:{now.astimezone(ZoneInfo(person.zone)).date()}"


def _find_due(session: Session, calendar: Calendar, now: datetime) -> list[Staff]:
    away = select(Absence.staff_id).where(Absence.starts_at <= now, Absence.ends_at > now)
    subscribed = select(Staff).where(Staff.digest, Staff.active, Staff.id.not_in(away)).order_by(Staff.id)
    people = {digest_key(one, now): one for one in session.execute(subscribed).scalars() if is_due(one, calendar, now)}
    existing = set(session.execute(select(Delivery.key).where(Delivery.key.in_(people))).scalars()) if people else set()
    return [person for key, person in people.items() if key not in existing]


def _create(session: Session, people: Iterable[Staff], now: datetime) -> int:
    rows = [_build_row(person, _build_context(session, person, now), now) for person in people]
    insert_ignore(session, Delivery, sorted(rows, key=lambda row: str(row["key"])))
    return len(rows)


def _build_row(person: Staff, context: dict[str, Any], now: datetime) -> dict[str, Any]:
    empty = not (context["open_count"] or context["tasks"] or context["unassigned"])
    row = build_delivery_row(digest_key(person, now), DIGEST, None, person.email, now) | {"context": context}
    skipped = {"state": "skipped", "reason_code": NOTHING_TO_SAY.code, "reason": NOTHING_TO_SAY.text, "finished_at": now}
    return row | skipped if empty else row


def _build_context(session: Session, person: Staff, now: datetime) -> dict[str, Any]:
    mine = Ticket.owner_id == person.id, Ticket.stage < COMPLETED
    count = session.execute(select(func.count()).select_from(Ticket).where(*mine)).scalar_one()
    unassigned = (
        _list_tickets(session, now, Ticket.owner_id.is_(None), Ticket.stage < COMPLETED) if person.role in MANAGERS else []
    )
    tasks = _list_tasks(session, person, now)
    return {"open_tickets": _list_tickets(session, now, *mine), "open_count": count, "tasks": tasks, "unassigned": unassigned}


def _list_tickets(session: Session, now: datetime, *conditions: Any) -> list[dict[str, Any]]:
    tickets = select(Ticket.id, Ticket.stage, Ticket.opened_at, Company.name).outerjoin(Company, Company.id == Ticket.company_id)
    rows = session.execute(tickets.where(*conditions).order_by(Ticket.stage, Ticket.id).limit(MAX_LISTED))
    return [
        {
            "number": format_number(one),
            "stage": STAGE_NAMES[stage],
            "company": company or "",
            "age": (now - opened) // timedelta(days=1),
        }
        for one, stage, opened, company in rows
    ]


def _list_tasks(session: Session, person: Staff, now: datetime) -> list[dict[str, Any]]:
    mine = FollowUp.assignee_id == person.id, OPEN, FollowUp.due_at < day_after(now, person.zone)
    rows = session.execute(select(FollowUp).where(*mine).order_by(FollowUp.due_at, FollowUp.id).limit(MAX_LISTED)).scalars()
    return [
        {
            "number": format_number(task.ticket_id),
            "title": "A task added by hand" if task.kind == BY_HAND else task.title,
            "overdue": task.due_at < now,
        }
        for task in rows
    ]
