"""The sample world is complete and can be loaded twice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from accounts.directory import fold_name
from accounts.listings import list_companies, list_contacts, list_staff
from core.database.session import Database
from core.settings import load as load_settings
from demo import render_settings, world
from demo.configuration import TEAMS

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


def test_sample_world_has_staff_companies_contacts_and_teams(database: Database) -> None:
    assert world.load_sample_world(database, NOW) == world.SampleWorldCounts(staff=11, companies=6, contacts=15, teams=2)
    with database.read() as session:
        people, companies, contacts = list_staff(session, NOW), list_companies(session), list_contacts(session)
    roles = [person.role for person in people]
    assert (roles.count("manager"), roles.count("representative")) == (3, 8)
    assert all(person.stand_in and person.capacity for person in people)
    assert [company.active for company in companies].count(False) == 1
    assert [company.telemedicine for company in companies].count(True) == 1
    assert all(company.manager and company.domains for company in companies)
    assert all(contact.company for contact in contacts)


def test_dana_ortiz_is_on_record_at_riverside(database: Database) -> None:
    world.load_sample_world(database, NOW)
    with database.read() as session:
        (dana,) = list_contacts(session, find="dana.ortiz@riverside.example")
    assert (dana.name, dana.company) == ("Dana Ortiz", "Riverside Family Clinic")


def test_one_person_is_away_and_their_stand_in_is_not(database: Database) -> None:
    world.load_sample_world(database, NOW)
    with database.read() as session:
        people = {person.email: person for person in list_staff(session, NOW)}
    (away,) = [person for person in people.values() if any(span.starts <= NOW < span.ends for span in person.away)]
    assert away.stand_in is not None
    assert not people[away.stand_in].away


def test_second_load_moves_the_absence_and_adds_nothing(database: Database) -> None:
    world.load_sample_world(database, NOW)
    world.load_sample_world(database, NOW + timedelta(days=2))
    with database.read() as session:
        people = list_staff(session, NOW)
        assert (len(people), len(list_companies(session)), len(list_contacts(session))) == (11, 6, 15)
    (span,) = [span for person in people for span in person.away]
    assert span.starts == datetime(2026, 11, 21, tzinfo=UTC)


def test_all_domains_of_the_sample_world_are_reserved() -> None:
    domains = [email.rpartition("@")[2] for email, *_ in world.CONTACTS]
    domains += [domain for _, listed, *_ in world.COMPANIES for domain in listed.split(", ")]
    assert all(domain.endswith(".example") for domain in domains)


def test_every_contact_belongs_to_a_company_of_the_world() -> None:
    known = {fold_name(company[0]) for company in world.COMPANIES}
    assert {fold_name(contact[3]) for contact in world.CONTACTS} <= known


@pytest.mark.parametrize("folder", ["var", 'odd "name" \\ with ünïcode 🙂'])
def test_sample_configuration_is_valid_and_names_people_of_the_sample_world(tmp_path: Path, folder: str) -> None:
    path = tmp_path / "casemill.toml"
    path.write_text(render_settings(tmp_path / folder), encoding="utf-8")
    settings = load_settings(path, environ={})
    assert settings.data_dir == tmp_path / folder
    assert settings.folders["secure_messages"].path == tmp_path / folder / "drop"
    assert settings.teams == TEAMS
    staff = {f"{local}@casemill.example" for local, *_ in world.STAFF}
    named = {email for team in settings.teams.values() for email in (*team.members, team.manager)}
    named |= {rule.person for rule in settings.routing.rules if rule.person} | {settings.routing.telemedicine.person}
    assert named <= staff
    assert {rule.team for rule in settings.routing.rules if rule.team} <= set(settings.teams)


def test_form_is_read_with_every_kind_of_key_the_webhook_sends(tmp_path: Path) -> None:
    path = tmp_path / "casemill.toml"
    path.write_text(render_settings(tmp_path), encoding="utf-8")
    labels = load_settings(path, environ={}).forms["5512345"].labels
    for keys in ("practice_name/contact/email", "172000001/172000002/172000003", "Practice Name/Contact/Email"):
        assert [labels[key] for key in keys.split("/")] == ["company", "requester_name", "requester_email"]
