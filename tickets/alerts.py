"""Alerts: what casemill notes on a ticket by itself, with a task for the owner where a person has to act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.database.bulk import Row
from core.reasons import Reason
from tickets import follow_ups, timeline
from tickets.models import Ticket
from tickets.timeline import SYSTEM, entry_row


@dataclass(frozen=True, slots=True)
class Alert:
    """A note on a ticket. With a ``key`` it also raises a task, once: an alert whose key is known is left out."""

    ticket_id: int
    title: str
    reason: Reason
    item_id: int | None = None
    key: str = ""
    kind: str = ""
    task: str = ""


def raise_alerts(session: Session, alerts: Sequence[Alert], now: datetime) -> None:
    """Write notes and tasks in the caller's transaction; a task goes to the ticket's owner, else to the default manager.

    1. Leave out the alerts whose tasks were raised before.
    2. Record the notes in the order of tickets, which is the order in which other workers lock them.
    3. Insert the tasks in the order of their keys, so that two workers do not deadlock on them.
    """
    raised = follow_ups.find_raised_keys(session, {alert.key for alert in alerts if alert.key})
    fresh = {alert.key or position: alert for position, alert in enumerate(alerts) if alert.key not in raised}
    alerts = sorted(fresh.values(), key=lambda alert: (alert.ticket_id, alert.key))
    if not alerts:
        return
    timeline.record_entries(session, [_note_row(alert, now) for alert in alerts], now)
    assignees = _find_assignees(session, sorted({alert.ticket_id for alert in alerts}))
    tasks = [_task_row(alert, assignees[alert.ticket_id], now) for alert in alerts if alert.key]
    follow_ups.insert_tasks(session, sorted(tasks, key=lambda row: str(row["key"])))


def _note_row(alert: Alert, now: datetime) -> Row:
    data = {"reasons": [alert.reason.as_dict()]}
    return entry_row(alert.ticket_id, now, SYSTEM, "note", alert.title, alert.reason.text, data, alert.item_id)


def _task_row(alert: Alert, assignee_id: int | None, now: datetime) -> Row:
    due_at = now + follow_ups.PROBLEM_DUE_AFTER
    return follow_ups.task_row(
        alert.key, alert.ticket_id, alert.kind, alert.task, alert.reason.text, due_at, now, assignee_id=assignee_id
    )


def _find_assignees(session: Session, ticket_ids: Sequence[int]) -> dict[int, int | None]:
    """The active owner of each ticket, or the default team's manager."""
    manager = follow_ups.find_default_manager(session)
    owners = select(Ticket.id, Staff.id).outerjoin(Staff, (Staff.id == Ticket.owner_id) & Staff.active)
    return {ticket_id: owner_id or manager for ticket_id, owner_id in session.execute(owners.where(Ticket.id.in_(ticket_ids)))}
