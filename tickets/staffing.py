"""Loads what routing looks at in a handful of queries, however many tickets there are."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from accounts.models import Absence, Staff, Team, TeamMember
from tickets.models import Ticket
from tickets.routing import Person, Staffing, TeamView
from tickets.stages import COMPLETED


def load(session: Session, now: datetime) -> Staffing:
    """All staff and teams, with loads. Locks the staff rows on PostgreSQL, so that two batches do not overfill anybody."""
    absences: dict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
    for row in session.execute(select(Absence).where(Absence.ends_at > now)).scalars():
        absences[row.staff_id].append((row.starts_at, row.ends_at))
    rows = session.execute(select(Staff).order_by(Staff.id).with_for_update(key_share=True)).scalars()
    people = {row.id: _person(row, tuple(absences[row.id])) for row in rows}
    staffing = Staffing(people, _teams(session))
    for person_id in {member for team in staffing.teams.values() for member in team.member_ids}:
        if person_id in people:
            people[person_id].load = _load(session, people[person_id])
    return staffing


def _person(row: Staff, absences: tuple[tuple[datetime, datetime], ...]) -> Person:
    return Person(
        id=row.id,
        email=row.email,
        name=row.name,
        active=row.active,
        capacity=row.capacity,
        zone=row.zone,
        weekdays=row.weekdays,
        starts=row.starts,
        ends=row.ends,
        stand_in_id=row.stand_in_id,
        last_assigned_at=row.last_assigned_at,
        absences=absences,
    )


def _teams(session: Session) -> dict[str, TeamView]:
    members: dict[int, list[int]] = defaultdict(list)
    for team_id, staff_id in session.execute(select(TeamMember.team_id, TeamMember.staff_id).order_by(TeamMember.staff_id)):
        members[team_id].append(staff_id)
    return {
        team.name: TeamView(team.id, team.name, team.title, tuple(members[team.id]), team.manager_id, team.is_default)
        for team in session.execute(select(Team).order_by(Team.id)).scalars()
    }


def _load(session: Session, person: Person) -> int:
    """Open tickets of a person, counted no further than their capacity: the count stays cheap with a million tickets."""
    owned = select(Ticket.id).where(Ticket.owner_id == person.id, Ticket.stage < COMPLETED).limit(person.capacity)
    return session.execute(select(func.count()).select_from(owned.subquery())).scalar_one()
