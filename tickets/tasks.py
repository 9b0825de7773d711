"""Read follow-up tasks for lists of people and programs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, or_, select, text
from sqlalchemy.orm import Session

from accounts.models import Staff, Team, TeamMember
from tickets.models import FollowUp
from tickets.numbers import format_number

#: Spelled as in the indexes: SQLite uses a partial index only where the query has the same condition.
OPEN, DONE = text("follow_up.done_at IS NULL"), text("follow_up.done_at IS NOT NULL")


def list_tasks(
    session: Session,
    now: datetime,
    *,
    assignee: str | None = None,
    done: bool = False,
    until: datetime | None = None,
    after: int | None = None,
    limit: int = 1000,
) -> list[dict[str, Any]]:
    """List open tasks, the most overdue first; with ``done`` those that are done, the latest first.

    ``assignee`` (an email address) selects the tasks of that person and of their teams, ``until`` those due before then.
    ``after`` is the id of the last task of the page before.
    """
    statement = _select_tasks()
    if assignee is not None:
        person = select(Staff.id).where(Staff.email == assignee)
        teams = select(TeamMember.team_id).where(TeamMember.staff_id.in_(person))
        statement = statement.where(or_(FollowUp.assignee_id.in_(person), FollowUp.team_id.in_(teams)))
    if until is not None:
        statement = statement.where(FollowUp.due_at < until)
    if done:
        statement = statement.where(DONE).order_by(FollowUp.done_at.desc(), FollowUp.id)
    else:
        statement = statement.where(OPEN).order_by(FollowUp.due_at, FollowUp.id)
    if after is not None:
        column = FollowUp.done_at if done else FollowUp.due_at
        moment = select(column).where(FollowUp.id == after).scalar_subquery()
        later = column < moment if done else column > moment
        statement = statement.where(or_(later, and_(column == moment, FollowUp.id > after)))
    return [_row(task, person, team, now) for task, person, team in session.execute(statement.limit(limit))]


def show_task(session: Session, task_id: int, now: datetime) -> dict[str, Any] | None:
    """Return one task as :func:`list_tasks` shows it, or None."""
    found = session.execute(_select_tasks().where(FollowUp.id == task_id)).first()
    return _row(found[0], found[1], found[2], now) if found else None


def _select_tasks() -> Select[*tuple[Any, ...]]:
    return (
        select(FollowUp, Staff.name, Team.title)
        .outerjoin(Staff, Staff.id == FollowUp.assignee_id)
        .outerjoin(Team, Team.id == FollowUp.team_id)
    )


def _row(task: FollowUp, person: str | None, team: str | None, now: datetime) -> dict[str, Any]:
    return {
        "id": task.id,
        "ticket": format_number(task.ticket_id),
        "kind": task.kind,
        "title": task.title,
        "reason": task.reason,
        "assignee": person or team,
        "due_at": task.due_at.isoformat(timespec="seconds"),
        "done_at": task.done_at.isoformat(timespec="seconds") if task.done_at else None,
        "overdue": task.done_at is None and task.due_at < now,
    }
