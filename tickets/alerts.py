"""Alerts: what the system notes on a ticket of its own accord, with a task for the owner where somebody has to act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from accounts.models import Staff, Team
from core.database.bulk import insert_ignore
from core.reasons import Reason
from tickets.intake_writer import SYSTEM
from tickets.models import Activity, FollowUp, Ticket

TASK_DUE = timedelta(hours=4)


@dataclass(frozen=True, slots=True)
class Alert:
    """A note on a ticket. With a ``key`` it also raises a task, and an alert whose task was raised before is left out."""

    ticket_id: int
    title: str
    reason: Reason
    item_id: int | None = None
    key: str = ""
    kind: str = ""
    task: str = ""


def raise_alerts(session: Session, alerts: Sequence[Alert], now: datetime) -> None:
    """Note and task in the caller's transaction, in the order of tickets; the owner gets the task, else the default manager."""
    known = select(FollowUp.key).where(FollowUp.key.in_({alert.key for alert in alerts if alert.key}))
    raised = set(session.execute(known).scalars())
    fresh = {alert.key or position: alert for position, alert in enumerate(alerts) if alert.key not in raised}
    alerts = sorted(fresh.values(), key=lambda alert: (alert.ticket_id, alert.key))
    if not alerts:
        return
    tickets = sorted({alert.ticket_id for alert in alerts})
    for ticket_id in tickets:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(version=Ticket.version + 1, updated_at=now))
    session.execute(insert(Activity), [_note(alert, now) for alert in alerts])
    assignees = _assignees(session, tickets)
    tasks = [_task(alert, assignees[alert.ticket_id], now) for alert in alerts if alert.key]
    insert_ignore(session, FollowUp, sorted(tasks, key=lambda row: str(row["key"])))


def _note(alert: Alert, now: datetime) -> dict[str, Any]:
    return {
        "ticket_id": alert.ticket_id,
        "at": now,
        "kind": "note",
        "actor": SYSTEM,
        "title": alert.title,
        "body": alert.reason.text,
        "data": {"reasons": [alert.reason.as_dict()]},
        "item_id": alert.item_id,
    }


def _task(alert: Alert, assignee_id: int | None, now: datetime) -> dict[str, Any]:
    return {
        "key": alert.key,
        "ticket_id": alert.ticket_id,
        "kind": alert.kind,
        "title": alert.task,
        "reason": alert.reason.text,
        "assignee_id": assignee_id,
        "due_at": now + TASK_DUE,
        "created_at": now,
    }


def _assignees(session: Session, tickets: Sequence[int]) -> dict[int, int | None]:
    """The owner of each ticket, or the default team's manager where nobody active owns it."""
    manager = session.execute(select(Team.manager_id).where(Team.is_default)).scalars().first()
    owners = select(Ticket.id, Staff.id).outerjoin(Staff, (Staff.id == Ticket.owner_id) & Staff.active)
    return {ticket_id: owner_id or manager for ticket_id, owner_id in session.execute(owners.where(Ticket.id.in_(tickets)))}
