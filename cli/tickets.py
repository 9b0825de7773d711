"""`casemill tickets` and `casemill ticket show` and `new`: list tickets by view, show one, enter one by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import query_existing_database
from cli.options import Json, format_minute

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from tickets.submission import Submission

ticket_app = typer.Typer(
    help="One ticket: show, enter, change, reply.", epilog="Example: casemill ticket show BS-000123", no_args_is_help=True
)


EXAMPLE = "Example: casemill ticket new --owner mara.lind@billing.example --name 'Lee Moss' --description 'Claim 88 was denied'"
DEFAULT_LIMIT = 50
NO_LIMIT = 2**31 - 1


def list_tickets(
    view: Annotated[
        str, typer.Option(help="unassigned, open, mine, today, overdue, audit, matches (possible duplicates), completed or all.")
    ] = "all",
    source: Annotated[
        str | None, typer.Option(help="Only tickets from: email, formstack, secure_message, portal or phone.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Your email address, for the views mine and today.", envvar="CASEMILL_USER")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The largest number to show. Default: 50, with --json all.")] = None,
    json: Json = False,
) -> None:
    """List the tickets of a view, newest first."""
    from accounts.directory import find_person
    from cli import console
    from core import clock
    from tickets import queries
    from tickets.deadlines import day_after

    name, kind = _parse_view(view), _parse_source(source)
    most = limit or (NO_LIMIT if json else DEFAULT_LIMIT)
    if name == "mine" and not by:
        raise typer.BadParameter("the view mine needs your email address: give --by, or set CASEMILL_USER", param_hint="--view")

    def read(session: Session) -> list[dict[str, Any]]:
        person, now = find_person(session, by) if by else None, clock.now()
        ends = day_after(now, person.zone) if person else None
        mine = person.id if person else None
        return queries.list_tickets(session, name, now, limit=most, source=kind, day_ends=ends, person_id=mine)

    rows: list[dict[str, Any]] = query_existing_database(read)
    if json:
        console.print_json(rows)
        return
    _print_tickets(rows, empty=f"no tickets in the view “{queries.VIEWS[name][0]}”")
    if limit is None and len(rows) == DEFAULT_LIMIT:
        console.print_line(f"only the newest {DEFAULT_LIMIT} are shown; use --limit for more", style="dim")


def _print_tickets(rows: list[dict[str, Any]], *, empty: str) -> None:
    from cli import console

    columns = [
        console.Column("number", no_wrap=True),
        console.Column("source", no_wrap=True, drop_order=2),
        console.Column("stage", no_wrap=True),
        console.Column("owner"),
        console.Column("company", drop_order=1),
        console.Column("requester"),
        console.Column("created", no_wrap=True, drop_order=3),
    ]
    cells = [
        (row["number"], row["source"], row["stage"], _describe_owner(row), row["company"], row["requester"],
         format_minute(row["created_at"]))
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty=empty)


@ticket_app.command("show", epilog="Example: casemill ticket show BS-000123", short_help="Show a ticket with its reasons.")
def show_ticket(
    number: Annotated[str, typer.Argument(help="The ticket number: BS-000123 or 123.")],
    full: Annotated[bool, typer.Option("--full", help="Show quoted text and signatures of messages too.")] = False,
    json: Json = False,
) -> None:
    """Show a ticket: fields, missing information, people, tasks, files, and the timeline with the reasons.

    Quoted text and signatures of messages are left out unless you add --full.
    """
    from cli import console
    from cli.ticket_page import print_ticket
    from core.errors import NotFoundError
    from tickets import queries
    from tickets.numbers import parse_number

    ticket_id = parse_number(number)
    ticket = query_existing_database(lambda session: queries.show(session, ticket_id)) if ticket_id else None
    if ticket is None:
        raise NotFoundError(f"there is no ticket {number}", hint="list the tickets with `casemill tickets`")
    if json:
        console.print_json(ticket)
    else:
        print_ticket(ticket, full=full)


@ticket_app.command("new", epilog=EXAMPLE, short_help="Enter a ticket by hand.")
def new_ticket(
    owner: Annotated[str | None, typer.Option(help="Your email address; you become the owner.")] = None,
    company: Annotated[str | None, typer.Option(help="The company's name, as in the directory.")] = None,
    email: Annotated[str | None, typer.Option(help="The requester's email address.")] = None,
    name: Annotated[str | None, typer.Option(help="The requester's name.")] = None,
    phone: Annotated[str | None, typer.Option(help="The requester's telephone number.")] = None,
    description: Annotated[str | None, typer.Option(help="What the customer needs.")] = None,
    contact: Annotated[list[str] | None, typer.Option(help="Email address of another contact; repeat for more.")] = None,
    category: Annotated[str, typer.Option(help="The category, for example Claims.")] = "",
    issue: Annotated[str, typer.Option(help="The issue within the category.")] = "",
    detail: Annotated[str, typer.Option(help="The detail of the issue.")] = "",
    prefers: Annotated[str, typer.Option(help="The requester's preferred contact method: email or phone.")] = "email",
    attach: Annotated[list[Path] | None, typer.Option(help="A file to attach; repeat for more.")] = None,
    not_on_company_timeline: Annotated[
        bool, typer.Option("--not-on-company-timeline", help="Do not show this ticket on the company's timeline.")
    ] = False,
    not_on_contact_timeline: Annotated[
        bool, typer.Option("--not-on-contact-timeline", help="Do not show this ticket on the contact's timeline.")
    ] = False,
    json: Json = False,
) -> None:
    """Enter a ticket by hand, for example after a telephone call. On a terminal you are asked for missing values."""
    from cli.ticket_form import prompt_for_missing, read_attachment
    from core import clock
    from tickets.manual_entry import ManualEntry, to_submission

    entered = ManualEntry(
        owner or "", company or "", email or "", name or "", phone or "", description or "", tuple(contact or ()), category,
        issue, detail, prefers, tuple(map(read_attachment, attach or ())),
        not not_on_company_timeline, not not_on_contact_timeline,
    )  # fmt: skip
    if sys.stdin.isatty():
        entered = prompt_for_missing(entered)
    _create(to_submission(entered, clock.now()), json)


def _create(submission: Submission, json: bool) -> None:
    from cli import console
    from cli.services import deliver_notices, open_services
    from core import clock
    from tickets import manual_entry, queries

    with open_services() as services:
        ticket_id = services.database.transaction(
            lambda session: manual_entry.create(session, submission, services.settings, clock.now())
        )
        deliver_notices(services)
        with services.database.read() as session:
            ticket = queries.show(session, ticket_id)
    if json or ticket is None:
        console.print_json(ticket)
        return
    console.print_line(f"{ticket['number']} {ticket['name']}: owned by {ticket['owner']}")
    for missing in ticket["missing"]:
        console.print_line(f"missing: {missing}", style="yellow")


def _describe_owner(row: dict[str, Any]) -> str:
    return f"{row['owner']} (away)" if row["owner_away"] else row["owner"] or "unassigned"


def _parse_view(text: str) -> str:
    from tickets.queries import VIEWS

    wanted = text.strip().casefold()
    for name, (title, _) in VIEWS.items():
        if wanted in (name, title.casefold()):
            return name
    raise typer.BadParameter(f"{text!r} is not a view; choose one of: {', '.join(VIEWS)}", param_hint="--view")


def _parse_source(text: str | None) -> str | None:
    from tickets.submission import TicketSource

    if text is None:
        return None
    wanted = text.strip().casefold().replace(" ", "_").replace("-", "_")
    if wanted not in [str(source) for source in TicketSource]:
        raise typer.BadParameter(f"{text!r} is not a source; choose one of: {', '.join(TicketSource)}", param_hint="--source")
    return wanted


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("tickets", epilog="Example: casemill tickets --view unassigned")(list_tickets)
    app.add_typer(ticket_app, name="ticket")
