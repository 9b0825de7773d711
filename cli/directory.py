"""`casemill staff`, `company` and `contact`: who is who, by hand and from lists."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # heavy at run time; `casemill --help` must be quick
    from sqlalchemy.orm import Session

    from accounts.directory import Saved
    from accounts.importer import ImportReport
    from accounts.listings import StaffEntry
    from core.database.session import Database

staff_app = typer.Typer(help="The people who work here: add, list, import, out of office.", no_args_is_help=True)
company_app = typer.Typer(help="The practices that are served: add, list, import.", no_args_is_help=True)
contact_app = typer.Typer(help="The people who write for a practice: add, list, import.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")]
Active = Annotated[bool | None, typer.Option("--active/--inactive", help="Whether it is in use; new ones are.")]
CsvFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV file with a header line.")]

#: How many refused lines are shown; all of them are in the file that is written.
MAX_SHOWN_LINES = 20


@staff_app.command("add", epilog="Example: casemill staff add mara.lind@billing.example --name 'Mara Lind' --hours 08:00-17:00")
def add_staff(
    email: Annotated[str, typer.Argument(help="Email address; an existing one is updated.")],
    name: Annotated[str | None, typer.Option(help="Full name; needed for somebody new.")] = None,
    role: Annotated[str | None, typer.Option(help="representative, manager or administrator.")] = None,
    capacity: Annotated[int | None, typer.Option(help="Open tickets at most.")] = None,
    skills: Annotated[str | None, typer.Option(help="Skills with commas between them.")] = None,
    zone: Annotated[str | None, typer.Option(help="Time zone, such as America/Chicago.")] = None,
    days: Annotated[str | None, typer.Option(help="Working days, such as Mon-Fri.")] = None,
    hours: Annotated[str | None, typer.Option(help="Working hours, such as 08:00-17:00.")] = None,
    stand_in: Annotated[str | None, typer.Option(help="Email address of who stands in.")] = None,
    digest: Annotated[bool | None, typer.Option("--digest/--no-digest", help="Whether they want the daily digest.")] = None,
    active: Active = None,
) -> None:
    """Add a member of staff, or change what is given of an existing one."""
    given = {
        "email": email, "name": name, "role": role, "capacity": capacity, "skills": skills, "zone": zone, "weekdays": days,
        "hours": hours, "stand_in": stand_in, "digest": digest, "active": active,
    }  # fmt: skip
    if active is False:
        _require_no_open_work(email)
    _save("add_staff", given)


def _require_no_open_work(email: str) -> None:
    """Whoever leaves by this way must have nothing open: nobody would look at it."""
    from accounts.models import Staff
    from cli.console import report_errors
    from tickets import reassignment

    def read(session: Session) -> None:
        person = session.query(Staff).filter_by(email=email.strip().lower()).first()
        if person is not None:
            reassignment.require_no_open_work(session, person.id)

    with report_errors():
        _query(read)


@staff_app.command("list", epilog="Example: casemill staff list --json")
def list_staff(json: Json = False) -> None:
    """List all staff with working hours, capacity, stand-in and absence."""
    from accounts import listings
    from cli import console
    from core import clock

    people: list[StaffEntry] = _query(lambda session: listings.list_staff(session, clock.now()))
    if json:
        console.print_json([person.as_dict() for person in people])
        return
    columns = [
        console.Column("email", no_wrap=True), console.Column("name"), console.Column("role", drop_order=1), console.Column("hours"),
        console.Column("zone", drop_order=4), console.Column("cap.", align_right=True), console.Column("stand-in", drop_order=2),
        console.Column("teams", drop_order=3), console.Column("notes"),
    ]  # fmt: skip
    rows = [
        (person.email, person.name, person.role, person.hours, person.zone, person.capacity,
         _local_part(person.stand_in), person.teams, _describe_state(person))
        for person in people
    ]  # fmt: skip
    console.print_table(columns, rows, empty="nobody on the staff yet; add them with `casemill staff add`")


@staff_app.command("import", epilog="Example: casemill staff import staff.csv")
def import_staff(path: CsvFile, json: Json = False) -> None:
    """Import staff: email, name, role, capacity, skills, zone, days, hours, stand-in, active."""
    _import_csv("staff", path, json)


@staff_app.command("out", epilog="Example: casemill staff out mara.lind@billing.example --until 2027-01-04")
def set_out_of_office(
    email: Annotated[str, typer.Argument(help="Who is away.")],
    starts: Annotated[str | None, typer.Option("--from", help="First day or moment in their time zone; else now.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day (whole) or moment, in their time zone.")] = None,
    stand_in: Annotated[str | None, typer.Option(help="Email address of who stands in from now on.")] = None,
    back: Annotated[bool, typer.Option("--back", help="They are back: end the absence.")] = False,
) -> None:
    """Set somebody out of office: no tickets are assigned to them then, their stand-in is asked first."""
    if back == bool(until) or (back and (starts or stand_in)):
        raise typer.BadParameter("give either --until or --back")
    from accounts import directory
    from cli import console
    from core import clock

    def leave(session: Session) -> str:
        if back:
            ended = directory.end_out_of_office(session, email=email, now=clock.now())
            return f"{email} is back" if ended else f"{email} was not out of office"
        zone = directory.find_person(session, email).zone
        first = _parse_moment("--from", starts, zone, end=False) if starts else clock.now()
        last = _parse_moment("--until", until or "", zone, end=True)
        saved = directory.set_out_of_office(session, email=email, starts=first, ends=last, stand_in=stand_in)
        return (
            f"{email} is out of office from {console.format_value(first)} to {console.format_value(last)} UTC ({saved.outcome})"
        )

    console.print_line(_change(leave))


@company_app.command("add", epilog="Example: casemill company add 'Oak Hill Clinic' --domain oakhill.example")
def add_company(
    name: Annotated[str, typer.Argument(help="Name; one that differs only in case, punctuation or Inc/LLC/PC is updated.")],
    domain: Annotated[list[str] | None, typer.Option(help="An email domain; can be repeated. Replaces the stored ones.")] = None,
    manager: Annotated[str | None, typer.Option(help="Email address of the manager escalations go to.")] = None,
    consultant: Annotated[str | None, typer.Option(help="Email address of the operations consultant.")] = None,
    telemedicine: Annotated[bool | None, typer.Option(help="Whether its tickets get the telemedicine task.")] = None,
    account_number: Annotated[str | None, typer.Option(help="Account number, as forms and workbooks give it.")] = None,
    active: Active = None,
) -> None:
    """Add a company, or change what is given of an existing one."""
    given = {
        "name": name, "domains": domain or None, "manager": manager, "consultant": consultant, "telemedicine": telemedicine,
        "account_number": account_number, "active": active,
    }  # fmt: skip
    _save("add_company", given)


@company_app.command("list", epilog="Example: casemill company list")
def list_companies(json: Json = False) -> None:
    """List all companies with manager, consultant and domains."""
    from accounts import listings
    from cli import console

    companies = _query(listings.list_companies)
    if json:
        console.print_json([company.as_dict() for company in companies])
        return
    columns = [
        console.Column("account", no_wrap=True), console.Column("name"), console.Column("manager"), console.Column("consultant"),
        console.Column("domains", drop_order=1), console.Column("notes"),
    ]  # fmt: skip
    rows = [
        (company.account_number, company.name, _local_part(company.manager), _local_part(company.consultant), company.domains,
         [*(["telemedicine"] if company.telemedicine else []), *([] if company.active else ["inactive"])])
        for company in companies
    ]  # fmt: skip
    console.print_table(columns, rows, empty="no companies yet; add them with `casemill company add`")


@company_app.command("import", epilog="Example: casemill company import practices.csv")
def import_companies(path: CsvFile, json: Json = False) -> None:
    """Import companies: name, domains, manager, consultant, telemedicine, account number, active."""
    _import_csv("company", path, json)


@contact_app.command("add", epilog="Example: casemill contact add lee.moss@oakhill.example --company 'Oak Hill Clinic'")
def add_contact(
    email: Annotated[str, typer.Argument(help="Email address; an existing one is updated.")],
    name: Annotated[str | None, typer.Option(help="Full name.")] = None,
    phone: Annotated[str | None, typer.Option(help="Telephone number.")] = None,
    company: Annotated[str | None, typer.Option(help="Name of the company.")] = None,
    prefers: Annotated[str | None, typer.Option(help="Preferred contact method: email or phone.")] = None,
    admin: Annotated[bool | None, typer.Option("--admin/--no-admin", help="Administrator of the company's account.")] = None,
    active: Active = None,
) -> None:
    """Add a contact, or change what is given of an existing one."""
    given = {
        "email": email, "name": name, "phone": phone, "company": company, "preferred_contact": prefers, "is_admin": admin,
        "active": active,
    }  # fmt: skip
    _save("add_contact", given)


@contact_app.command("list", epilog="Example: casemill contact list --company 'Oak Hill Clinic'")
def list_contacts(
    company: Annotated[str | None, typer.Option(help="Only those of this company.")] = None,
    find: Annotated[str | None, typer.Option(help="Only those with this text in name, address or phone.")] = None,
    json: Json = False,
) -> None:
    """List contacts with their company."""
    from accounts import listings
    from cli import console

    contacts = _query(lambda session: listings.list_contacts(session, company=company, find=find))
    if json:
        console.print_json([contact.as_dict() for contact in contacts])
        return
    columns = [
        console.Column("email", no_wrap=True), console.Column("name"), console.Column("company"),
        console.Column("phone", no_wrap=True, drop_order=1), console.Column("notes", drop_order=2),
    ]  # fmt: skip
    rows = [
        (contact.email, contact.name, contact.company, contact.phone,
         [*(["admin"] if contact.is_admin else []), *([] if contact.active else ["inactive"]),
          *(["prefers phone"] if contact.preferred_contact == "phone" else [])])
        for contact in contacts
    ]  # fmt: skip
    console.print_table(columns, rows, empty="no such contacts; add them with `casemill contact add`")


@contact_app.command("import", epilog="Example: casemill contact import contacts.csv")
def import_contacts(path: CsvFile, json: Json = False) -> None:
    """Import contacts: email, name, phone, company, preferred contact, admin, active."""
    _import_csv("contact", path, json)


def _save(function: str, values: dict[str, Any]) -> None:
    from accounts import directory
    from cli import console

    saved: Saved[Any] = _change(lambda session: getattr(directory, function)(session, **values))
    name = values["name"] or values.get("email")
    console.print_line(f"{values.get('email') or name}: {saved.outcome}")


def _change(unit: Any) -> Any:
    from accounts.directory import retry_on_conflict

    return _with_database(lambda database: retry_on_conflict(database, unit))


def _query(query: Any) -> Any:
    def read(database: Database) -> Any:
        with database.read() as session:
            return query(session)

    return _with_database(read)


def _with_database(work: Any) -> Any:
    from cli.console import report_errors
    from cli.context import open_database

    with report_errors(), open_database() as (_, database):
        return work(database)


def _import_csv(kind: str, path: Path, json: bool) -> None:
    from accounts.importer import import_file, write_refused
    from cli import console
    from tickets import reassignment

    with console.show_progress(f"importing {path.name}") as move:
        report: ImportReport = _with_database(
            lambda database: import_file(
                database, kind, path, progress=move, check_deactivation=reassignment.require_no_open_work
            )
        )
    with console.report_errors():
        written = write_refused(report)
    if json:
        console.print_json({**report.as_dict(), "refused_file": written})
    else:
        _print_report(report, written)
    raise typer.Exit(console.EXIT_PROBLEM if report.refused else console.EXIT_OK)


def _print_report(report: ImportReport, written: Path | None) -> None:
    from cli import console

    if report.refused:
        columns = [
            console.Column("line", no_wrap=True, align_right=True), console.Column("field", no_wrap=True), console.Column("reason"),
        ]  # fmt: skip
        console.print_table(columns, [(line.line, line.field, line.reason) for line in report.refused[:MAX_SHOWN_LINES]])
        if len(report.refused) > MAX_SHOWN_LINES:
            console.print_line(f"… and {len(report.refused) - MAX_SHOWN_LINES} more refused lines")
    if report.ignored:
        console.print_line(
            f"columns without a meaning here: {', '.join(map(console.format_value, report.ignored))}", style="yellow"
        )
    counts = f"{report.created} created, {report.updated} updated, {report.unchanged} unchanged, {len(report.refused)} refused"
    console.print_line(f"{report.path.name}: {counts}")
    if written:
        console.print_line(f"the refused lines are in {written}; correct them there and import that file")


def _parse_moment(option: str, text: str, zone: str, *, end: bool) -> datetime:
    """A day or a moment in somebody's zone, in UTC; a day as an end is meant whole."""
    from datetime import UTC, timedelta
    from zoneinfo import ZoneInfo

    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        problem = f"{text!r} is no day or moment; write 2027-01-04 or 2027-01-04T12:00"
        raise typer.BadParameter(problem, param_hint=option) from None
    if end and len(text.strip()) <= len("2027-01-04"):
        moment += timedelta(days=1)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def _local_part(email: str | None) -> str:
    """The part of a colleague's address that tells people apart."""
    return (email or "").partition("@")[0]


def _describe_state(person: StaffEntry) -> list[str]:
    away = [f"away {span.starts:%Y-%m-%d} to {span.ends:%Y-%m-%d}" for span in person.away]
    return [*([] if person.active else ["inactive"]), *away]
