"""`casemill notice list` and `release`: automatic mail that was not sent, with the reasons, and sending it anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import By, Json, Reason, parse_ticket_number

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

notice_app = typer.Typer(
    help="Automatic mail that was not sent: list it, or send it anyway.",
    epilog="Example: casemill notice list",
    no_args_is_help=True,
)


@notice_app.command(
    "list", epilog="Example: casemill notice list --ticket BS-000123", short_help="List automatic mail that was not sent."
)
def list_notices(
    ticket: Annotated[str | None, typer.Option(help="Only this ticket, for example BS-000123.")] = None,
    json: Json = False,
) -> None:
    """List automatic mail to customers that was not sent, newest first, with the reasons."""
    from cli import console
    from cli.context import open_database
    from notify import skipped

    wanted = parse_ticket_number(ticket, option="--ticket") if ticket else None
    with console.report_errors(), open_database() as (_, database), database.read() as session:
        rows = skipped.list_skipped(session, wanted)
    if json:
        console.print_json(rows)
        return
    columns = [
        console.Column("notice", no_wrap=True, align_right=True),
        console.Column("ticket", no_wrap=True),
        console.Column("mailing", drop_order=1),
        console.Column("to"),
        console.Column("reason"),
    ]
    cells = [(row["notice"], row["ticket"], row["mailing"].replace("_", " "), row["recipient"], row["reason"]) for row in rows]
    console.print_table(columns, cells, empty="no automatic mail was held back")


@notice_app.command(
    "release", epilog="Example: casemill notice release 812 --by you@billing.example --reason 'Known by telephone'"
)
def release(
    notice: Annotated[int, typer.Argument(help="The number in the first column of `casemill notice list`.")],
    by: By,
    reason: Reason,
) -> None:
    """Send a notice that was held back, even though a limit is reached or the sender is not verified."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from notify import skipped
    from tickets.numbers import format_number

    with console.report_errors(), open_database() as (_, database):

        def unit(session: Session) -> int:
            return skipped.send_anyway(session, notice, find_person(session, by), reason, clock.now())

        ticket_id = database.transaction(unit)
    console.print_line(f"{format_number(ticket_id)}: notice {notice} is queued; `casemill run` or the workers send it")
