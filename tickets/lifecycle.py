"""The life of one ticket in the hands of staff: marks, resolution, reopening, notes, handing over (domain.md, Tickets).

Each verb locks the ticket, leaves an activity with who did it and why, and applies the moves of the table. Nothing else
changes a stage.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.database.in_lists import in_list
from core.errors import RefusedError
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Calendar
from outbox.append import append_facts
from outbox.facts import TicketAssigned, TicketCompleted
from tickets import permissions
from tickets.deadlines import due_after
from tickets.models import FollowUp, Ticket
from tickets.numbers import format_number
from tickets.permissions import Action
from tickets.stages import COMPLETED, IN_PROGRESS, STAGE_NAMES, StageState, advance
from tickets.timeline import add_entry as _write
from tickets.timeline import lock_ticket as _locked
from tickets.timeline import require_text as _required

#: Tasks of the rules, by kind, and the mark that makes them needless.
REMINDER, ESCALATION = "reminder", "escalation"
#: Tasks that are for whoever owns the ticket.
OWNERS_TASKS = (REMINDER, "notice_problem")


@dataclass(frozen=True, slots=True)
class Milestone:
    """One of the three marks of an opening: its columns (``…_at``, ``…_by``), and the rule whose timer and task it ends."""

    name: str
    title: str
    rule: str | None = None
    text: str = ""


FOLLOW_UP = Milestone("follow_up_sent", "4-Support Follow Up Sent", REMINDER)
RESOLUTION = Milestone("resolution", "Resolution: Yes", ESCALATION)
RECAP = Milestone("recap_sent", "5-Recap of Resolution Sent", text="Given by telephone or by other means")


def mark_follow_up_sent(session: Session, ticket_id: int, by: Staff, now: datetime) -> Ticket:
    """Check "4-Support Follow Up Sent", after an email or a call; possible from stage 1 on, again changes nothing."""
    return _mark(session, ticket_id, FOLLOW_UP, by, now)


def mark_resolved(session: Session, ticket_id: int, by: Staff, now: datetime) -> Ticket:
    """Set Resolution to Yes; it is needed for completion and ends the wait for the escalation."""
    return _mark(session, ticket_id, RESOLUTION, by, now)


def mark_recap_sent(session: Session, ticket_id: int, by: Staff, now: datetime) -> Ticket:
    """Check "5-Recap of Resolution Sent" by hand, for a recap given by telephone."""
    return _mark(session, ticket_id, RECAP, by, now)


def _mark(session: Session, ticket_id: int, mark: Milestone, by: Staff, now: datetime) -> Ticket:
    permissions.require(by, Action.MARK)
    ticket = _locked(session, ticket_id)
    _refuse_completed(ticket)
    _set(session, ticket, mark, by.email, mark.text, now)
    return ticket


def mark_recap_accepted(session: Session, ticket_id: int, opening: int, now: datetime) -> None:
    """The mail server took the recap: casemill itself checks the box, unless the ticket was completed or opened again since."""
    ticket = _locked(session, ticket_id)
    if ticket.stage != COMPLETED and ticket.opening == opening:
        _set(session, ticket, RECAP, "casemill", "The mail server accepted the recap", now)


def _set(session: Session, ticket: Ticket, mark: Milestone, who: str, text: str, now: datetime) -> None:
    """Set a mark that is not set, end what waits for it, and move on."""
    if getattr(ticket, f"{mark.name}_at") is None:
        setattr(ticket, f"{mark.name}_at", now)
        setattr(ticket, f"{mark.name}_by", who)
        if mark.rule is not None:
            setattr(ticket, f"{mark.rule}_due_at", None)
            _settle_tasks(session, ticket, mark.rule, now)
        _write(session, ticket, now, who, "mark", mark.title, text, {"by": who})
    _advance(session, ticket, now)


def reopen(session: Session, ticket_id: int, by: Staff, reason: str, settings: Settings, now: datetime) -> Ticket:
    """6-Completed back to 4-In Progress: the marks are cleared, the timers run again, the history stays."""
    permissions.require(by, Action.REOPEN)
    why = Reason("reopened", _required(reason))
    ticket = _locked(session, ticket_id)
    if ticket.merged_into is not None:
        text = f"{format_number(ticket.id)} was merged into {format_number(ticket.merged_into)}"
        raise RefusedError("merged", text, hint="reopen that one")
    if ticket.stage != COMPLETED:
        raise RefusedError("not_completed", f"{format_number(ticket.id)} is not completed, so it cannot be reopened")
    _open_again(session, ticket, why, settings, now, by.email)
    return ticket


def reopen_by_reply(session: Session, ticket_ids: Collection[int], settings: Settings, now: datetime) -> None:
    """Open those of the tickets that are completed again, because the customer wrote; in the order of their numbers."""
    if not ticket_ids:
        return
    statement = select(Ticket).where(in_list(Ticket.id, ticket_ids), Ticket.stage == COMPLETED).order_by(Ticket.id)
    why = Reason("reopened_by_reply", "The customer wrote again")
    for ticket in session.execute(statement.with_for_update(key_share=True)).scalars().all():
        _open_again(session, ticket, why, settings, now, "casemill")


def _open_again(session: Session, ticket: Ticket, why: Reason, settings: Settings, now: datetime, actor: str) -> None:
    ticket.follow_up_sent_at = ticket.resolution_at = ticket.recap_sent_at = ticket.completed_at = None
    ticket.follow_up_sent_by = ticket.resolution_by = ticket.recap_sent_by = None
    ticket.opening += 1
    ticket.opened_at = now
    _wind_up(ticket, settings.calendar)
    _move(session, ticket, IN_PROGRESS, why, now, actor)
    session.flush()


def close_as_merged(session: Session, ticket: Ticket, target_id: int, by: Staff, reason: str, now: datetime) -> None:
    """A ticket whose place another takes is over: no recap, no survey, no timers."""
    before, ticket.stage = ticket.stage, COMPLETED
    ticket.merged_into, ticket.completed_at = target_id, ticket.completed_at or now
    ticket.reminder_due_at = ticket.escalation_due_at = None
    why = Reason("merged", f"Merged into {format_number(target_id)}: {reason}")
    data = {"from": before, "to": COMPLETED, "reasons": [why.as_dict()]}
    _record(session, ticket, now, by, "stage", f"Merged into {format_number(target_id)}", why.text, data)


def force_stage(
    session: Session, ticket_id: int, stage: int, by: Staff, reason: str, settings: Settings, now: datetime
) -> Ticket:
    """A move that the table does not allow, by a manager with a reason; from the next mark on the table holds again.

    It is no new opening: out of 6-Completed the marks stay, and the timers run on from when the ticket was opened.
    """
    permissions.require(by, Action.FORCE)
    if stage not in STAGE_NAMES:
        raise RefusedError("unknown_stage", f"there is no stage {stage}", hint=f"choose one of {', '.join(STAGE_NAMES.values())}")
    ticket = _locked(session, ticket_id)
    if ticket.stage == stage:
        raise RefusedError("same_stage", f"{format_number(ticket.id)} is in {STAGE_NAMES[stage]} already")
    if ticket.stage == COMPLETED:
        _wind_up(ticket, settings.calendar)
    _move(session, ticket, stage, Reason("forced", _required(reason)), now, by.email)
    return ticket


def assign(session: Session, ticket_id: int, to: Staff, by: Staff, reason: str, now: datetime) -> Ticket:
    """Hand a ticket over, or take it; the new owner is told, and open tasks of the rules go along."""
    permissions.require(by, Action.ASSIGN)
    ticket = _locked(session, ticket_id)
    if not to.active:
        raise RefusedError("not_active", f"{to.name} is no longer active")
    if ticket.owner_id == to.id:
        raise RefusedError("same_owner", f"{to.name} owns {format_number(ticket.id)} already")
    before, ticket.owner_id = ticket.owner_id, to.id
    to.last_assigned_at = now
    why = reason.strip() or ("Taken" if to.id == by.id else f"Handed over by {by.name}")
    data = {"owner_id": to.id, "before": before, "steps": [Reason("handed_over", why).as_dict()]}
    activity_id = _record(session, ticket, now, by, "assignment", f"Assigned to {to.name}", why, data)
    mine = FollowUp.ticket_id == ticket.id, FollowUp.done_at.is_(None), FollowUp.kind.in_(OWNERS_TASKS)
    session.execute(update(FollowUp).where(*mine).values(assignee_id=to.id))
    append_facts(session, [TicketAssigned(ticket.id, to.id, activity_id, why)], now)
    return ticket


def add_note(session: Session, ticket_id: int, by: Staff, text: str, now: datetime) -> Ticket:
    """A note on the timeline, for staff only."""
    permissions.require(by, Action.NOTE)
    ticket = _locked(session, ticket_id)
    _record(session, ticket, now, by, "note", "Note", _required(text, "a note needs a text"))
    return ticket


def _refuse_completed(ticket: Ticket) -> None:
    if ticket.stage == COMPLETED:
        raise RefusedError("completed", f"{format_number(ticket.id)} is completed", hint="reopen it first, with a reason")


def _advance(session: Session, ticket: Ticket, now: datetime) -> None:
    state = StageState(
        ticket.stage,
        ticket.creation_notice,
        ticket.follow_up_sent_at is not None,
        ticket.resolution_at is not None,
        ticket.recap_sent_at is not None,
    )
    for stage, reason in advance(state):
        _move(session, ticket, stage, reason, now, "casemill")


def _move(session: Session, ticket: Ticket, stage: int, reason: Reason, now: datetime, actor: str) -> None:
    before, ticket.stage = ticket.stage, stage
    if before == COMPLETED:
        ticket.completed_at = None
    if stage == COMPLETED:
        ticket.completed_at, ticket.reminder_due_at, ticket.escalation_due_at = now, None, None
        for kind in (REMINDER, ESCALATION):
            _settle_tasks(session, ticket, kind, now)
    data = {"from": before, "to": stage, "reasons": [reason.as_dict()]}
    _write(session, ticket, now, actor, "stage", f"Moved to {STAGE_NAMES[stage]}", reason.text, data)
    if stage == COMPLETED:
        completed = TicketCompleted(ticket.id, ticket.opening, ticket.requester_id, ticket.company_id, ticket.owner_id)
        append_facts(session, [completed], now)


def _wind_up(ticket: Ticket, calendar: Calendar) -> None:
    """Start the timers from the opening, for what has not happened yet. A rule that has fired does not fire again."""
    if ticket.follow_up_sent_at is None:
        ticket.reminder_due_at = due_after(ticket.opened_at, calendar.reminder_days, calendar)
    if ticket.resolution_at is None:
        ticket.escalation_due_at = due_after(ticket.opened_at, calendar.escalation_days, calendar)


def _settle_tasks(session: Session, ticket: Ticket, kind: str, now: datetime) -> None:
    """The act a task waits for has happened, so the task is done."""
    waiting = FollowUp.ticket_id == ticket.id, FollowUp.kind == kind, FollowUp.done_at.is_(None)
    session.execute(update(FollowUp).where(*waiting).values(done_at=now))


def _record(
    session: Session,
    ticket: Ticket,
    now: datetime,
    by: Staff,
    kind: str,
    title: str,
    body: str = "",
    data: dict[str, Any] | None = None,
) -> int:
    return _write(session, ticket, now, by.email, kind, title, body, data or {"by": by.email})
