"""All open tickets of one person given to others at once: when somebody is away, or leaves. Nobody's ticket is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from accounts.field_parsers import RefusedValueError
from accounts.models import Staff
from core.database.bulk import insert_with_ids
from core.errors import RefusedError
from core.reasons import Reason
from outbox.append import append_facts
from outbox.facts import TicketAssigned
from tickets import permissions, routing, staffing
from tickets.models import Activity, FollowUp, Ticket
from tickets.permissions import Action
from tickets.routing import Staffing
from tickets.stages import COMPLETED
from tickets.timeline import require_text


def reassign_all(
    session: Session, of: Staff, by: Staff, reason: str, now: datetime, *, to: Staff | None = None
) -> dict[str, int]:
    """Give every open ticket of ``of``, and every open task, to ``to``; returns how many went to whom, by name.

    Without ``to`` each goes to the stand-in, else to the least loaded of the default team, else it waits unassigned in the
    saved view. One's own tickets anybody may hand over, those of somebody else only managers.
    """
    permissions.require(by, Action.REASSIGN_OWN if by.id == of.id else Action.REASSIGN_ALL)
    return _hand_over_all(session, of, by, require_text(reason), now, to)


def deactivate(session: Session, who: Staff, by: Staff, reason: str, now: datetime, *, to: Staff | None = None) -> dict[str, int]:
    """``who`` leaves: no longer active, and everything open goes to others, as by :func:`hand_over_all`."""
    permissions.require(by, Action.DEACTIVATE)
    if who.id == by.id:
        raise RefusedError("own_leave", "nobody lets themselves leave", hint="another manager does it")
    given = _hand_over_all(session, who, by, require_text(reason), now, to)
    who.active = False
    return given


def require_no_open_work(session: Session, staff_id: int) -> None:
    """Raises :class:`RefusedError` for somebody with open tickets or tasks: nobody would look at those of an inactive one."""
    if count_open_work(session, staff_id):
        hint = "use `casemill staff deactivate`, which gives them to others"
        raise RefusedValueError("active", "open_tickets", "they have open tickets or tasks", hint=hint)


def count_open_work(session: Session, staff_id: int) -> int:
    """How many open tickets and tasks somebody has."""
    tickets = select(func.count()).where(Ticket.owner_id == staff_id, Ticket.stage < COMPLETED).scalar_subquery()
    tasks = select(func.count()).where(FollowUp.assignee_id == staff_id, FollowUp.done_at.is_(None)).scalar_subquery()
    return int(session.execute(select(tickets + tasks)).scalar_one())


def _hand_over_all(session: Session, of: Staff, by: Staff, reason: str, now: datetime, to: Staff | None) -> dict[str, int]:
    if to is not None and (not to.active or to.id == of.id):
        raise RefusedError("unfit_successor", f"{to.name} cannot take them", hint="name somebody else who is active")
    everybody = staffing.load(session, now)
    wanted = select(Ticket).where(Ticket.owner_id == of.id, Ticket.stage < COMPLETED).order_by(Ticket.id)
    tickets = session.execute(wanted.with_for_update(key_share=True)).scalars().all()
    chosen = [_successor(everybody, of, to, reason, now) for _ in tickets]
    _change(session, tickets, chosen, of, by, now)
    _give_tasks(session, of, everybody, to, now)
    names = [everybody.people[one].name if one else "unassigned" for one, _ in chosen]
    return {name: names.count(name) for name in sorted(set(names))}


def _successor(everybody: Staffing, of: Staff, to: Staff | None, reason: str, now: datetime) -> tuple[int | None, Reason]:
    if to is not None:
        everybody.count_assignment(to.id, now)
        return to.id, Reason("handed_over", reason)
    person, why = routing.find_successor(everybody, of.id, now)
    if person is not None:
        everybody.count_assignment(person.id, now)
    return (person.id if person else None), Reason(why.code, f"{reason}. {why.text}")


def _change(
    session: Session, tickets: Sequence[Ticket], chosen: Sequence[tuple[int | None, Reason]], of: Staff, by: Staff, now: datetime
) -> None:
    names = {row.id: row.name for row in session.execute(select(Staff.id, Staff.name))}
    rows = []
    for ticket, (owner_id, why) in zip(tickets, chosen, strict=True):
        ticket.owner_id, ticket.version, ticket.updated_at = owner_id, ticket.version + 1, now
        title = f"Assigned to {names[owner_id]}" if owner_id else "Unassigned"
        data = {"owner_id": owner_id, "before": of.id, "steps": [why.as_dict()]}
        rows.append(
            {"ticket_id": ticket.id, "at": now, "kind": "assignment", "actor": by.email, "title": title, "body": why.text,
             "data": data, "item_id": None}
        )  # fmt: skip
    session.flush()
    told = zip(tickets, chosen, insert_with_ids(session, Activity, rows), strict=True)
    assigned = [TicketAssigned(ticket.id, one, entry, why.text) for ticket, (one, why), entry in told if one]
    append_facts(session, assigned, now)
    owners = sorted({one for one, _ in chosen if one})
    session.execute(update(Staff).where(Staff.id.in_(owners)).values(last_assigned_at=now))


def _give_tasks(session: Session, of: Staff, everybody: Staffing, to: Staff | None, now: datetime) -> None:
    """Tasks go with their tickets to the new owners; those on tickets of others, or of nobody, to whoever succeeds."""
    mine = FollowUp.assignee_id == of.id, FollowUp.done_at.is_(None)
    owner = select(Ticket.owner_id).where(Ticket.id == FollowUp.ticket_id).scalar_subquery()
    theirs = select(Ticket.id).where(Ticket.owner_id.is_not(None), Ticket.owner_id != of.id)
    if to is None:
        session.execute(update(FollowUp).where(*mine, FollowUp.ticket_id.in_(theirs)).values(assignee_id=owner))
    person = to.id if to else _manager(everybody, of)
    session.execute(update(FollowUp).where(*mine).values(assignee_id=person))


def _manager(everybody: Staffing, of: Staff) -> int | None:
    team = everybody.default_team
    return team.manager_id if team is not None and team.manager_id != of.id else None
