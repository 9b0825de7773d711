"""The verbs of follow-up tasks: added by hand, done, opened again, handed over, postponed. Each is told on the ticket."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.errors import NotFoundError, RefusedError
from tickets import permissions
from tickets.models import FollowUp, Ticket
from tickets.permissions import Action
from tickets.stages import COMPLETED
from tickets.timeline import add_entry, lock_ticket, require_text

BY_HAND = "by_hand"
#: Whose task ends with the ticket: nothing is left to remind anybody of.
RULES = ("reminder", "escalation")


def add_task(
    session: Session, ticket_id: int, title: str, due_at: datetime, by: Staff, now: datetime, *, to: Staff | None = None
) -> FollowUp:
    """A task for ``to``, or for whoever adds it, due at ``due_at`` (aware)."""
    permissions.require(by, Action.TASK)
    title = _title(title)
    assignee = to or by
    _require_active(assignee)
    ticket = lock_ticket(session, ticket_id)
    task = FollowUp(
        key=f"{BY_HAND}:{secrets.token_hex(12)}", ticket_id=ticket.id, kind=BY_HAND, title=title,
        reason=f"Added by {by.name}", assignee_id=assignee.id, due_at=due_at, created_at=now,
    )  # fmt: skip
    session.add(task)
    session.flush()
    _tell(session, ticket, task, by, now, f"Task for {assignee.name}: {title}", "", "task_added")
    return task


def finish_task(session: Session, task_id: int, by: Staff, now: datetime) -> FollowUp:
    """A task is done; again changes nothing. The mark it reminds of is not set by that."""
    ticket, task = _held(session, task_id, by)
    if task.done_at is None:
        task.done_at = now
        _tell(session, ticket, task, by, now, f"Task done: {task.title}", "", "task_done")
    return task


def reopen_task(session: Session, task_id: int, by: Staff, reason: str, now: datetime) -> FollowUp:
    """A task that was called done is not; one of the rules stays done when its ticket is completed."""
    why = require_text(reason)
    ticket, task = _held(session, task_id, by)
    if task.done_at is None:
        raise RefusedError("not_done", f"task {task.id} is open already")
    if task.kind in RULES and not _still_needed(ticket, task):
        raise RefusedError("not_needed", f"task {task.id} has nothing to wait for any more", hint="add a task by hand")
    task.done_at = None
    _tell(session, ticket, task, by, now, f"Task opened again: {task.title}", why, "task_reopened")
    return task


def reassign_task(session: Session, task_id: int, to: Staff, by: Staff, reason: str, now: datetime) -> FollowUp:
    """Give an open task to somebody else, or take it, also from a team."""
    ticket, task = _open(session, task_id, by)
    _require_active(to)
    if task.assignee_id == to.id:
        raise RefusedError("same_assignee", f"{to.name} has task {task.id} already")
    before, task.assignee_id, task.team_id = task.assignee_id, to.id, None
    why = reason.strip() or ("Taken" if to.id == by.id else f"Handed over by {by.name}")
    _tell(session, ticket, task, by, now, f"Task handed over to {to.name}: {task.title}", why, "task_handed_over", before=before)
    return task


def postpone_task(session: Session, task_id: int, due_at: datetime, by: Staff, reason: str, now: datetime) -> FollowUp:
    """Another moment (aware), later or earlier but still ahead, with a reason."""
    why = require_text(reason)
    ticket, task = _open(session, task_id, by)
    if due_at <= now:
        raise RefusedError("moment_gone", "that moment is over", hint="give one that lies ahead")
    before, task.due_at = task.due_at, due_at
    moments = {"before": before.isoformat(), "due_at": due_at.isoformat()}
    _tell(session, ticket, task, by, now, f"Task postponed: {task.title}", why, "task_postponed", **moments)
    return task


def _held(session: Session, task_id: int, by: Staff) -> tuple[Ticket, FollowUp]:
    """The ticket first, as everywhere: two verbs that lock in different orders would wait for each other."""
    permissions.require(by, Action.TASK)
    ticket_id = session.execute(select(FollowUp.ticket_id).where(FollowUp.id == task_id)).scalar_one_or_none()
    if ticket_id is None:
        raise NotFoundError(f"there is no task {task_id}", hint="`casemill tasks` lists them")
    ticket = lock_ticket(session, ticket_id)
    return ticket, session.execute(select(FollowUp).where(FollowUp.id == task_id).with_for_update()).scalar_one()


def _open(session: Session, task_id: int, by: Staff) -> tuple[Ticket, FollowUp]:
    ticket, task = _held(session, task_id, by)
    if task.done_at is not None:
        raise RefusedError("done", f"task {task.id} is done", hint="open it again first, with a reason")
    return ticket, task


def _still_needed(ticket: Ticket, task: FollowUp) -> bool:
    mark = ticket.follow_up_sent_at if task.kind == "reminder" else ticket.resolution_at
    return mark is None and ticket.stage != COMPLETED and task.key.endswith(f":{ticket.opening}")


def _title(text: str) -> str:
    title = " ".join(require_text(text, "a task needs a text").split())
    if len(title) > 200:
        raise RefusedError("long_value", "longer than 200 characters", hint="shorten it; a note holds more")
    return title


def _require_active(person: Staff) -> None:
    if not person.active:
        raise RefusedError("not_active", f"{person.name} is no longer active")


def _tell(
    session: Session, ticket: Ticket, task: FollowUp, by: Staff, now: datetime, title: str, body: str, code: str, **more: Any
) -> None:
    add_entry(session, ticket, now, by.email, "task", title, body, {"task_id": task.id, "code": code, **more})
