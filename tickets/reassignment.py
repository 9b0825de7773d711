"""Reassign all open tickets and tasks of one person at once, when they are away or leave."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from accounts.field_parsers import RefusedValueError
from accounts.models import Staff
from core.errors import RefusedError
from core.reasons import Reason
from outbox.append import append_facts
from outbox.facts import TicketAssigned
from tickets import follow_ups, permissions, routing, staffing, timeline
from tickets.models import FollowUp, Ticket
from tickets.permissions import Action
from tickets.routing import Staffing
from tickets.stages import COMPLETED
from tickets.timeline import entry_row, require_text


def reassign_all(
    session: Session, of: Staff, by: Staff, reason: str, now: datetime, *, to: Staff | None = None
) -> dict[str, int]:
    """Reassign every open ticket and task of ``of`` to ``to``; return how many tickets each person got, by name.

    Without ``to`` each ticket goes to the stand-in, else to the least loaded member of the default team, else it stays unassigned
    in the saved view. Staff may reassign their own tickets; only managers reassign those of others.
    """
    permissions.require(by, Action.REASSIGN_OWN if by.id == of.id else Action.REASSIGN_ALL)
    return _reassign_all(session, of, by, require_text(reason), now, to)


def deactivate(
    session: Session, person: Staff, by: Staff, reason: str, now: datetime, *, to: Staff | None = None
) -> dict[str, int]:
    """Reassign everything open of ``person``, as :func:`reassign_all` does, and make them inactive."""
    permissions.require(by, Action.DEACTIVATE)
    if person.id == by.id:
        raise RefusedError("own_leave", "you cannot deactivate yourself", hint="ask another manager to do it")
    counts = _reassign_all(session, person, by, require_text(reason), now, to)
    person.active = False
    return counts


def require_no_open_work(session: Session, staff_id: int) -> None:
    """Raise :class:`RefusedError` for a person with open tickets or tasks, which an inactive owner would leave unseen."""
    if count_open_work(session, staff_id):
        hint = "use `casemill staff deactivate`, which reassigns them"
        raise RefusedValueError("active", "open_tickets", "they have open tickets or tasks", hint=hint)


def count_open_work(session: Session, staff_id: int) -> int:
    """Count the open tickets and tasks of a person."""
    tickets = select(func.count()).where(Ticket.owner_id == staff_id, Ticket.stage < COMPLETED).scalar_subquery()
    tasks = select(func.count()).where(FollowUp.assignee_id == staff_id, FollowUp.done_at.is_(None)).scalar_subquery()
    return int(session.execute(select(tickets + tasks)).scalar_one())


def _reassign_all(session: Session, of: Staff, by: Staff, reason: str, now: datetime, to: Staff | None) -> dict[str, int]:
    if to is not None and (not to.active or to.id == of.id):
        raise RefusedError("unfit_successor", f"{to.name} cannot take them", hint="name another member of staff who is active")
    staff = staffing.load(session, now)
    wanted = select(Ticket).where(Ticket.owner_id == of.id, Ticket.stage < COMPLETED).order_by(Ticket.id)
    tickets = session.execute(wanted.with_for_update(key_share=True)).scalars().all()
    chosen = [_choose_owner(staff, of, to, reason, now) for _ in tickets]
    _change_owners(session, tickets, chosen, of, by, now)
    if to is None:
        follow_ups.reassign_tasks_to_owners(session, of.id)
    follow_ups.reassign_open_tasks(session, of.id, to.id if to else _find_manager(staff, of))
    names = [staff.people[owner_id].name if owner_id else "unassigned" for owner_id, _ in chosen]
    return {name: names.count(name) for name in sorted(set(names))}


def _choose_owner(staff: Staffing, of: Staff, to: Staff | None, reason: str, now: datetime) -> tuple[int | None, Reason]:
    if to is not None:
        staff.count_assignment(to.id, now)
        return to.id, Reason("handed_over", reason)
    person, why = routing.find_successor(staff, of.id, now)
    if person is not None:
        staff.count_assignment(person.id, now)
    return (person.id if person else None), Reason(why.code, f"{reason}. {why.text}")


def _change_owners(
    session: Session, tickets: Sequence[Ticket], chosen: Sequence[tuple[int | None, Reason]], of: Staff, by: Staff, now: datetime
) -> None:
    names = {row.id: row.name for row in session.execute(select(Staff.id, Staff.name))}
    rows = []
    for ticket, (owner_id, why) in zip(tickets, chosen, strict=True):
        ticket.owner_id = owner_id
        timeline.mark_changed(ticket, now)
        title = f"Assigned to {names[owner_id]}" if owner_id else "Unassigned"
        data = {"owner_id": owner_id, "before": of.id, "steps": [why.as_dict()]}
        rows.append(entry_row(ticket.id, now, by.email, "assignment", title, why.text, data))
    session.flush()
    entry_ids = timeline.insert_entries_with_ids(session, rows)
    assigned = [
        TicketAssigned(ticket.id, owner_id, entry_id, why.text)
        for ticket, (owner_id, why), entry_id in zip(tickets, chosen, entry_ids, strict=True)
        if owner_id
    ]
    append_facts(session, assigned, now)
    owners = sorted({owner_id for owner_id, _ in chosen if owner_id})
    session.execute(update(Staff).where(Staff.id.in_(owners)).values(last_assigned_at=now))


def _find_manager(staff: Staffing, of: Staff) -> int | None:
    team = staff.default_team
    return team.manager_id if team is not None and team.manager_id != of.id else None
