"""Loads what routing looks at in a handful of queries, however many tickets there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Integer, Select, bindparam, func, select
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
    members = {member for team in staffing.teams.values() for member in team.member_ids if member in people}
    _load_all(session, [people[member] for member in sorted(members)])
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


def _load_all(session: Session, members: Sequence[Person]) -> None:
    """Open tickets of each, counted no further than their capacity: the count stays cheap with a million tickets."""
    if not members:
        return
    limits: dict[str, int] = {}
    for number, person in enumerate(members):
        limits |= {f"person{number}": person.id, f"capacity{number}": person.capacity}
    loads = session.connection().execute(_loads(len(members)), limits).one()
    for person, load in zip(members, loads, strict=True):
        person.load = load


@lru_cache(maxsize=32)
def _loads(count: int) -> Select[*tuple[int, ...]]:
    """The loads of ``count`` people as one row; for each ``person`` and ``capacity`` with their number are to be given."""
    columns = []
    for number in range(count):
        owned = select(Ticket.id).where(Ticket.owner_id == bindparam(f"person{number}"), Ticket.stage < COMPLETED)
        most = owned.limit(bindparam(f"capacity{number}", type_=Integer)).subquery()
        columns.append(select(func.count()).select_from(most).scalar_subquery().label(f"load{number}"))
    return select(*columns)
