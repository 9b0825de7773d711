"""`casemill notice list` and `release`: what was not sent and why, and sending it all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

notice_app = typer.Typer(
    help="Notices that were not sent: list them, let one go.", epilog="Example: casemill notice list", no_args_is_help=True
)


@notice_app.command("list", epilog="Example: casemill notice list --ticket BS-000123", short_help="List what was not sent.")
def list_notices(
    ticket: Annotated[str | None, typer.Option(help="Only of this ticket.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")] = False,
) -> None:
    """List the notices to customers that were not sent, the newest first, each with its reason."""
    from cli import console
    from cli.context import open_database
    from notify import skipped
    from tickets.numbers import parse_number

    wanted = parse_number(ticket) if ticket else None
    if ticket and wanted is None:
        raise typer.BadParameter(f"{ticket!r} is no ticket number; they look like BS-000123", param_hint="--ticket")
    with console.report_errors(), open_database() as (_, database), database.read() as session:
        rows = skipped.list_skipped(session, wanted)
    if json:
        console.print_json(rows)
        return
    columns = [
        console.Column("notice", no_wrap=True, align_right=True), console.Column("ticket", no_wrap=True), console.Column("what", drop_order=1),
        console.Column("to"), console.Column("why"),
    ]  # fmt: skip
    cells = [(row["notice"], row["ticket"], row["mailing"].replace("_", " "), row["recipient"], row["reason"]) for row in rows]
    console.print_table(columns, cells, empty="every notice was sent")


@notice_app.command(
    "release", epilog="Example: casemill notice release 812 --by you@billing.example --reason 'Known by telephone'"
)
def release(
    notice: Annotated[int, typer.Argument(help="The notice's number, as in `casemill notice list`.")],
    by: Annotated[str, typer.Option(help="Your email address, as on the staff list.", envvar="CASEMILL_USER")],
    reason: Annotated[str, typer.Option(help="Why; it stays on the timeline.")],
) -> None:
    """Send a notice that was not sent, past the limits and though the sender is not verified."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from notify import skipped
    from tickets.numbers import format_number

    with console.report_errors(), open_database() as (_, database):

        def unit(session: Session) -> int:
            return skipped.release(session, notice, find_person(session, by), reason, clock.now())

        ticket_id = database.transaction(unit)
    console.print_line(f"{format_number(ticket_id)}: notice {notice} goes out with `casemill run` or the workers")
