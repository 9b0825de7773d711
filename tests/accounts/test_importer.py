"""Import of CSV lists, line by line."""

import csv
import time
from pathlib import Path

import pytest
from sqlalchemy import func, select

from accounts.csv_reader import escape_cell, fold_header, read_csv, unescape_cell
from accounts.directory import add_company, add_staff
from accounts.importer import ImportReport, import_file, write_refused
from accounts.listings import list_companies, list_contacts, list_staff
from accounts.models import Contact
from core import clock
from core.database.session import Database
from core.errors import RefusedError


@pytest.fixture
def contacts(tmp_path: Path) -> Path:
    return tmp_path / "contacts.csv"


def bring(database: Database, kind: str, path: Path, text: str | bytes) -> ImportReport:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_file(database, kind, path)


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.created, report.updated, report.unchanged, len(report.refused)


def refusals(report: ImportReport) -> list[tuple[int, str, str]]:
    return [(line.line, line.field, line.code) for line in report.refused]


def names(database: Database) -> list[str]:
    with database.read() as session:
        return [contact.name for contact in list_contacts(session)]


def test_lines_are_created_updated_unchanged_or_refused(database: Database, contacts: Path) -> None:
    bring(database, "contact", contacts, "email,name\na@x.example,Ann\nb@x.example,Bob\n")
    report = bring(
        database, "contact", contacts, "email,name\na@x.example,Ann\nb@x.example,Bobby\nc@x.example,Cy\nnot an address,Dee\n"
    )
    assert counts(report) == (1, 1, 1, 1)
    assert refusals(report) == [(5, "email", "odd_address")]
    assert names(database) == ["Ann", "Bobby", "Cy"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(database: Database, contacts: Path, delimiter: str) -> None:
    text = "Name;E-Mail Address;Phone Number\nAnn, the first;a@x.example;555 010\n".replace(",", "").replace(";", delimiter)
    assert counts(bring(database, "contact", contacts, text)) == (1, 0, 0, 0)
    assert names(database) == ["Ann the first"]


def test_a_delimiter_in_other_cells_does_not_mislead(database: Database, contacts: Path) -> None:
    text = 'email;name;"a, b, c, d, e, f"\na@x.example;"Lind; Mara";1,2,3\n'
    report = bring(database, "contact", contacts, text)
    assert counts(report) == (1, 0, 0, 0)
    assert names(database) == ["Lind; Mara"]
    assert report.ignored == ("a, b, c, d, e, f",)


def test_excels_sep_line_sets_the_delimiter(database: Database, contacts: Path) -> None:
    report = bring(database, "contact", contacts, "sep=;\r\nemail;name\r\na@x.example;Ann\r\nbad;Bad\r\n")
    assert counts(report) == (1, 0, 0, 1)
    assert refusals(report) == [(4, "email", "odd_address")]


@pytest.mark.parametrize(
    ("encoding", "found"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("windows-1252", "windows-1252"), ("utf-16", "utf-16")]
)
def test_the_usual_encodings_are_read(database: Database, contacts: Path, encoding: str, found: str) -> None:
    report = bring(database, "contact", contacts, "email,name\ni@x.example,Inès – Moreau\n".encode(encoding))
    assert report.encoding == found
    assert names(database) == ["Inès – Moreau"]


@pytest.mark.parametrize("header", ["E-Mail", "email_address", "EMAIL ADDRESS*", " e mail ", "EmailAddress"])
def test_headers_are_recognised_in_common_spellings(database: Database, contacts: Path, header: str) -> None:
    assert counts(bring(database, "contact", contacts, f"{header}\na@x.example\n")) == (1, 0, 0, 0)


def test_first_and_last_name_become_the_name(database: Database, contacts: Path) -> None:
    bring(database, "contact", contacts, "First Name,Surname,Mail\nMara,Lind,m@x.example\n,Solo,s@x.example\n")
    assert names(database) == ["Mara Lind", "Solo"]


def test_a_header_folds_case_marks_and_word_breaks() -> None:
    assert fold_header("Account_No.") == fold_header("accountNo") == "account no"


def test_line_numbers_are_those_of_an_editor(database: Database, contacts: Path) -> None:
    text = 'email,name\n\n"a@x.example","two\nlines"\n,,\nbad,Bad\n,Nameless\n'
    report = bring(database, "contact", contacts, text)
    assert refusals(report) == [(6, "email", "odd_address"), (7, "email", "missing_email")]


def test_a_line_with_more_cells_than_columns_is_refused(database: Database, contacts: Path) -> None:
    report = bring(database, "contact", contacts, "email,name\na@x.example,Lind, Mara\nb@x.example,Ben,,\nc@x.example\n")
    assert counts(report) == (2, 0, 0, 1)
    assert refusals(report) == [(2, "", "unreadable_line")]


def test_missing_closing_quote_refuses_one_line_only(database: Database, contacts: Path) -> None:
    swallowed = "x" * 140_000
    report = bring(database, "contact", contacts, f'email,name\na@x.example,Ann\nb@x.example,"{swallowed}\nc@x.example,Cy\n')
    assert report.created >= 1
    assert refusals(report)[0] == (3, "", "unreadable_line")


def test_contacts_name_their_company(database: Database, contacts: Path) -> None:
    database.transaction(lambda session: add_company(session, name="Oak Hill, PC"))
    report = bring(database, "contact", contacts, "email,practice\na@x.example,OAK HILL\nb@x.example,Nowhere\nc@x.example,\n")
    assert refusals(report) == [(3, "company", "unknown_company")]
    with database.read() as session:
        assert {c.email: c.company for c in list_contacts(session)} == {"a@x.example": "Oak Hill, PC", "c@x.example": None}


def test_companies_are_imported_with_their_people_and_domains(database: Database, tmp_path: Path) -> None:
    database.transaction(lambda session: add_staff(session, email="ana@b.example", name="Ana"))
    text = (
        "Practice Name,Account No.,Email Domains,Manager,Ops Consultant,Telehealth\n"
        'Oak Hill PC,001,"oak.example; oakhill.example",ana@b.example,ana@b.example,yes\n'
        "Riverside,002,oak.example,,,no\n"
        "Summit,001,,,,\n"
        "Prairie,004,gmail.com,,,\n"
        "Harbor,005,,nobody@b.example,,\n"
        "OAK HILL,,,,,\n"
    )
    report = bring(database, "company", tmp_path / "practices.csv", text)
    assert refusals(report) == [
        (3, "domains", "domain_taken"), (4, "account_number", "account_number_taken"), (5, "domains", "public_domain"),
        (6, "manager", "unknown_manager"),
    ]  # fmt: skip
    with database.read() as session:
        (company,) = list_companies(session)
    assert (company.name, company.account_number, company.telemedicine) == ("OAK HILL", "001", True)
    assert company.domains == ("oak.example", "oakhill.example")


def test_domain_and_number_can_move_between_companies_within_one_list(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "practices.csv"
    bring(database, "company", path, "name,domain,account number\nB,shared.example,1\nA,a.example,2\n")
    report = bring(database, "company", path, "name,domain,account number\nB,b.example,3\nA,shared.example,1\n")
    assert counts(report) == (0, 2, 0, 0)
    with database.read() as session:
        found = {company.name: (company.domains, company.account_number) for company in list_companies(session)}
    assert found == {"A": (("shared.example",), "1"), "B": (("b.example",), "3")}


def test_staff_of_one_list_may_stand_in_for_each_other(database: Database, tmp_path: Path) -> None:
    text = "email,name,stand-in,hours,days\na@b.example,Ann,B@b.example,8-17,Mon-Fri\nb@b.example,Bob,a@b.example,9-18,Mon-Thu\n"
    path = tmp_path / "staff.csv"
    assert counts(bring(database, "staff", path, text)) == (2, 0, 0, 0)
    assert counts(bring(database, "staff", path, text)) == (0, 0, 2, 0)
    with database.read() as session:
        people = list_staff(session, clock.now())
    assert [(person.name, person.stand_in) for person in people] == [("Ann", "b@b.example"), ("Bob", "a@b.example")]


def test_stand_in_whose_own_line_is_refused_is_reported(database: Database, tmp_path: Path) -> None:
    text = "email,name,stand in,capacity\na@b.example,Ann,b@b.example,\nb@b.example,Bob,,many\nc@b.example,Cy,z@b.example,\n"
    report = bring(database, "staff", tmp_path / "staff.csv", text)
    assert refusals(report) == [
        (2, "stand_in", "unknown_stand_in"), (3, "capacity", "odd_capacity"), (4, "stand_in", "unknown_stand_in"),
    ]  # fmt: skip
    assert report.refused[0].text.startswith("saved, but without the stand-in")
    with database.read() as session:
        assert [person.name for person in list_staff(session, clock.now())] == ["Ann"]


def test_refused_line_of_a_known_person_changes_nothing(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "staff.csv"
    bring(database, "staff", path, "email,name\na@b.example,Ann\nb@b.example,Bob\n")
    report = bring(database, "staff", path, "email,stand in,capacity\na@b.example,b@b.example,many\nb@b.example,,7\n")
    assert counts(report) == (0, 1, 0, 1)
    with database.read() as session:
        assert list_staff(session, clock.now())[0].stand_in is None


def test_the_refused_lines_are_written_with_a_reason_and_no_formulas(database: Database, contacts: Path) -> None:
    text = "email,name,phone\n=cmd()|x,@SUM(A1),+1 555 010\nok@x.example,Ok,-1\n"
    report = bring(database, "contact", contacts, text)
    target = write_refused(report)
    assert target == contacts.with_name("contacts.csv.refused.csv")
    with target.open(encoding="utf-8-sig", newline="") as file:
        header, line = csv.reader(file)
    assert header == ["email", "name", "phone", "Reason"]
    assert line[:3] == ["'=cmd()|x", "'@SUM(A1)", "'+1 555 010"]
    assert line[3].startswith("line 2: ")
    assert "is not one plain email address" in line[3]


def test_a_corrected_file_of_refused_lines_can_be_imported_as_it_is(database: Database, contacts: Path) -> None:
    target = write_refused(bring(database, "contact", contacts, "email,name,phone\nbad,Ann,+1 555 010\n"))
    assert target is not None
    report = bring(database, "contact", target, target.read_bytes().replace(b"bad,", b"ann@x.example,"))
    assert counts(report) == (1, 0, 0, 0)
    assert report.ignored == ()
    with database.read() as session:
        assert list_contacts(session)[0].phone == "+1 555 010"


def test_without_refused_lines_no_file_is_written(database: Database, contacts: Path) -> None:
    assert write_refused(bring(database, "contact", contacts, "email\na@x.example\n")) is None
    assert [path.name for path in contacts.parent.glob("*.csv*")] == ["contacts.csv"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_formula_cell_is_escaped_and_unescaped(start: str) -> None:
    assert escape_cell(f"{start}1") == f"'{start}1"
    assert unescape_cell(escape_cell(f"{start}1")) == f"{start}1"
    assert unescape_cell("'tis fine") == "'tis fine"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b" \n\n", "empty_file"),
        (b"PK\x03\x04rest", "workbook"),
        (b"name,phone\nAnn,1\n", "missing_column"),
        (b"\x00\xff\xfe\x80 binary \x01", "missing_column"),
    ],
)
def test_file_that_is_not_such_a_list_is_refused_with_a_hint(contacts: Path, content: bytes, code: str) -> None:
    contacts.write_bytes(content)
    with pytest.raises(RefusedError) as caught:
        read_csv("contact", contacts)
    assert caught.value.code == code
    assert caught.value.hint


def test_unstorable_characters_refuse_one_line_at_most(database: Database, contacts: Path) -> None:
    report = bring(database, "contact", contacts, b"email,name\na@x.example,An\x00n\nb@x.example,Bob\n")
    assert report.created == 2
    assert names(database) == ["Ann", "Bob"]


def test_the_same_address_twice_in_a_list_is_one_contact(database: Database, contacts: Path) -> None:
    report = bring(database, "contact", contacts, "email,name\na@x.example,Ann\nA@X.example,Anna\na@x.example,Anna\n")
    assert counts(report) == (1, 1, 1, 0)
    assert names(database) == ["Anna"]


def test_ten_thousand_lines_take_a_few_seconds_and_report_their_progress(database: Database, contacts: Path) -> None:
    database.transaction(lambda session: [add_company(session, name=f"Practice {number}") for number in range(50)])
    lines = [f"person{number}@x{number % 50}.example,Person {number},Practice {number % 50}" for number in range(10_000)]
    lines[7_777] = "not an address,Nobody,Practice 1"
    contacts.write_text("email,name,company\n" + "\n".join(lines))
    seen: list[tuple[int, int]] = []
    begun = time.monotonic()
    report = import_file(database, "contact", contacts, progress=lambda done, total: seen.append((done, total)))
    assert time.monotonic() - begun < 20
    assert counts(report) == (9_999, 0, 0, 1)
    assert refusals(report) == [(7_779, "email", "odd_address")]
    assert seen[0] == (500, 10_000)
    assert seen[-1] == (10_000, 10_000)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Contact)) == 9_999
