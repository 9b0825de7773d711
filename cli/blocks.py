"""`casemill contact block`, `unblock` and `blocks`: who gets no automatic mail, or no surveys, and lifting that."""

from __future__ import annotations

from typing import Annotated

import typer

Target = Annotated[str, typer.Argument(help="An email address, or a whole domain as @practice.example.")]
Scope = Annotated[str | None, typer.Option(help="automatic or surveys; both when left out.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")]


def block(
    address: Target,
    reason: Annotated[str, typer.Option(help="Why; it stays with the block.")],
    days: Annotated[int | None, typer.Option(min=1, help="For so many days; until it is lifted when left out.")] = None,
    scope: Annotated[str, typer.Option(help="automatic: everything no person wrote; surveys: only those.")] = "automatic",
) -> None:
    """Never answer an address, or everybody of a domain, from now on."""
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
    console.print_line(f"{name}: blocked {f'until {until:%Y-%m-%d}' if until else 'until it is lifted'}")


def unblock(address: Target, scope: Scope = None) -> None:
    """Let an address get mail again, such as after a full mailbox was emptied."""
    from accounts import suppressions
    from cli import console
    from cli.context import open_database

    kind = _parse_scope(scope) if scope else None
    with console.report_errors(), open_database() as (_, database):
        database.transaction(lambda session: suppressions.lift(session, address, kind))
    console.print_line(f"{address.strip()}: no longer blocked")


def blocks(json: Json = False) -> None:
    """List who is blocked, why, and until when."""
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
        console.Column("address", no_wrap=True), console.Column("from", no_wrap=True), console.Column("until", no_wrap=True),
        console.Column("why"),
    ]  # fmt: skip
    cells = [(row["address"], row["scope"], (row["until"] or "lifted")[:10], row["reason"]) for row in rows]
    console.print_table(columns, cells, empty="nobody is blocked")


def _parse_scope(text: str) -> str:
    from accounts.suppressions import SCOPES

    if text not in SCOPES:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(SCOPES)}", param_hint="--scope")
    return text


def register(contact_app: typer.Typer) -> None:
    """Add the commands of this module to `casemill contact`."""
    example = "Example: casemill contact block robot@lab.example --reason 'answers everything'"
    contact_app.command("block", epilog=example, short_help="Never answer an address or a domain.")(block)
    contact_app.command("unblock", epilog="Example: casemill contact unblock dana@lakeside.example")(unblock)
    contact_app.command("blocks", epilog="Example: casemill contact blocks", short_help="List who is blocked.")(blocks)
