"""Follow-up tasks as people and programs read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff, Team
from tickets.models import FollowUp
from tickets.numbers import number


def list_tasks(session: Session, now: datetime, *, assignee: str | None = None, done: bool = False) -> list[dict[str, Any]]:
    """Open tasks, the most overdue first; with ``done`` those that are done, the latest first."""
    statement = (
        select(FollowUp, Staff.name, Team.title)
        .outerjoin(Staff, Staff.id == FollowUp.assignee_id)
        .outerjoin(Team, Team.id == FollowUp.team_id)
    )
    if assignee is not None:
        statement = statement.where(Staff.email == assignee)
    if done:
        statement = statement.where(FollowUp.done_at.is_not(None)).order_by(FollowUp.done_at.desc(), FollowUp.id)
    else:
        statement = statement.where(FollowUp.done_at.is_(None)).order_by(FollowUp.due_at, FollowUp.id)
    return [_row(task, person, team, now) for task, person, team in session.execute(statement)]


def _row(task: FollowUp, person: str | None, team: str | None, now: datetime) -> dict[str, Any]:
    return {
        "id": task.id,
        "ticket": number(task.ticket_id),
        "kind": task.kind,
        "title": task.title,
        "reason": task.reason,
        "assignee": person or team,
        "due_at": task.due_at.isoformat(timespec="seconds"),
        "done_at": task.done_at.isoformat(timespec="seconds") if task.done_at else None,
        "overdue": task.done_at is None and task.due_at < now,
    }
