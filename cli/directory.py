"""`casemill staff`, `company` and `contact`: add, change, list and import the people and practices in the directory."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import Json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from accounts.directory import Saved
    from accounts.importer import ImportReport
    from accounts.listings import StaffEntry
    from core.database.session import Database

staff_app = typer.Typer(help="Your colleagues: add, list, import, out of office, reassign their work.", no_args_is_help=True)
company_app = typer.Typer(help="The practices that are your customers: add, list, import.", no_args_is_help=True)
contact_app = typer.Typer(help="The people of the practices: add, list, import, block automatic mail.", no_args_is_help=True)

Active = Annotated[bool | None, typer.Option("--active/--inactive", help="Active entries are used; a new entry is active.")]
CsvFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV file with a header line.")]

#: Refused lines in the table; the file of refused lines has all of them.
MAX_SHOWN_LINES = 20


@staff_app.command("add", epilog="Example: casemill staff add mara.lind@billing.example --name 'Mara Lind' --hours 08:00-17:00")
def add_staff(
    email: Annotated[str, typer.Argument(help="Email address. An existing entry is updated.")],
    name: Annotated[str | None, typer.Option(help="Full name. Required for a new entry.")] = None,
    role: Annotated[
        str | None, typer.Option(help="representative, manager or administrator. Default for a new entry: representative.")
    ] = None,
    capacity: Annotated[int | None, typer.Option(help="The largest number of open tickets assigned automatically.")] = None,
    skills: Annotated[str | None, typer.Option(help="Skills, separated by commas.")] = None,
    zone: Annotated[str | None, typer.Option(help="Time zone, for example America/Chicago.")] = None,
    days: Annotated[str | None, typer.Option(help="Working days, for example Mon-Fri.")] = None,
    hours: Annotated[str | None, typer.Option(help="Working hours in their time zone, for example 08:00-17:00.")] = None,
    stand_in: Annotated[str | None, typer.Option(help="Email address of the stand-in during absences.")] = None,
    digest: Annotated[bool | None, typer.Option("--digest/--no-digest", help="Send them the daily digest mail, or not.")] = None,
    active: Active = None,
) -> None:
    """Add a member of staff, or change the given values of an existing one."""
    values = {
        "email": email, "name": name, "role": role, "capacity": capacity, "skills": skills, "zone": zone, "weekdays": days,
        "hours": hours, "stand_in": stand_in, "digest": digest, "active": active,
    }  # fmt: skip
    if active is False:
        _require_no_open_work(email)
    _save("add_staff", values)


def _require_no_open_work(email: str) -> None:
    """Refuse to deactivate a person with open work: it would stay with an owner who does not work here any more."""
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
    """List all staff with working hours, capacity, stand-in and absences."""
    from accounts import listings
    from cli import console
    from core import clock

    people: list[StaffEntry] = _query(lambda session: listings.list_staff(session, clock.now()))
    if json:
        console.print_json([person.as_dict() for person in people])
        return
    columns = [
        console.Column("email", no_wrap=True),
        console.Column("name"),
        console.Column("role", drop_order=1),
        console.Column("hours"),
        console.Column("zone", drop_order=4),
        console.Column("cap.", align_right=True),
        console.Column("stand-in", drop_order=2),
        console.Column("teams", drop_order=3),
        console.Column("notes"),
    ]
    rows = [
        (person.email, person.name, person.role, person.hours, person.zone, person.capacity,
         _local_part(person.stand_in), person.teams, _describe_state(person))
        for person in people
    ]  # fmt: skip
    console.print_table(columns, rows, empty="no staff yet; add them with `casemill staff add`")


@staff_app.command("import", epilog="Example: casemill staff import staff.csv")
def import_staff(path: CsvFile, json: Json = False) -> None:
    """Import staff from a CSV file: email, name, role, capacity, skills, zone, days, hours, stand-in, active."""
    _import_csv("staff", path, json)


@staff_app.command("out", epilog="Example: casemill staff out mara.lind@billing.example --until 2027-01-04")
def set_out_of_office(
    email: Annotated[str, typer.Argument(help="Email address of the person who is away.")],
    starts: Annotated[str | None, typer.Option("--from", help="First day, or time, in their time zone. Default: now.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day (included), or time, in their time zone.")] = None,
    stand_in: Annotated[str | None, typer.Option(help="Email address of their stand-in, from now on.")] = None,
    back: Annotated[bool, typer.Option("--back", help="End the absence now.")] = False,
) -> None:
    """Set a person out of office. New tickets go to their stand-in, else to another colleague."""
    if back == bool(until) or (back and (starts or stand_in)):
        raise typer.BadParameter("give either --until (with --from and --stand-in if needed) or --back")
    from accounts import directory
    from cli import console
    from core import clock

    def change(session: Session) -> str:
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

    console.print_line(_change(change))


@company_app.command("add", epilog="Example: casemill company add 'Oak Hill Clinic' --domain oakhill.example")
def add_company(
    name: Annotated[str, typer.Argument(help="Name. An entry that differs only in case, punctuation or Inc/LLC/PC is updated.")],
    domain: Annotated[
        list[str] | None, typer.Option(help="An email domain; repeat for more. They replace the stored domains.")
    ] = None,
    manager: Annotated[str | None, typer.Option(help="Email address of the manager who gets escalations.")] = None,
    consultant: Annotated[
        str | None, typer.Option(help="Email address of the operations consultant, who gets its tickets.")
    ] = None,
    telemedicine: Annotated[
        bool | None, typer.Option(help='Create the task "Telemedicine assistance" for its tickets, or not.')
    ] = None,
    account_number: Annotated[str | None, typer.Option(help="Account number, as written in forms and workbooks.")] = None,
    active: Active = None,
) -> None:
    """Add a company, or change the given values of an existing one."""
    values = {
        "name": name, "domains": domain or None, "manager": manager, "consultant": consultant, "telemedicine": telemedicine,
        "account_number": account_number, "active": active,
    }  # fmt: skip
    _save("add_company", values)


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
        console.Column("account", no_wrap=True),
        console.Column("name"),
        console.Column("manager"),
        console.Column("consultant"),
        console.Column("domains", drop_order=1),
        console.Column("notes"),
    ]
    rows = [
        (company.account_number, company.name, _local_part(company.manager), _local_part(company.consultant), company.domains,
         [*(["telemedicine"] if company.telemedicine else []), *([] if company.active else ["inactive"])])
        for company in companies
    ]  # fmt: skip
    console.print_table(columns, rows, empty="no companies yet; add them with `casemill company add`")


@company_app.command("import", epilog="Example: casemill company import practices.csv")
def import_companies(path: CsvFile, json: Json = False) -> None:
    """Import companies from a CSV file: name, domains, manager, consultant, telemedicine, account number, active."""
    _import_csv("company", path, json)


@contact_app.command("add", epilog="Example: casemill contact add lee.moss@oakhill.example --company 'Oak Hill Clinic'")
def add_contact(
    email: Annotated[str, typer.Argument(help="Email address. An existing entry is updated.")],
    name: Annotated[str | None, typer.Option(help="Full name.")] = None,
    phone: Annotated[str | None, typer.Option(help="Telephone number.")] = None,
    company: Annotated[str | None, typer.Option(help="The company's name, as in the directory.")] = None,
    prefers: Annotated[str | None, typer.Option(help="Preferred contact method: email or phone.")] = None,
    admin: Annotated[
        bool | None, typer.Option("--admin/--no-admin", help="Administrator of the company's portal account, or not.")
    ] = None,
    active: Active = None,
) -> None:
    """Add a contact, or change the given values of an existing one."""
    values = {
        "email": email, "name": name, "phone": phone, "company": company, "preferred_contact": prefers, "is_admin": admin,
        "active": active,
    }  # fmt: skip
    _save("add_contact", values)


@contact_app.command("list", epilog="Example: casemill contact list --company 'Oak Hill Clinic'")
def list_contacts(
    company: Annotated[str | None, typer.Option(help="Only contacts of this company.")] = None,
    find: Annotated[str | None, typer.Option(help="Only contacts with this text in name, address or phone.")] = None,
    json: Json = False,
) -> None:
    """List contacts with their companies."""
    from accounts import listings
    from cli import console

    contacts = _query(lambda session: listings.list_contacts(session, company=company, find=find))
    if json:
        console.print_json([contact.as_dict() for contact in contacts])
        return
    columns = [
        console.Column("email", no_wrap=True),
        console.Column("name"),
        console.Column("company"),
        console.Column("phone", no_wrap=True, drop_order=1),
        console.Column("notes", drop_order=2),
    ]
    rows = [
        (contact.email, contact.name, contact.company, contact.phone,
         [*(["admin"] if contact.is_admin else []), *([] if contact.active else ["inactive"]),
          *(["prefers phone"] if contact.preferred_contact == "phone" else [])])
        for contact in contacts
    ]  # fmt: skip
    console.print_table(columns, rows, empty="no such contacts; add them with `casemill contact add`")


@contact_app.command("import", epilog="Example: casemill contact import contacts.csv")
def import_contacts(path: CsvFile, json: Json = False) -> None:
    """Import contacts from a CSV file: email, name, phone, company, preferred contact, admin, active."""
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
            console.Column("line", no_wrap=True, align_right=True),
            console.Column("field", no_wrap=True),
            console.Column("reason"),
        ]
        console.print_table(columns, [(line.line, line.field, line.reason) for line in report.refused[:MAX_SHOWN_LINES]])
        if len(report.refused) > MAX_SHOWN_LINES:
            console.print_line(f"… and {len(report.refused) - MAX_SHOWN_LINES} more refused lines")
    if report.ignored:
        console.print_line(f"ignored columns: {', '.join(map(console.format_value, report.ignored))}", style="yellow")
    counts = f"{report.created} created, {report.updated} updated, {report.unchanged} unchanged, {len(report.refused)} refused"
    console.print_line(f"{report.path.name}: {counts}")
    if written:
        console.print_line(f"the refused lines are in {written}; correct them there and import that file")


def _parse_moment(option: str, text: str, zone: str, *, end: bool) -> datetime:
    """Return a day or time of ``zone`` in UTC; with ``end``, a day is included."""
    from datetime import UTC, timedelta
    from zoneinfo import ZoneInfo

    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        problem = f"{text!r} is not a date or time; write 2027-01-04 or 2027-01-04T12:00"
        raise typer.BadParameter(problem, param_hint=option) from None
    if end and len(text.strip()) <= len("2027-01-04"):
        moment += timedelta(days=1)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def _local_part(email: str | None) -> str:
    """Return the part of a colleague's address before the @."""
    return (email or "").partition("@")[0]


def _describe_state(person: StaffEntry) -> list[str]:
    away = [f"away {span.starts:%Y-%m-%d} to {span.ends:%Y-%m-%d}" for span in person.away]
    return [*([] if person.active else ["inactive"]), *away]
