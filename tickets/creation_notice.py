"""The verbs of a ticket: every change of a ticket goes through here, leaves an activity, and moves the stage by the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from accounts.models import Team
from core.database.bulk import insert_all, insert_ignore, update_all
from core.database.in_lists import in_list
from core.reasons import Reason
from core.settings import Settings
from outbox.append import append_facts
from outbox.facts import TicketCompleted
from tickets.follow_ups import RULES
from tickets.intake import receive
from tickets.intake_writer import SYSTEM
from tickets.models import Activity, FollowUp, Ticket
from tickets.stages import COMPLETED, STAGE_NAMES, StageState, advance
from tickets.submission import Submission

TASK_DUE = timedelta(hours=4)
NOTICE_TASK = "Tell the customer yourself: the creation notice did not get through"


@dataclass(frozen=True, slots=True)
class NoticeOutcome:
    """How a creation notice ended: ``sent``, ``skipped``, ``failed`` or ``ambiguous``, and why."""

    ticket_id: int
    outcome: str
    reason: Reason
    recipient: str


def create_by_hand(session: Session, submission: Submission, settings: Settings, now: datetime) -> int:
    """A ticket entered by staff, such as after a telephone call; returns its id."""
    return receive(session, [submission], settings, now)[0].ticket_id


def settle_creation_notices(session: Session, outcomes: Sequence[NoticeOutcome], now: datetime) -> None:
    """Record final outcomes of creation notices and move the tickets on; a notice that is settled already is left alone.

    A failed or ambiguous one also raises a follow-up task for the owner (domain.md, Tickets).
    """
    by_ticket = {outcome.ticket_id: outcome for outcome in outcomes}
    tickets = _pending(session, sorted(by_ticket))
    activities: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    done: list[TicketCompleted] = []
    manager_id = find_default_manager(session) if any(o.outcome in ("failed", "ambiguous") for o in outcomes) else None
    for ticket in tickets:
        outcome = by_ticket[ticket.id]
        activities.append(_notice_activity(outcome, now))
        stage, moves = _advance(ticket, creation_notice=outcome.outcome, now=now)
        activities += moves
        # Completed by its notice: forced back to 1, or on to 5, with the marks set that it needs.
        over = {"completed_at": now, "reminder_due_at": None, "escalation_due_at": None}
        completed = over if stage == COMPLETED != ticket.stage else {}
        if completed:
            done.append(TicketCompleted(ticket.id, ticket.opening, ticket.requester_id, ticket.company_id, ticket.owner_id))
        changes.append(_change(ticket, now, creation_notice=outcome.outcome, stage=stage, **completed))
        if outcome.outcome in ("failed", "ambiguous"):
            tasks.append(_notice_task(ticket, outcome, manager_id, now))
            activities.append(_task_activity(outcome, now))
    for names in {tuple(change) for change in changes}:
        update_all(session, Ticket, [change for change in changes if tuple(change) == names])
    insert_all(session, Activity, activities)
    insert_ignore(session, FollowUp, tasks)
    _end_rules(session, [fact.ticket_id for fact in done], now)
    append_facts(session, done, now)


def _end_rules(session: Session, completed: Sequence[int], now: datetime) -> None:
    """What the rules asked for of a ticket that is over needs nobody any more."""
    if completed:
        waiting = in_list(FollowUp.ticket_id, completed), FollowUp.kind.in_(RULES), FollowUp.done_at.is_(None)
        session.execute(update(FollowUp).where(*waiting).values(done_at=now), execution_options={"synchronize_session": False})


def record_release(session: Session, ticket_id: int, title: str, who: str, reason: str, now: datetime, *, created: bool) -> None:
    """Record that staff let a skipped notice go; with ``created`` it is the creation notice, which has no outcome again."""
    told = Reason("released", f"Let go by {who}: {reason}")
    changes: dict[Any, Any] = {"version": Ticket.version + 1, "updated_at": now}
    if created:
        changes["creation_notice"] = "pending"
    session.execute(update(Ticket).where(Ticket.id == ticket_id).values(changes))
    row = _activity(ticket_id, now, "notice", title, told.text, {"by": who, "reasons": [told.as_dict()]})
    session.execute(insert(Activity), [{**row, "actor": who}])


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    version: int
    stage: int
    owner_id: int | None
    creation_notice: str
    follow_up_sent: bool
    resolution: bool
    recap_sent: bool
    opening: int
    company_id: int | None
    requester_id: int | None


def _pending(session: Session, ticket_ids: Sequence[int]) -> list[_Row]:
    statement = select(
        Ticket.id,
        Ticket.version,
        Ticket.stage,
        Ticket.owner_id,
        Ticket.creation_notice,
        Ticket.follow_up_sent_at.is_not(None),
        Ticket.resolution_at.is_not(None),
        Ticket.recap_sent_at.is_not(None),
        Ticket.opening,
        Ticket.company_id,
        Ticket.requester_id,
    ).where(in_list(Ticket.id, ticket_ids), Ticket.creation_notice == "pending")
    return [_Row(*row) for row in session.execute(statement.order_by(Ticket.id).with_for_update(key_share=True))]


def _advance(ticket: _Row, *, creation_notice: str, now: datetime) -> tuple[int, list[dict[str, Any]]]:
    state = StageState(ticket.stage, creation_notice, ticket.follow_up_sent, ticket.resolution, ticket.recap_sent)
    stage, rows = ticket.stage, []
    for target, reason in advance(state):
        data = {"from": stage, "to": target, "reasons": [reason.as_dict()]}
        rows.append(_activity(ticket.id, now, "stage", f"Moved to {STAGE_NAMES[target]}", reason.text, data))
        stage = target
    return stage, rows


def _change(ticket: _Row, now: datetime, **values: Any) -> dict[str, Any]:
    return {"id": ticket.id, "version": ticket.version + 1, "updated_at": now, **values}


def _notice_activity(outcome: NoticeOutcome, now: datetime) -> dict[str, Any]:
    titles: Mapping[str, str] = {
        "sent": "Creation notice sent",
        "skipped": "Creation notice not sent",
        "failed": "Creation notice failed",
        "ambiguous": "Creation notice may not have arrived",
    }
    data = {"outcome": outcome.outcome, "recipient": outcome.recipient, "reasons": [outcome.reason.as_dict()]}
    return _activity(outcome.ticket_id, now, "notice", titles[outcome.outcome], outcome.reason.text, data)


def _activity(ticket_id: int, now: datetime, kind: str, title: str, body: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"ticket_id": ticket_id, "at": now, "kind": kind, "actor": SYSTEM, "title": title, "body": body, "data": data}


def _notice_task(ticket: _Row, outcome: NoticeOutcome, manager_id: int | None, now: datetime) -> dict[str, Any]:
    return {
        "key": f"creation_notice:{ticket.id}",
        "ticket_id": ticket.id,
        "kind": "notice_problem",
        "title": NOTICE_TASK,
        "reason": outcome.reason.text,
        "assignee_id": ticket.owner_id or manager_id,
        "due_at": now + TASK_DUE,
        "created_at": now,
    }


def _task_activity(outcome: NoticeOutcome, now: datetime) -> dict[str, Any]:
    data = {"code": "task_raised", "reasons": [outcome.reason.as_dict()]}
    return _activity(outcome.ticket_id, now, "task", f"Task: {NOTICE_TASK}", outcome.reason.text, data)


def find_default_manager(session: Session) -> int | None:
    """Whoever gets the tasks of nobody: the manager of the default team."""
    return session.execute(select(Team.manager_id).where(Team.is_default)).scalars().first()
