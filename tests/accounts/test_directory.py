"""Adding and updating staff, companies, contacts and absences, on both databases."""

from datetime import UTC, datetime, time, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import select

from accounts.directory import (
    SaveOutcome,
    add_company,
    add_contact,
    add_staff,
    end_out_of_office,
    fold_name,
    retry_on_conflict,
    set_out_of_office,
)
from accounts.listings import list_companies, list_contacts, list_staff
from accounts.models import Absence, Company, CompanyDomain, Contact, Staff
from core.database.session import Database
from core.errors import NotFoundError, RefusedError

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def staff(database: Database, email: str, **given: Any) -> SaveOutcome:
    return database.transaction(lambda session: add_staff(session, email=email, **given).outcome)


def company(database: Database, name: str, **given: Any) -> SaveOutcome:
    return database.transaction(lambda session: add_company(session, name=name, **given).outcome)


def contact(database: Database, email: str, **given: Any) -> SaveOutcome:
    return database.transaction(lambda session: add_contact(session, email=email, **given).outcome)


def away(database: Database, email: str, starts: datetime, ends: datetime, stand_in: str | None = None) -> SaveOutcome:
    unit = lambda session: set_out_of_office(session, email=email, starts=starts, ends=ends, stand_in=stand_in)  # noqa: E731
    return database.transaction(unit).outcome


def refusal(call: Any, *args: Any, **given: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        call(*args, **given)
    assert caught.value.text
    assert caught.value.hint
    return caught.value.code


def rows(database: Database, table: Any) -> list[Any]:
    with database.read() as session:
        return list(session.scalars(select(table)))


@pytest.mark.parametrize(
    "name",
    ["ST. MARY'S CLINIC", "St Marys Clinic, Inc.", "st. mary’s   clinic llc", "St Mary's Clinic P.C.", "St. Marys Clinic PC"],
)
def test_names_that_differ_in_case_punctuation_spacing_or_legal_form_fold_to_the_same(name: str) -> None:
    assert fold_name(name) == fold_name("St Marys Clinic")


def test_names_of_different_practices_do_not_fold_to_the_same() -> None:
    assert fold_name("Oak Hill Pediatrics") != fold_name("Oak Hill Podiatry")
    assert fold_name("PC") != ""


def test_staff_are_added_once_and_then_updated_by_address(database: Database) -> None:
    assert staff(database, "Mara@Billing.example", name="Mara Lind", hours="8am-5pm", capacity=20) is SaveOutcome.CREATED
    assert staff(database, "mara@billing.example", capacity=25) is SaveOutcome.UPDATED
    assert staff(database, "mara@billing.example", capacity=25, name="Mara Lind") is SaveOutcome.UNCHANGED
    person = rows(database, Staff)[0]
    assert (person.email, person.name, person.capacity) == ("mara@billing.example", "Mara Lind", 25)
    assert (person.starts, person.ends) == (time(8), time(17))
    assert (person.role, person.active, person.weekdays) == ("representative", True, "01234")


def test_new_member_of_staff_without_a_name_is_refused(database: Database) -> None:
    assert refusal(staff, database, "mara@billing.example") == "missing_name"
    assert rows(database, Staff) == []


def test_stand_in_must_be_another_member_of_staff(database: Database) -> None:
    staff(database, "mara@billing.example", name="Mara")
    assert refusal(staff, database, "mara@billing.example", stand_in="nobody@billing.example") == "unknown_stand_in"
    assert refusal(staff, database, "mara@billing.example", stand_in="mara@billing.example") == "own_stand_in"
    staff(database, "ben@billing.example", name="Ben", stand_in="MARA@billing.example")
    with database.read() as session:
        people = {person.email: person.stand_in for person in list_staff(session, NOW)}
    assert people == {"mara@billing.example": None, "ben@billing.example": "mara@billing.example"}


def test_a_company_has_its_people_domains_and_account_number(database: Database) -> None:
    staff(database, "ana@billing.example", name="Ana", role="manager")
    staff(database, "ben@billing.example", name="Ben")
    given = {"manager": "ana@billing.example", "consultant": "ben@billing.example", "account_number": "007", "telemedicine": True}
    assert company(database, "Oak Hill, Inc.", domains="oakhill.example oak-hill.example", **given) is SaveOutcome.CREATED
    with database.read() as session:
        (entry,) = list_companies(session)
    assert entry.as_dict() == {
        "id": 1, "name": "Oak Hill, Inc.", "account_number": "007", "active": True, "manager": "ana@billing.example",
        "consultant": "ben@billing.example", "telemedicine": True, "domains": ("oak-hill.example", "oakhill.example"),
    }  # fmt: skip


def test_a_company_is_updated_under_its_folded_name_and_its_domains_are_replaced(database: Database) -> None:
    company(database, "Oak Hill Inc", domains=["oakhill.example", "old.example"], account_number="1")
    assert company(database, "OAK HILL, LLC", domains=["oakhill.example", "new.example"]) is SaveOutcome.UPDATED
    assert company(database, "OAK HILL, LLC", domains="new.example,oakhill.example") is SaveOutcome.UNCHANGED
    assert {row.domain for row in rows(database, CompanyDomain)} == {"oakhill.example", "new.example"}
    (row,) = rows(database, Company)
    assert (row.name, row.account_number) == ("OAK HILL, LLC", "1")


def test_domain_belongs_to_one_company_until_it_is_removed(database: Database) -> None:
    company(database, "Oak Hill", domains="shared.example")
    assert refusal(company, database, "Riverside", domains="shared.example") == "domain_taken"
    assert [row.name for row in rows(database, Company)] == ["Oak Hill"]
    company(database, "Oak Hill", domains="oakhill.example")
    assert company(database, "Riverside", domains="shared.example") is SaveOutcome.CREATED


def test_an_account_number_belongs_to_one_company(database: Database) -> None:
    company(database, "Oak Hill", account_number="100")
    assert refusal(company, database, "Riverside", account_number="100") == "account_number_taken"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"manager": "nobody@billing.example"}, "unknown_manager"),
        ({"consultant": "nobody@billing.example"}, "unknown_consultant"),
        ({"domains": "gmail.com"}, "public_domain"),
        ({"domains": "not a domain"}, "odd_domain"),
    ],
)
def test_a_company_with_a_wrong_value_is_refused_as_a_whole(database: Database, given: dict[str, str], code: str) -> None:
    assert refusal(company, database, "Oak Hill", account_number="1", **given) == code
    assert rows(database, Company) == []


def test_a_company_needs_a_name_with_a_letter_or_digit(database: Database) -> None:
    assert refusal(company, database, " - ") == "missing_name"


def test_contact_gets_the_company_whose_name_folds_to_the_same(database: Database) -> None:
    company(database, "Riverside Family Clinic, PC")
    assert (
        contact(database, "Dana@riverside.example", name="Dana Ortiz", company="riverside family clinic") is SaveOutcome.CREATED
    )
    assert contact(database, "dana@riverside.example", phone="555 010 4477", is_admin=True) is SaveOutcome.UPDATED
    with database.read() as session:
        (entry,) = list_contacts(session)
    assert (entry.email, entry.company, entry.phone, entry.is_admin) == (
        "dana@riverside.example", "Riverside Family Clinic, PC", "555 010 4477", True,
    )  # fmt: skip


def test_a_contact_of_an_unknown_company_is_refused(database: Database) -> None:
    assert refusal(contact, database, "dana@riverside.example", company="Nowhere") == "unknown_company"
    assert rows(database, Contact) == []


def test_contacts_are_found_by_company_and_by_text(database: Database) -> None:
    company(database, "Riverside")
    contact(database, "dana@riverside.example", name="Dana 100%", company="Riverside")
    contact(database, "paula@elsewhere.example", name="Paula")
    with database.read() as session:
        assert [entry.name for entry in list_contacts(session, company="RIVERSIDE, Inc")] == ["Dana 100%"]
        assert [entry.name for entry in list_contacts(session, find="ELSEWHERE")] == ["Paula"]
        assert [entry.name for entry in list_contacts(session, find="%")] == ["Dana 100%"]
        assert [entry.name for entry in list_contacts(session)] == ["Dana 100%", "Paula"]


def test_an_absence_that_overlaps_replaces_the_earlier_ones(database: Database) -> None:
    staff(database, "mara@billing.example", name="Mara")
    assert away(database, "mara@billing.example", NOW, NOW + 3 * DAY) is SaveOutcome.CREATED
    assert away(database, "mara@billing.example", NOW, NOW + 3 * DAY) is SaveOutcome.UNCHANGED
    assert away(database, "mara@billing.example", NOW + 2 * DAY, NOW + 5 * DAY) is SaveOutcome.UPDATED
    assert away(database, "mara@billing.example", NOW + 5 * DAY, NOW + 6 * DAY) is SaveOutcome.CREATED
    spans = [(row.starts_at, row.ends_at) for row in rows(database, Absence)]
    assert sorted(spans) == [(NOW + 2 * DAY, NOW + 5 * DAY), (NOW + 5 * DAY, NOW + 6 * DAY)]


def test_absence_sets_the_stand_in(database: Database) -> None:
    staff(database, "mara@billing.example", name="Mara")
    staff(database, "ben@billing.example", name="Ben")
    away(database, "mara@billing.example", NOW, NOW + DAY, stand_in="ben@billing.example")
    with database.read() as session:
        mara = next(person for person in list_staff(session, NOW) if person.name == "Mara")
    assert mara.stand_in == "ben@billing.example"
    assert [(span.starts, span.ends) for span in mara.away] == [(NOW, NOW + DAY)]


def test_an_absence_that_ends_before_it_begins_is_refused(database: Database) -> None:
    staff(database, "mara@billing.example", name="Mara")
    assert refusal(away, database, "mara@billing.example", NOW, NOW) == "odd_span"


def test_absence_of_an_unknown_person_is_refused(database: Database) -> None:
    with pytest.raises(NotFoundError):
        away(database, "nobody@billing.example", NOW, NOW + DAY)


def test_a_refused_stand_in_leaves_no_absence(database: Database) -> None:
    staff(database, "mara@billing.example", name="Mara")
    assert refusal(away, database, "mara@billing.example", NOW, NOW + DAY, "nobody@billing.example") == "unknown_stand_in"
    assert rows(database, Absence) == []


def test_ending_an_absence_ends_the_current_one_and_deletes_later_ones(database: Database) -> None:
    staff(database, "mara@billing.example", name="Mara")
    away(database, "mara@billing.example", NOW - DAY, NOW + DAY)
    away(database, "mara@billing.example", NOW + 5 * DAY, NOW + 6 * DAY)
    assert database.transaction(lambda session: end_out_of_office(session, email="mara@billing.example", now=NOW)) == 2
    assert [(row.starts_at, row.ends_at) for row in rows(database, Absence)] == [(NOW - DAY, NOW)]


def test_concurrent_adds_of_one_contact_both_succeed(database: Database) -> None:
    both, outcomes = Barrier(2), []

    def add() -> None:
        both.wait()
        saved = retry_on_conflict(database, lambda session: add_contact(session, email="dana@riverside.example", name="Dana"))
        outcomes.append(saved.outcome)

    threads = [Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["created", "unchanged"]
    assert len(rows(database, Contact)) == 1
