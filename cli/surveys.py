"""`casemill survey …`: answers and averages, surveys that were not sent with the reasons, and cancelling one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import By, Json, Reason, TicketNumber, parse_ticket_number

app = typer.Typer(no_args_is_help=True, help="Surveys after completion: answers, averages, and surveys that were not sent.")

STATES = ("waiting", "invited", "sent", "skipped", "failed", "ambiguous", "answered")


@app.command("list", epilog="Example: casemill survey list --average owner")
def list_all(
    state: Annotated[str | None, typer.Option(help=f"Only surveys in this state: {', '.join(STATES)}.")] = None,
    average: Annotated[str | None, typer.Option(help="Show average scores instead, by: owner, company or month.")] = None,
    json: Json = False,
) -> None:
    """List surveys with their answers, newest first, or average scores by owner, company or month."""
    from cli import console
    from cli.context import open_database
    from surveys import queries

    if state is not None and state not in STATES:
        raise typer.BadParameter(f"{state!r} is not a state; choose one of: {', '.join(STATES)}")
    with console.report_errors(), open_database() as (_, database), database.read() as session:
        rows = queries.average_scores(session, average) if average else queries.list_surveys(session, state=state)
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
def show(number: TicketNumber, json: Json = False) -> None:
    """Show the surveys of a ticket with the full comments: one for each time the ticket was completed."""
    from cli import console
    from cli.context import open_database
    from core.errors import NotFoundError
    from surveys import queries

    ticket_id = parse_ticket_number(number)
    with console.report_errors(), open_database() as (_, database):
        with database.read() as session:
            rows = queries.list_surveys(session, ticket_id=ticket_id)
        if not rows:
            raise NotFoundError(f"{number} has no survey", hint="a survey is planned when the ticket is completed")
    if json:
        console.print_json(rows)
        return
    for row in rows:
        console.print_fields({name.replace("_", " "): value for name, value in row.items() if name != "reason_code"})
        console.print_line("")


@app.command(epilog="Example: casemill survey skip BS-000123 --by you@billing.example --reason 'Called already'")
def skip(
    number: TicketNumber,
    by: By,
    reason: Reason,
) -> None:
    """Cancel a survey that waits to be sent. The customer can then be asked about another ticket."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from core.errors import RefusedError
    from surveys import invitations

    ticket_id = parse_ticket_number(number)
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
        console.Column("ticket", no_wrap=True),
        console.Column("state", no_wrap=True),
        console.Column("score", align_right=True),
        console.Column("comment"),
        console.Column("owner", drop_order=1),
        console.Column("company", drop_order=2),
        console.Column("sent", no_wrap=True, drop_order=3),
        console.Column("reason"),
    ]
    cells = [
        (row["ticket"], "answered" if row["score"] else row["state"], row["score"], row["comment"], row["owner"] or "unassigned",
         row["company"], (row["sent_at"] or "")[:16].replace("T", " "), "" if row["state"] == "sent" else row["reason"])
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty="no surveys")
