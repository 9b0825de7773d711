"""`casemill contact block`, `unblock` and `blocks`: addresses and domains that get no automatic mail, or no surveys."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import Json

Target = Annotated[str, typer.Argument(help="An email address, or a whole domain written as @practice.example.")]
Scope = Annotated[str | None, typer.Option(help="Remove only the block for: automatic or surveys. Default: both.")]


def block(
    address: Target,
    reason: Annotated[str, typer.Option(help="The reason. It is shown in the list of blocks.")],
    days: Annotated[int | None, typer.Option(min=1, help="End the block after this many days. Default: it has no end.")] = None,
    scope: Annotated[
        str, typer.Option(help="What is not sent. automatic: all automatic mail; surveys: surveys only.")
    ] = "automatic",
) -> None:
    """Send no automatic mail to an address, or to every address of a domain."""
    from datetime import timedelta

    from accounts import suppressions
    from cli import console
    from cli.context import open_database
    from core import clock
    from core.reasons import Reason

    if not reason.strip():
        raise typer.BadParameter("the reason is empty", param_hint="--reason")
    with console.report_errors(), open_database() as (_, database):
        name, kind, now = suppressions.parse_target(address), _parse_scope(scope), clock.now()
        until = now + timedelta(days=days) if days else None
        wanted = suppressions.Block(name, kind, Reason("never_answer", reason.strip()), until)
        database.transaction(lambda session: suppressions.block(session, [wanted], now))
    console.print_line(f"{name}: blocked {f'until {until:%Y-%m-%d}' if until else 'without an end date'}")


def unblock(address: Target, scope: Scope = None) -> None:
    """Remove a block, for example after a customer has emptied a full mailbox."""
    from accounts import suppressions
    from cli import console
    from cli.context import open_database

    kind = _parse_scope(scope) if scope else None
    with console.report_errors(), open_database() as (_, database):
        database.transaction(lambda session: suppressions.lift(session, address, kind))
    console.print_line(f"{address.strip()}: no longer blocked")


def blocks(json: Json = False) -> None:
    """List the blocked addresses and domains with reason and end date."""
    from accounts import suppressions
    from cli import console
    from cli.context import open_database
    from core import clock

    with console.report_errors(), open_database() as (_, database), database.read() as session:
        rows = suppressions.list_blocks(session, clock.now())
    if json:
        console.print_json(rows)
        return
    columns = [
        console.Column("address", no_wrap=True),
        console.Column("scope", no_wrap=True),
        console.Column("until", no_wrap=True),
        console.Column("reason"),
    ]
    cells = [(row["address"], row["scope"], (row["until"] or "no end date")[:11], row["reason"]) for row in rows]
    console.print_table(columns, cells, empty="no address is blocked")


def _parse_scope(text: str) -> str:
    from accounts.suppressions import SCOPES

    if text not in SCOPES:
        raise typer.BadParameter(f"{text!r} is not a scope; choose one of: {', '.join(SCOPES)}", param_hint="--scope")
    return text


def register(contact_app: typer.Typer) -> None:
    """Add the commands of this module to `casemill contact`."""
    example = "Example: casemill contact block robot@lab.example --reason 'answers everything'"
    contact_app.command("block", epilog=example, short_help="Send no automatic mail to an address or domain.")(block)
    contact_app.command("unblock", epilog="Example: casemill contact unblock dana@lakeside.example")(unblock)
    contact_app.command(
        "blocks", epilog="Example: casemill contact blocks", short_help="List the blocked addresses and domains."
    )(blocks)
