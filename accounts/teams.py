"""Write the configured teams to the database, at every start."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from accounts.models import Staff, Team, TeamMember
from core.database.bulk import insert_ignore
from core.errors import ConfigurationError
from core.settings import sections


def sync_teams(session: Session, teams: Mapping[str, sections.Team]) -> list[str]:
    """Update teams, members and managers to the configuration; return a sentence for each address that is not on the staff.

    Teams that are no longer configured stay as rows, because tasks refer to them, without members. Only differences are written,
    so several processes may do this at every start. Raises :class:`ConfigurationError` unless exactly one team is the default.
    """
    default = find_default_team(teams)
    staff = _load_staff(session, teams)
    insert_ignore(session, Team, [{"name": name, "title": _title(name, teams), "is_default": False} for name in sorted(teams)])
    records = {team.name: team for team in session.scalars(select(Team).order_by(Team.id))}
    for name, record in records.items():
        _sync_team(record, name == default, name, teams, staff)
    session.flush()
    wanted = {
        (records[name].id, staff[email]) for name, team in teams.items() for email in team.members if email in staff
    }  # fmt: skip
    _sync_members(session, wanted)
    return _warn(teams, staff)


def find_default_team(teams: Mapping[str, sections.Team]) -> str | None:
    """Return the default team: the one with ``default = true``, or the only one. None without any team."""
    flagged = [name for name, team in teams.items() if team.default]
    candidates = flagged or list(teams)
    if len(candidates) > 1:
        text = f"several teams are the default: {', '.join(flagged)}" if flagged else "none of several teams is the default"
        raise ConfigurationError(text, key="teams", hint="set default = true in exactly one team")
    return candidates[0] if candidates else None


def _title(name: str, teams: Mapping[str, sections.Team]) -> str:
    return teams[name].title or name.replace("-", " ").replace("_", " ").capitalize()


def _load_staff(session: Session, teams: Mapping[str, sections.Team]) -> dict[str, int]:
    emails = {email for team in teams.values() for email in (*team.members, team.manager) if email}
    found = session.execute(select(Staff.email, Staff.id).where(Staff.email.in_(sorted(emails))))
    return {email: staff_id for email, staff_id in found}  # noqa: C416 - rows are no pairs to mypy


def _sync_team(record: Team, is_default: bool, name: str, teams: Mapping[str, sections.Team], staff: Mapping[str, int]) -> None:
    record.is_default = is_default
    if name in teams:
        record.title = _title(name, teams)
        record.manager_id = staff.get(teams[name].manager or "")


def _sync_members(session: Session, wanted: set[tuple[int, int]]) -> None:
    present = {(team_id, staff_id) for team_id, staff_id in session.execute(select(TeamMember.team_id, TeamMember.staff_id))}
    for team_id, staff_id in sorted(present - wanted):
        session.execute(delete(TeamMember).where(TeamMember.team_id == team_id, TeamMember.staff_id == staff_id))
    rows = [{"team_id": team_id, "staff_id": staff_id} for team_id, staff_id in sorted(wanted - present)]
    insert_ignore(session, TeamMember, rows)


def _warn(teams: Mapping[str, sections.Team], staff: Mapping[str, int]) -> list[str]:
    named = [(name, "member", email) for name, team in teams.items() for email in team.members]
    named += [(name, "manager", team.manager) for name, team in teams.items() if team.manager]
    return [
        f"team {name}: {part} {email} is not on the staff; add them with `casemill staff add {email}`"
        for name, part, email in sorted(named)
        if email not in staff
    ]
