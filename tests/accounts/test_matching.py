"""Matching senders to companies and contacts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from accounts import matching
from accounts.matching import SenderDirectory, SenderIdentity, domain_of
from accounts.models import Company, CompanyDomain, Contact
from accounts.names import fold_name
from core.database.session import Database
from core.reasons import Reason

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
NO_SENDER = SenderIdentity(None, "", "", "", "", trusted=False)


def sender(email: str | None = None, *, company: str = "", account: str = "", trusted: bool = False) -> SenderIdentity:
    return SenderIdentity(email, "", "", company, account, trusted)


@pytest.fixture
def filled(database: Database) -> Iterator[Database]:
    """Lakeside with a domain, an account and a contact elsewhere; Hill with a domain; Gmail claimed by mistake."""

    def unit(session: Session) -> None:
        for number, (name, account) in enumerate([("Lakeside Family Medicine, PLLC", "A-1"), ("Hill & Vale", None)], 1):
            session.add(Company(id=number, name=name, folded=fold_name(name), account_number=account, created_at=NOW))
        session.flush()
        for domain, company in (("lakeside.example", 1), ("hill.example", 2), ("gmail.com", 2), ("provider.example", 2)):
            session.add(CompanyDomain(domain=domain, company_id=company))
        session.add(Contact(email="dana@private.example", name="Dana", company_id=1, created_at=NOW))
        session.add(Contact(email="sam@hill.example", name="Sam", company_id=1, created_at=NOW))
        session.add(Contact(email="loose@hill.example", name="", company_id=None, created_at=NOW))

    database.transaction(unit)
    yield database


def company_of(database: Database, one: SenderIdentity, public: frozenset[str] | None = None) -> tuple[int | None, str]:
    with database.read() as session:
        directory = matching.load(session, [one, NO_SENDER])
    company, reason = directory.find_company(one) if public is None else directory.find_company(one, public)
    return (company.id if company else None), reason.code


CASES = {
    "the company on record": (sender("dana@private.example"), 1, "company_on_record"),
    "the one on record before domain, account and name": (
        sender("sam@hill.example", company="Hill and Vale", account="A-1"), 1, "company_on_record",
    ),
    "the account number before the name": (sender(company="Hill & Vale", account="A-1"), 1, "company_by_account"),
    "a trusted name first": (sender("new@lakeside.example", company="Hill & Vale", trusted=True), 2, "company_by_name"),
    "the domain before a name from a form": (sender("new@lakeside.example", company="Hill & Vale"), 1, "company_by_domain"),
    "the domain before an account number from a public form": (sender("new@hill.example", account="A-1"), 2, "company_by_domain"),
    "the name however it is written": (sender(company="  lakeside family MEDICINE pllc."), 1, "company_by_name"),
    "the domain of a new address": (sender("new@lakeside.example"), 1, "company_by_domain"),
    "the domain of a contact without a company": (sender("loose@hill.example"), 2, "company_by_domain"),
    "a public domain never, even when a company claims it": (sender("dana@gmail.com"), None, "company_unknown"),
    "a subdomain is another domain": (sender("dana@mail.lakeside.example"), None, "company_unknown"),
    "a domain that only ends alike": (sender("dana@notlakeside.example"), None, "company_unknown"),
    "an unknown name": (sender(company="Lakeside"), None, "company_unknown"),
    "nothing at all": (sender(), None, "company_unknown"),
    "an empty name is no name": (sender(company="..."), None, "company_unknown"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_company_of_a_sender(filled: Database, case: str) -> None:
    one, company, code = CASES[case]
    assert company_of(filled, one) == (company, code)


def test_further_public_domains_come_from_the_caller(filled: Database) -> None:
    one = sender("new@provider.example")
    assert company_of(filled, one) == (2, "company_by_domain")
    assert company_of(filled, one, frozenset({"provider.example"})) == (None, "company_unknown")


def test_the_reason_names_the_company(filled: Database) -> None:
    one = sender("new@hill.example")
    with filled.read() as session:
        _, reason = matching.load(session, [one]).find_company(one)
    assert reason == Reason("company_by_domain", "The sender's email domain belongs to Hill & Vale")


def test_a_batch_is_loaded_with_the_same_few_queries_as_one(filled: Database) -> None:
    statements: list[str] = []
    event.listen(filled._reader, "before_cursor_execute", lambda *args: statements.append(args[2]))

    def queries(claims: list[SenderIdentity]) -> int:
        statements.clear()
        with filled.read() as session:
            matching.load(session, claims)
        return len([statement for statement in statements if statement.startswith("SELECT")])

    few = queries([sender("dana@private.example")])
    many = queries([sender(f"p{number}@d{number}.example", company=f"Practice {number}") for number in range(300)])
    assert few == many <= 3


def test_empty_directory_matches_no_company() -> None:
    company, reason = SenderDirectory().find_company(sender("dana@lakeside.example", company="Lakeside", account="A-1"))
    assert company is None and reason.code == "company_unknown"


@pytest.mark.parametrize(
    ("address", "domain"), [("a@b.example", "b.example"), ('"a@x"@b.example', "b.example"), ("a", "a"), (None, ""), ("", "")]
)
def test_the_domain_of_an_address_is_what_follows_its_last_at_sign(address: str | None, domain: str) -> None:
    assert domain_of(address) == domain


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Lakeside Family Medicine", "lakeside family medicine"),
        ("  LAKESIDE   Family\tMedicine ", "lakeside family medicine"),
        ("Lakeside Family Medicine, P.L.L.C.", "lakeside family medicine"),
        ("Lakeside Family Medicine Inc.", "lakeside family medicine"),
        ("Lakeside, Inc., LLC", "lakeside"),
        ("Hill & Vale", "hill and vale"),
        ("Hill&Vale", "hill and vale"),
        ("Dr. O’Brien's Clinic", "dr obriens clinic"),
        ("Clínica José Núñez", "clinica jose nunez"),
        ("ＦＵＬＬ Width", "full width"),
        ("Inc", "inc"),
        ("", ""),
        ("東京クリニック", "東京クリニック"),
        ("!!!", ""),
    ],
)
def test_names_fold_case_punctuation_and_legal_form(written: str, folded: str) -> None:
    assert fold_name(written) == folded


@pytest.mark.parametrize(("one", "other"), [("Klinik Süd 東京", "Klinik Süd 大阪"), ("Αθήνα Clinic", "Σπάρτη Clinic")])
def test_names_in_other_scripts_stay_different(one: str, other: str) -> None:
    assert fold_name(one) != fold_name(other)


def test_folding_a_folded_name_changes_nothing() -> None:
    for name in ("Hill & Vale, LLC", "Clínica José", "東京クリニック", "Co Inc"):
        assert fold_name(fold_name(name)) == fold_name(name)
