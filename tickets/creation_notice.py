"""What the outcome of a creation notice changes on its ticket: an entry, the stage, and a task when it did not arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.database.bulk import Row
from core.reasons import Reason
from outbox.append import append_facts
from tickets import follow_ups, lifecycle, timeline
from tickets.lifecycle import AwaitingNotice
from tickets.models import Ticket
from tickets.timeline import SYSTEM, entry_row

TASK_TITLE: Final = "Contact the customer yourself: the creation notice did not arrive"
#: Outcomes after which the customer may know nothing of the ticket.
PROBLEMS: Final = ("failed", "ambiguous")
_TITLES: Final[Mapping[str, str]] = {
    "sent": "Creation notice sent",
    "skipped": "Creation notice not sent",
    "failed": "Creation notice failed",
    "ambiguous": "Creation notice may not have arrived",
}


@dataclass(frozen=True, slots=True)
class NoticeOutcome:
    """How a creation notice ended: ``sent``, ``skipped``, ``failed`` or ``ambiguous``, and why."""

    ticket_id: int
    outcome: str
    reason: Reason
    recipient: str


def settle_creation_notices(session: Session, outcomes: Sequence[NoticeOutcome], now: datetime) -> None:
    """Record final outcomes of creation notices and move their tickets on; a notice that is settled already stays so.

    A failed or ambiguous one also raises a follow-up task for the owner (domain.md, Tickets).

    1. Lock the tickets in the order of their ids, as every worker does.
    2. Update them, in bulk.
    3. Insert the entries, then the tasks.
    4. Finish the reminders and escalations of tickets that are completed now, and append that fact.
    """
    by_ticket = {outcome.ticket_id: outcome for outcome in outcomes}
    tickets = lifecycle.lock_awaiting_notice(session, sorted(by_ticket))
    manager_id = follow_ups.find_default_manager(session) if any(one.outcome in PROBLEMS for one in outcomes) else None
    moves = [lifecycle.advance_by_notice(ticket, by_ticket[ticket.id].outcome, now) for ticket in tickets]
    entries: list[Row] = []
    tasks: list[Row] = []
    for ticket, moved in zip(tickets, moves, strict=True):
        outcome = by_ticket[ticket.id]
        entries += [_notice_entry(outcome, now), *moved.entries]
        if outcome.outcome in PROBLEMS:
            tasks.append(_task_row(ticket, outcome, manager_id, now))
            entries.append(_task_entry(outcome, now))
    lifecycle.write_notice_moves(session, moves)
    timeline.insert_entries(session, entries)
    follow_ups.insert_tasks(session, tasks)
    completed = [moved.completed for moved in moves if moved.completed is not None]
    follow_ups.finish_rule_tasks(session, [fact.ticket_id for fact in completed], now)
    append_facts(session, completed, now)


def record_release(session: Session, ticket_id: int, title: str, who: str, reason: str, now: datetime, *, created: bool) -> None:
    """Record that staff released a skipped notice; with ``created`` it is the creation notice, whose outcome is pending again."""
    if created:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(creation_notice="pending"))
    released = Reason("released", f"Released by {who}: {reason}")
    timeline.record_entry(
        session, ticket_id, "notice", title, now, actor=who, body=released.text, reason=released, data={"by": who}
    )


def _notice_entry(outcome: NoticeOutcome, now: datetime) -> Row:
    data = {"outcome": outcome.outcome, "recipient": outcome.recipient, "reasons": [outcome.reason.as_dict()]}
    return entry_row(outcome.ticket_id, now, SYSTEM, "notice", _TITLES[outcome.outcome], outcome.reason.text, data)


def _task_row(ticket: AwaitingNotice, outcome: NoticeOutcome, manager_id: int | None, now: datetime) -> Row:
    key, due_at = f"creation_notice:{ticket.id}", now + follow_ups.PROBLEM_DUE_AFTER
    return follow_ups.task_row(
        key, ticket.id, follow_ups.NOTICE_PROBLEM, TASK_TITLE, outcome.reason.text, due_at, now,
        assignee_id=ticket.owner_id or manager_id,
    )  # fmt: skip


def _task_entry(outcome: NoticeOutcome, now: datetime) -> Row:
    data = {"code": "task_raised", "reasons": [outcome.reason.as_dict()]}
    return entry_row(outcome.ticket_id, now, SYSTEM, "task", f"Task: {TASK_TITLE}", outcome.reason.text, data)
