"""Follow-up tasks: the only module that writes them.

Staff add tasks by hand, finish, reopen, reassign and postpone them; each act leaves an entry on the ticket's timeline. Rules and
failures raise tasks through :func:`insert_tasks`; its callers write the entry, because theirs says more.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from accounts.models import Staff, Team
from core.database.bulk import Row, insert_ignore
from core.database.in_lists import in_list
from core.errors import NotFoundError, RefusedError
from tickets import permissions
from tickets.models import FollowUp, Ticket
from tickets.permissions import Action
from tickets.stages import COMPLETED
from tickets.timeline import add_entry, lock_ticket, require_text

BY_HAND: Final = "by_hand"
#: Kinds of tasks that a timer raises. They end when the ticket is completed.
REMINDER: Final = "reminder"
ESCALATION: Final = "escalation"
RULES: Final = (REMINDER, ESCALATION)
#: A mail did not reach the customer, so a person has to contact them.
NOTICE_PROBLEM: Final = "notice_problem"
#: Kinds of tasks that go to a ticket's owner, and along to the next one.
OWNER_TASKS: Final = (REMINDER, NOTICE_PROBLEM)
#: How long the owner has for a task that a failure raised.
PROBLEM_DUE_AFTER: Final = timedelta(hours=4)
MAX_TITLE_CHARACTERS: Final = 200


def add_task(
    session: Session, ticket_id: int, title: str, due_at: datetime, by: Staff, now: datetime, *, to: Staff | None = None
) -> FollowUp:
    """Add a task for ``to``, or for ``by`` who adds it, due at ``due_at`` (aware)."""
    permissions.require(by, Action.TASK)
    title = _read_title(title)
    assignee = to or by
    _require_active(assignee)
    ticket = lock_ticket(session, ticket_id)
    task = FollowUp(
        key=f"{BY_HAND}:{secrets.token_hex(12)}", ticket_id=ticket.id, kind=BY_HAND, title=title,
        reason=f"Added by {by.name}", assignee_id=assignee.id, due_at=due_at, created_at=now,
    )  # fmt: skip
    session.add(task)
    session.flush()
    _add_task_entry(session, ticket, task, by, now, f"Task for {assignee.name}: {title}", "", "task_added")
    return task


def finish_task(session: Session, task_id: int, by: Staff, now: datetime) -> FollowUp:
    """Mark a task as done; a task that is done stays as it is. The milestone it reminds of is not set by that."""
    ticket, task = _lock_task(session, task_id, by)
    if task.done_at is None:
        task.done_at = now
        _add_task_entry(session, ticket, task, by, now, f"Task done: {task.title}", "", "task_done")
    return task


def reopen_task(session: Session, task_id: int, by: Staff, reason: str, now: datetime) -> FollowUp:
    """Reopen a task that is done, with a reason.

    Raises :class:`RefusedError` for a task that is open, and for one of a rule that has nothing to wait for any more.
    """
    why = require_text(reason)
    ticket, task = _lock_task(session, task_id, by)
    if task.done_at is None:
        raise RefusedError("not_done", f"task {task.id} is open already")
    if task.kind in RULES and not _is_still_needed(ticket, task):
        text = f"task {task.id} is no longer needed: the ticket has moved on since"
        raise RefusedError("not_needed", text, hint="add a task by hand")
    task.done_at = None
    _add_task_entry(session, ticket, task, by, now, f"Task reopened: {task.title}", why, "task_reopened")
    return task


def reassign_task(session: Session, task_id: int, to: Staff, by: Staff, reason: str, now: datetime) -> FollowUp:
    """Reassign an open task to ``to``, who may be ``by``; a team's task becomes that person's."""
    ticket, task = _lock_open_task(session, task_id, by)
    _require_active(to)
    if task.assignee_id == to.id:
        raise RefusedError("same_assignee", f"task {task.id} is assigned to {to.name} already")
    before, task.assignee_id, task.team_id = task.assignee_id, to.id, None
    why = reason.strip() or ("Taken" if to.id == by.id else f"Reassigned by {by.name}")
    title = f"Task reassigned to {to.name}: {task.title}"
    _add_task_entry(session, ticket, task, by, now, title, why, "task_handed_over", before=before)
    return task


def postpone_task(session: Session, task_id: int, due_at: datetime, by: Staff, reason: str, now: datetime) -> FollowUp:
    """Give an open task another due time (aware), later or earlier but in the future, with a reason."""
    why = require_text(reason)
    ticket, task = _lock_open_task(session, task_id, by)
    if due_at <= now:
        raise RefusedError("moment_gone", "the new due time has passed already", hint="give a time in the future")
    before, task.due_at = task.due_at, due_at
    moments = {"before": before.isoformat(), "due_at": due_at.isoformat()}
    _add_task_entry(session, ticket, task, by, now, f"Task postponed: {task.title}", why, "task_postponed", **moments)
    return task


def task_row(
    key: str,
    ticket_id: int,
    kind: str,
    title: str,
    reason: str,
    due_at: datetime,
    now: datetime,
    *,
    assignee_id: int | None = None,
    team_id: int | None = None,
) -> Row:
    """Return a task as a row for :func:`insert_tasks`. ``key`` is unique: the same task is raised once."""
    return {
        "key": key,
        "ticket_id": ticket_id,
        "kind": kind,
        "title": title,
        "reason": reason,
        "assignee_id": assignee_id,
        "team_id": team_id,
        "due_at": due_at,
        "created_at": now,
    }


def insert_tasks(session: Session, rows: Sequence[Row]) -> None:
    """Insert tasks in bulk; one whose key exists already is left as it is. Give the rows in the order of their tickets."""
    insert_ignore(session, FollowUp, rows)


def insert_task(session: Session, row: Row) -> int:
    """Insert one task, whose key must be new, and return its id."""
    task_id: int = session.execute(insert(FollowUp).values(row).returning(FollowUp.id)).scalar_one()
    return task_id


def find_raised_keys(session: Session, keys: Collection[str]) -> set[str]:
    """Return those of ``keys`` for which a task was raised before."""
    return set(session.execute(select(FollowUp.key).where(FollowUp.key.in_(sorted(keys)))).scalars())


def find_default_manager(session: Session) -> int | None:
    """Return the manager of the default team, who gets the tasks of tickets without an owner."""
    return session.execute(select(Team.manager_id).where(Team.is_default)).scalars().first()


def finish_tasks_of_kind(session: Session, ticket_id: int, kind: str, now: datetime) -> None:
    """Mark the open tasks of one kind as done, because what they wait for has happened."""
    waiting = FollowUp.ticket_id == ticket_id, FollowUp.kind == kind, FollowUp.done_at.is_(None)
    session.execute(update(FollowUp).where(*waiting).values(done_at=now))


def finish_rule_tasks(session: Session, ticket_ids: Collection[int], now: datetime) -> None:
    """Mark the open reminders and escalations of completed tickets as done."""
    if ticket_ids:
        waiting = in_list(FollowUp.ticket_id, ticket_ids), FollowUp.kind.in_(RULES), FollowUp.done_at.is_(None)
        session.execute(update(FollowUp).where(*waiting).values(done_at=now), execution_options={"synchronize_session": False})


def reassign_owner_tasks(session: Session, ticket_id: int, owner_id: int) -> None:
    """Reassign the open tasks of a ticket's owner to its new one. Other people's tasks on it stay theirs."""
    mine = FollowUp.ticket_id == ticket_id, FollowUp.done_at.is_(None), FollowUp.kind.in_(OWNER_TASKS)
    session.execute(update(FollowUp).where(*mine).values(assignee_id=owner_id))


def reassign_tasks_to_owners(session: Session, staff_id: int) -> None:
    """Reassign the open tasks of ``staff_id`` to the owners of their tickets, where another person owns the ticket."""
    owner = select(Ticket.owner_id).where(Ticket.id == FollowUp.ticket_id).scalar_subquery()
    of_others = select(Ticket.id).where(Ticket.owner_id.is_not(None), Ticket.owner_id != staff_id)
    mine = FollowUp.assignee_id == staff_id, FollowUp.done_at.is_(None), FollowUp.ticket_id.in_(of_others)
    session.execute(update(FollowUp).where(*mine).values(assignee_id=owner))


def reassign_open_tasks(session: Session, staff_id: int, to_id: int | None) -> None:
    """Reassign all open tasks of ``staff_id`` to ``to_id``, or leave them unassigned."""
    mine = FollowUp.assignee_id == staff_id, FollowUp.done_at.is_(None)
    session.execute(update(FollowUp).where(*mine).values(assignee_id=to_id))


def move_open_tasks(session: Session, ticket_id: int, into_id: int) -> None:
    """Move the open tasks of a merged ticket to the ticket it was merged into."""
    open_tasks = FollowUp.ticket_id == ticket_id, FollowUp.done_at.is_(None)
    session.execute(update(FollowUp).where(*open_tasks).values(ticket_id=into_id))


def _lock_task(session: Session, task_id: int, by: Staff) -> tuple[Ticket, FollowUp]:
    """Lock the ticket, then its task, as everywhere: two acts that lock in different orders would wait for each other."""
    permissions.require(by, Action.TASK)
    ticket_id = session.execute(select(FollowUp.ticket_id).where(FollowUp.id == task_id)).scalar_one_or_none()
    if ticket_id is None:
        raise NotFoundError(f"there is no task {task_id}", hint="`casemill tasks` lists them")
    ticket = lock_ticket(session, ticket_id)
    return ticket, session.execute(select(FollowUp).where(FollowUp.id == task_id).with_for_update()).scalar_one()


def _lock_open_task(session: Session, task_id: int, by: Staff) -> tuple[Ticket, FollowUp]:
    ticket, task = _lock_task(session, task_id, by)
    if task.done_at is not None:
        raise RefusedError("done", f"task {task.id} is done", hint="reopen it first, with a reason")
    return ticket, task


def _is_still_needed(ticket: Ticket, task: FollowUp) -> bool:
    milestone = ticket.follow_up_sent_at if task.kind == REMINDER else ticket.resolution_at
    return milestone is None and ticket.stage != COMPLETED and task.key.endswith(f":{ticket.opening}")


def _read_title(text: str) -> str:
    title = " ".join(require_text(text, "a task needs a text").split())
    if len(title) > MAX_TITLE_CHARACTERS:
        problem = f"the task is longer than {MAX_TITLE_CHARACTERS} characters"
        raise RefusedError("long_value", problem, hint="shorten it, and write the rest in a note")
    return title


def _require_active(person: Staff) -> None:
    if not person.active:
        raise RefusedError("not_active", f"{person.name} is no longer active", hint="choose a member of staff who is")


def _add_task_entry(
    session: Session, ticket: Ticket, task: FollowUp, by: Staff, now: datetime, title: str, body: str, code: str, **more: Any
) -> None:
    add_entry(session, ticket, now, by.email, "task", title, body, {"task_id": task.id, "code": code, **more})
