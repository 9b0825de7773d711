"""Load staff, teams and their open tickets for routing, in a number of queries that does not grow with the tickets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Connection, Integer, Select, bindparam, func, select
from sqlalchemy.orm import Session

from accounts.models import Absence, Staff, Team, TeamMember
from tickets.models import Ticket
from tickets.routing import Staffing, StaffView, TeamView
from tickets.stages import COMPLETED


def load(session: Session, now: datetime) -> Staffing:
    """Load all staff and teams, with loads.

    Staff rows stay locked on PostgreSQL until the end of the transaction, so that two batches do not overload one person.
    """
    connection = session.connection()
    absences: dict[int, list[tuple[datetime, datetime]]] = defaultdict(list)
    for staff_id, starts_at, ends_at in connection.execute(_ABSENCES, {"now": now}):
        absences[staff_id].append((starts_at, ends_at))
    people = {row.id: StaffView(**row._mapping, absences=tuple(absences[row.id])) for row in connection.execute(_STAFF)}
    staffing = Staffing(people, _load_teams(connection))
    members = {member for team in staffing.teams.values() for member in team.member_ids if member in people}
    _count_loads(connection, [people[member] for member in sorted(members)])
    return staffing


_ABSENCES = select(Absence.staff_id, Absence.starts_at, Absence.ends_at).where(Absence.ends_at > bindparam("now"))
#: The columns of the same name in :class:`~tickets.routing.Person`.
_STAFF_COLUMNS = (
    "id", "email", "name", "active", "capacity", "zone", "weekdays", "starts", "ends", "stand_in_id", "last_assigned_at",
)  # fmt: skip
_STAFF = select(*(Staff.__table__.c[name] for name in _STAFF_COLUMNS)).order_by(Staff.id).with_for_update(key_share=True)
_MEMBERS = select(TeamMember.team_id, TeamMember.staff_id).order_by(TeamMember.staff_id)
_TEAMS = select(Team.id, Team.name, Team.title, Team.manager_id, Team.is_default).order_by(Team.id)


def _load_teams(connection: Connection) -> dict[str, TeamView]:
    members: dict[int, list[int]] = defaultdict(list)
    for team_id, staff_id in connection.execute(_MEMBERS):
        members[team_id].append(staff_id)
    return {
        team.name: TeamView(team.id, team.name, team.title, tuple(members[team.id]), team.manager_id, team.is_default)
        for team in connection.execute(_TEAMS)
    }


def _count_loads(connection: Connection, members: Sequence[StaffView]) -> None:
    """Count the open tickets of each, no further than their capacity: that stays cheap with a million tickets."""
    if not members:
        return
    limits: dict[str, int] = {}
    for position, person in enumerate(members):
        limits |= {f"person{position}": person.id, f"capacity{position}": person.capacity}
    loads = connection.execute(_load_query(len(members)), limits).one()
    for person, load in zip(members, loads, strict=True):
        person.load = load


@lru_cache(maxsize=32)
def _load_query(count: int) -> Select[*tuple[int, ...]]:
    """The loads of ``count`` people as one row. Parameters for each: ``person`` and ``capacity``, followed by its position."""
    columns = []
    for position in range(count):
        owned = select(Ticket.id).where(Ticket.owner_id == bindparam(f"person{position}"), Ticket.stage < COMPLETED)
        most = owned.limit(bindparam(f"capacity{position}", type_=Integer)).subquery()
        columns.append(select(func.count()).select_from(most).scalar_subquery().label(f"load{position}"))
    return select(*columns)
