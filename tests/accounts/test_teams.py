"""Teams follow the configuration."""

import pytest
from sqlalchemy import select

from accounts.directory import add_staff
from accounts.models import Staff, Team, TeamMember
from accounts.teams import find_default_team, sync_teams
from core.database.session import Database
from core.errors import ConfigurationError
from core.settings import sections

MARA, BEN = "mara@billing.example", "ben@billing.example"


@pytest.fixture(autouse=True)
def people(database: Database) -> None:
    for email in (MARA, BEN):
        database.transaction(lambda session, email=email: add_staff(session, email=email, name=email))


def sync(database: Database, **teams: sections.Team) -> list[str]:
    return database.transaction(lambda session: sync_teams(session, teams))


def members(database: Database) -> dict[str, list[str]]:
    query = select(Team.name, Staff.email).join(TeamMember, Team.id == TeamMember.team_id)
    query = query.join(Staff, Staff.id == TeamMember.staff_id)
    found: dict[str, list[str]] = {}
    with database.read() as session:
        for team, email in session.execute(query.order_by(Team.name, Staff.email)):
            found.setdefault(team, []).append(email)
    return found


def defaults(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Team.name).where(Team.is_default)))


def test_teams_members_and_managers_follow_the_configuration(database: Database) -> None:
    assert sync(database, support=sections.Team(title="Support", manager=MARA, members=[BEN, MARA])) == []
    assert members(database) == {"support": [BEN, MARA]}
    with database.read() as session:
        team = session.scalars(select(Team)).one()
        manager = session.get(Staff, team.manager_id)
    assert (team.title, team.is_default, manager.email) == ("Support", True, MARA)


def test_second_sync_writes_only_differences(database: Database) -> None:
    sync(database, support=sections.Team(members=[BEN, MARA], manager=MARA))
    sync(database, support=sections.Team(title="New", members=[MARA]))
    assert members(database) == {"support": [MARA]}
    with database.read() as session:
        team = session.scalars(select(Team)).one()
    assert (team.title, team.manager_id) == ("New", None)


def test_unknown_addresses_are_reported_and_the_rest_is_synced(database: Database) -> None:
    team = sections.Team(members=["gone@billing.example", BEN], manager="lost@billing.example")
    warnings = sync(database, support=team)
    assert members(database) == {"support": [BEN]}
    assert len(warnings) == 2
    assert "manager lost@billing.example" in warnings[0]
    assert "member gone@billing.example" in warnings[1]
    assert all("casemill staff add" in warning for warning in warnings)


def test_a_team_that_is_no_longer_configured_loses_its_members_and_the_default(database: Database) -> None:
    sync(database, support=sections.Team(members=[BEN]))
    sync(database, onboarding=sections.Team(members=[MARA]))
    assert members(database) == {"onboarding": [MARA]}
    assert defaults(database) == ["onboarding"]


def test_the_flagged_team_is_the_default(database: Database) -> None:
    sync(database, a=sections.Team(), b=sections.Team(default=True))
    assert defaults(database) == ["b"]
    sync(database, a=sections.Team(default=True), b=sections.Team())
    assert defaults(database) == ["a"]


def test_configuration_without_teams_is_valid(database: Database) -> None:
    assert sync(database) == []
    assert defaults(database) == []


@pytest.mark.parametrize("flags", [(False, False), (True, True)])
def test_several_teams_without_exactly_one_default_are_refused(flags: tuple[bool, bool]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_default_team({f"team{index}": sections.Team(default=flag) for index, flag in enumerate(flags)})
    assert caught.value.key == "teams"
    assert caught.value.hint
