"""The lifecycle of a ticket: the only module that writes a ticket's stage (domain.md, Tickets).

Each act of staff locks the ticket, leaves an activity with who did it and why, and then applies the moves of
:mod:`tickets.stages` until none applies.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.database.bulk import Row, update_all
from core.database.in_lists import in_list
from core.errors import RefusedError
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Calendar
from outbox.append import append_facts
from outbox.facts import TicketAssigned, TicketCompleted
from tickets import follow_ups, permissions, timeline
from tickets.deadlines import due_after
from tickets.follow_ups import ESCALATION, REMINDER, RULES
from tickets.models import Ticket
from tickets.numbers import format_number
from tickets.permissions import Action
from tickets.stages import COMPLETED, IN_PROGRESS, STAGE_NAMES, StageState, advance
from tickets.timeline import SYSTEM, add_entry, entry_row, lock_ticket, require_text


@dataclass(frozen=True, slots=True)
class Milestone:
    """One of the three checkboxes of an opening: its columns (``…_at``, ``…_by``), and the rule whose timer and task it ends."""

    name: str
    title: str
    rule: str | None = None
    text: str = ""


FOLLOW_UP = Milestone("follow_up_sent", "4-Support Follow Up Sent", REMINDER)
RESOLUTION = Milestone("resolution", "Resolution: Yes", ESCALATION)
RECAP = Milestone("recap_sent", "5-Recap of Resolution Sent", text="Given by telephone or by other means")


def mark_follow_up_sent(session: Session, ticket_id: int, by: Staff, now: datetime) -> Ticket:
    """Check "4-Support Follow Up Sent" after an email or a call; possible from stage 1 on. Checking it again changes nothing."""
    return _mark(session, ticket_id, FOLLOW_UP, by, now)


def mark_resolved(session: Session, ticket_id: int, by: Staff, now: datetime) -> Ticket:
    """Set Resolution to Yes, which completion needs and which stops the escalation timer."""
    return _mark(session, ticket_id, RESOLUTION, by, now)


def mark_recap_sent(session: Session, ticket_id: int, by: Staff, now: datetime) -> Ticket:
    """Check "5-Recap of Resolution Sent" by hand, for a recap given by telephone."""
    return _mark(session, ticket_id, RECAP, by, now)


def _mark(session: Session, ticket_id: int, milestone: Milestone, by: Staff, now: datetime) -> Ticket:
    permissions.require(by, Action.MARK)
    ticket = lock_ticket(session, ticket_id)
    _refuse_completed(ticket)
    _set_milestone(session, ticket, milestone, by.email, milestone.text, now)
    return ticket


def mark_recap_accepted(session: Session, ticket_id: int, opening: int, now: datetime) -> None:
    """Check "5-Recap of Resolution Sent" because the mail server accepted the recap.

    A ticket that was completed, or reopened after ``opening``, stays as it is.
    """
    ticket = lock_ticket(session, ticket_id)
    if ticket.stage != COMPLETED and ticket.opening == opening:
        _set_milestone(session, ticket, RECAP, SYSTEM, "The mail server accepted the recap", now)


def _set_milestone(session: Session, ticket: Ticket, milestone: Milestone, actor: str, text: str, now: datetime) -> None:
    """Set a milestone that is not set yet, end the timer and the tasks that wait for it, and apply the moves."""
    if getattr(ticket, f"{milestone.name}_at") is None:
        setattr(ticket, f"{milestone.name}_at", now)
        setattr(ticket, f"{milestone.name}_by", actor)
        if milestone.rule is not None:
            setattr(ticket, f"{milestone.rule}_due_at", None)
            follow_ups.finish_tasks_of_kind(session, ticket.id, milestone.rule, now)
        add_entry(session, ticket, now, actor, "mark", milestone.title, text, {"by": actor})
    _advance(session, ticket, now)


def reopen(session: Session, ticket_id: int, by: Staff, reason: str, settings: Settings, now: datetime) -> Ticket:
    """Move a completed ticket back to 4-In Progress: milestones are cleared, timers start again, the history stays."""
    permissions.require(by, Action.REOPEN)
    why = Reason("reopened", require_text(reason))
    ticket = lock_ticket(session, ticket_id)
    if ticket.merged_into is not None:
        text = f"{format_number(ticket.id)} was merged into {format_number(ticket.merged_into)}"
        raise RefusedError("merged", text, hint="reopen that one")
    if ticket.stage != COMPLETED:
        raise RefusedError("not_completed", f"{format_number(ticket.id)} is not completed, so it cannot be reopened")
    _reopen(session, ticket, why, settings, now, by.email)
    return ticket


def reopen_by_reply(session: Session, ticket_ids: Collection[int], settings: Settings, now: datetime) -> None:
    """Reopen those of the tickets that are completed, because the customer wrote; in the order of their ids."""
    if not ticket_ids:
        return
    statement = select(Ticket).where(in_list(Ticket.id, ticket_ids), Ticket.stage == COMPLETED).order_by(Ticket.id)
    why = Reason("reopened_by_reply", "The customer wrote again")
    for ticket in session.execute(statement.with_for_update(key_share=True)).scalars().all():
        _reopen(session, ticket, why, settings, now, SYSTEM)


def _reopen(session: Session, ticket: Ticket, why: Reason, settings: Settings, now: datetime, actor: str) -> None:
    ticket.follow_up_sent_at = ticket.resolution_at = ticket.recap_sent_at = ticket.completed_at = None
    ticket.follow_up_sent_by = ticket.resolution_by = ticket.recap_sent_by = None
    ticket.opening += 1
    ticket.opened_at = now
    _start_timers(ticket, settings.calendar)
    _move(session, ticket, IN_PROGRESS, why, now, actor)
    session.flush()


def close_as_merged(session: Session, ticket: Ticket, target_id: int, by: Staff, reason: str, now: datetime) -> None:
    """Complete a ticket that was merged into another: no recap, no survey, no timers."""
    before, ticket.stage = ticket.stage, COMPLETED
    ticket.merged_into, ticket.completed_at = target_id, ticket.completed_at or now
    ticket.reminder_due_at = ticket.escalation_due_at = None
    why = Reason("merged", f"Merged into {format_number(target_id)}: {reason}")
    data = {"from": before, "to": COMPLETED, "reasons": [why.as_dict()]}
    add_entry(session, ticket, now, by.email, "stage", f"Merged into {format_number(target_id)}", why.text, data)


def force_stage(
    session: Session, ticket_id: int, stage: int, by: Staff, reason: str, settings: Settings, now: datetime
) -> Ticket:
    """Move a ticket to any stage, overriding the table of moves. Managers only; a reason is required.

    This does not count as a reopening: out of 6-Completed the milestones stay, and the timers run from the last opening.
    """
    permissions.require(by, Action.FORCE)
    if stage not in STAGE_NAMES:
        raise RefusedError("unknown_stage", f"there is no stage {stage}", hint=f"choose one of {', '.join(STAGE_NAMES.values())}")
    ticket = lock_ticket(session, ticket_id)
    if ticket.stage == stage:
        raise RefusedError("same_stage", f"{format_number(ticket.id)} is in {STAGE_NAMES[stage]} already")
    if ticket.stage == COMPLETED:
        _start_timers(ticket, settings.calendar)
    _move(session, ticket, stage, Reason("forced", require_text(reason)), now, by.email)
    return ticket


def assign(session: Session, ticket_id: int, to: Staff, by: Staff, reason: str, now: datetime) -> Ticket:
    """Assign a ticket to ``to``, who may be ``by``. The new owner gets a notice and the open tasks of the owner."""
    permissions.require(by, Action.ASSIGN)
    ticket = lock_ticket(session, ticket_id)
    if not to.active:
        raise RefusedError("not_active", f"{to.name} is no longer active", hint="choose a member of staff who is")
    if ticket.owner_id == to.id:
        raise RefusedError("same_owner", f"{to.name} owns {format_number(ticket.id)} already")
    before, ticket.owner_id = ticket.owner_id, to.id
    to.last_assigned_at = now
    why = reason.strip() or ("Taken" if to.id == by.id else f"Reassigned by {by.name}")
    data = {"owner_id": to.id, "before": before, "steps": [Reason("handed_over", why).as_dict()]}
    activity_id = add_entry(session, ticket, now, by.email, "assignment", f"Assigned to {to.name}", why, data)
    follow_ups.reassign_owner_tasks(session, ticket.id, to.id)
    append_facts(session, [TicketAssigned(ticket.id, to.id, activity_id, why)], now)
    return ticket


def add_note(session: Session, ticket_id: int, by: Staff, text: str, now: datetime) -> Ticket:
    """Add a note to the timeline, which only staff see."""
    permissions.require(by, Action.NOTE)
    ticket = lock_ticket(session, ticket_id)
    add_entry(session, ticket, now, by.email, "note", "Note", require_text(text, "a note needs a text"), {"by": by.email})
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
        _move(session, ticket, stage, reason, now, SYSTEM)


def _move(session: Session, ticket: Ticket, stage: int, reason: Reason, now: datetime, actor: str) -> None:
    before, ticket.stage = ticket.stage, stage
    if before == COMPLETED:
        ticket.completed_at = None
    if stage == COMPLETED:
        ticket.completed_at, ticket.reminder_due_at, ticket.escalation_due_at = now, None, None
        for kind in RULES:
            follow_ups.finish_tasks_of_kind(session, ticket.id, kind, now)
    add_entry(session, ticket, now, actor, "stage", _move_title(stage), reason.text, _move_data(before, stage, reason))
    if stage == COMPLETED:
        completed = TicketCompleted(ticket.id, ticket.opening, ticket.requester_id, ticket.company_id, ticket.owner_id)
        append_facts(session, [completed], now)


def _move_title(stage: int) -> str:
    return f"Moved to {STAGE_NAMES[stage]}"


def _move_data(before: int, stage: int, reason: Reason) -> dict[str, Any]:
    return {"from": before, "to": stage, "reasons": [reason.as_dict()]}


def _start_timers(ticket: Ticket, calendar: Calendar) -> None:
    """Start the timers of milestones that are not reached, from the opening. A rule that fired in it does not fire again."""
    if ticket.follow_up_sent_at is None:
        ticket.reminder_due_at = due_after(ticket.opened_at, calendar.reminder_days, calendar)
    if ticket.resolution_at is None:
        ticket.escalation_due_at = due_after(ticket.opened_at, calendar.escalation_days, calendar)


@dataclass(frozen=True, slots=True)
class AwaitingNotice:
    """A locked ticket whose creation notice has no outcome yet, with the columns on which its moves depend."""

    id: int
    version: int
    stage: int
    owner_id: int | None
    follow_up_sent: bool
    resolution: bool
    recap_sent: bool
    opening: int
    company_id: int | None
    requester_id: int | None


@dataclass(frozen=True, slots=True)
class NoticeMoves:
    """What the outcome of its creation notice changes on a ticket: its columns, the entries of its moves, and its completion."""

    columns: Row
    entries: list[Row]
    completed: TicketCompleted | None


def lock_awaiting_notice(session: Session, ticket_ids: Sequence[int]) -> list[AwaitingNotice]:
    """Lock those of the tickets whose creation notice is pending, in the order of their ids."""
    statement = select(
        Ticket.id,
        Ticket.version,
        Ticket.stage,
        Ticket.owner_id,
        Ticket.follow_up_sent_at.is_not(None),
        Ticket.resolution_at.is_not(None),
        Ticket.recap_sent_at.is_not(None),
        Ticket.opening,
        Ticket.company_id,
        Ticket.requester_id,
    ).where(in_list(Ticket.id, ticket_ids), Ticket.creation_notice == "pending")
    rows: Any = session.execute(statement.order_by(Ticket.id).with_for_update(key_share=True))
    return [AwaitingNotice(*row) for row in rows]


def advance_by_notice(ticket: AwaitingNotice, outcome: str, now: datetime) -> NoticeMoves:
    """Return what the ``outcome`` of its creation notice changes on a ticket. Pure; :func:`write_notice_moves` stores it.

    A ticket may be completed by it: one that a manager forced back to 1-Submitted, with its milestones set.
    """
    stage, entries = ticket.stage, []
    state = StageState(stage, outcome, ticket.follow_up_sent, ticket.resolution, ticket.recap_sent)
    for target, reason in advance(state):
        data = _move_data(stage, target, reason)
        entries.append(entry_row(ticket.id, now, SYSTEM, "stage", _move_title(target), reason.text, data))
        stage = target
    columns = {"id": ticket.id, **timeline.next_version(ticket.version, now), "creation_notice": outcome, "stage": stage}
    if stage != COMPLETED or ticket.stage == COMPLETED:
        return NoticeMoves(columns, entries, None)
    columns |= {"completed_at": now, "reminder_due_at": None, "escalation_due_at": None}
    completed = TicketCompleted(ticket.id, ticket.opening, ticket.requester_id, ticket.company_id, ticket.owner_id)
    return NoticeMoves(columns, entries, completed)


def write_notice_moves(session: Session, moves: Sequence[NoticeMoves]) -> None:
    """Update the tickets in bulk; one statement for each set of columns."""
    changes = [one.columns for one in moves]
    for names in {tuple(change) for change in changes}:
        update_all(session, Ticket, [change for change in changes if tuple(change) == names])
