"""`casemill survey …`: the answers with their averages, what was not sent and why, and deciding against one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="The surveys after completion: answers, averages, and what was not sent and why.")

Json = Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")]
Number = Annotated[str, typer.Argument(help="The ticket's number, such as BS-000123.")]
STATES = ("waiting", "invited", "sent", "skipped", "failed", "ambiguous", "answered")


@app.command("list", epilog="Example: casemill survey list --average owner")
def list_all(
    state: Annotated[str | None, typer.Option(help=f"Only these: {', '.join(STATES)}.")] = None,
    average: Annotated[str | None, typer.Option(help="Averages in place of answers, by owner, company or month.")] = None,
    json: Json = False,
) -> None:
    """List surveys with their answers, the newest first, or averages by owner, company or month."""
    from cli import console
    from cli.context import open_database
    from surveys import queries

    if state is not None and state not in STATES:
        raise typer.BadParameter(f"{state!r} is no state; choose one of {', '.join(STATES)}")
    with console.report_errors(), open_database() as (_, database), database.read() as session:
        rows = queries.average(session, average) if average else queries.list_surveys(session, state=state)
    if json:
        console.print_json(rows)
    elif average:
        columns = [
            console.Column(average),
            console.Column("answers", align_right=True),
            console.Column("average", align_right=True),
        ]
        cells = [(row[average], row["answers"], f"{row['average']:.2f}") for row in rows]
        console.print_table(columns, cells, empty="no answers yet")
    else:
        _print_surveys(rows)


@app.command(epilog="Example: casemill survey show BS-000123")
def show(number: Number, json: Json = False) -> None:
    """Show the surveys of a ticket, one for each opening that was completed, with the whole comment."""
    from cli import console
    from cli.context import open_database
    from core.errors import NotFoundError
    from surveys import queries

    ticket_id = _ticket(number)
    with console.report_errors(), open_database() as (_, database):
        with database.read() as session:
            rows = queries.list_surveys(session, ticket_id=ticket_id)
        if not rows:
            raise NotFoundError(f"{number} has no survey", hint="there is one once a ticket is completed")
    if json:
        console.print_json(rows)
        return
    for row in rows:
        console.print_fields({name.replace("_", " "): value for name, value in row.items() if name != "reason_code"})
        console.print_line("")


@app.command(epilog="Example: casemill survey skip BS-000123 --by you@billing.example --reason 'Called already'")
def skip(
    number: Number,
    by: Annotated[str, typer.Option(help="Your email address, as on the staff list.", envvar="CASEMILL_USER")],
    reason: Annotated[str, typer.Option(help="Why; it stays on the timeline.")],
) -> None:
    """Decide against a survey that waits to be sent; the customer may then be asked about another ticket."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from core.errors import RefusedError
    from surveys import invitations

    ticket_id = _ticket(number)
    with console.report_errors(), open_database() as (_, database):

        def unit(session: Any) -> None:
            person = find_person(session, by)
            if not person.active:
                raise RefusedError("not_active", f"{person.name} is no longer active")
            invitations.skip_by_hand(session, ticket_id, reason, person.email, clock.now())

        database.transaction(unit)
    console.print_line(f"{number}: no survey is sent")


def _print_surveys(rows: list[dict[str, Any]]) -> None:
    from cli import console

    columns = [
        console.Column("ticket", no_wrap=True), console.Column("state", no_wrap=True), console.Column("score", align_right=True),
        console.Column("comment"), console.Column("owner", drop_order=1), console.Column("company", drop_order=2),
        console.Column("sent", no_wrap=True, drop_order=3), console.Column("why"),
    ]  # fmt: skip
    cells = [
        (row["ticket"], "answered" if row["score"] else row["state"], row["score"], row["comment"], row["owner"] or "nobody",
         row["company"], (row["sent_at"] or "")[:16].replace("T", " "), "" if row["state"] == "sent" else row["reason"])
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty="no surveys")


def _ticket(text: str) -> int:
    from tickets.numbers import parse_number

    ticket_id = parse_number(text)
    if ticket_id is None:
        raise typer.BadParameter(f"{text!r} is no ticket number; they look like BS-000123")
    return ticket_id
