"""`casemill reconcile`: every source held against the ledger, gap by gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ops.reconcile.result import Gap, SourceComparison

SHOWN = 50


def reconcile(
    source: Annotated[
        str | None, typer.Argument(help="A mailbox, folder or form by its name, “workbooks”, or workbook:ITEM; else all.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Take in what is missing, as its watcher would have.")] = False,
    mend: Annotated[bool, typer.Option("--mend", hidden=True, help="The old name of --repair.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")] = False,
) -> None:
    """Hold mail servers, folders and workbooks against the ledger: what they have and the ledger has not is a gap.

    Ends with 1 when a gap stays, when something waits for more than ten minutes, or when a source cannot be reached.
    """
    from cli import console

    balances = list(_balances(source, repair or mend))
    if json:
        console.print_json([balance.as_dict() for balance in balances])
    else:
        _print(balances)
    raise typer.Exit(console.FOUND_WRONG if any(balance.is_wrong for balance in balances) else console.DONE)


def _balances(source: str | None, repair: bool) -> Iterator[SourceComparison]:
    from cli import console
    from cli.services import open_existing
    from core import settings
    from ingest.parser_pool import ParserPool
    from ops.reconcile.run import Reconciler, choose

    loaded = settings.load()
    choice = choose(loaded, source)
    with ExitStack() as stack:
        pool = None
        if choice.needs_parser:  # the children come first, before connections and threads
            pool = ParserPool(loaded.limits)
            stack.callback(pool.close)
        database = stack.enter_context(open_existing(loaded))
        reconciler = Reconciler(loaded, database, pool, repair=repair)
        for word in choice.words:
            with console.progress(word) as move:
                yield reconciler.run(word, choice.since, move)


def _print(balances: Sequence[SourceComparison]) -> None:
    from cli import console

    columns = [
        console.Column("source", whole=True), console.Column("server", whole=True, right=True),
        console.Column("ledger", whole=True, right=True), console.Column("gaps", whole=True, right=True),
        console.Column("not read yet", whole=True, right=True), console.Column("repaired", whole=True, right=True, extra=1),
    ]  # fmt: skip
    console.print_table(columns, [_cells(balance) for balance in balances])
    for balance in balances:
        if balance.problem is not None:
            console.print_line(f"{balance.source}: {balance.problem.text}", style="bold red")
        for gap in balance.gaps[:SHOWN]:
            _print_gap(balance, gap)
        if len(balance.gaps) > SHOWN:
            console.print_line(f"… and {len(balance.gaps) - SHOWN} more; --json lists all")
        for note in balance.notes[:SHOWN]:
            console.print_line(f"{balance.source}: {console.clean(note)}", style="dim")
    if any(gap.code.startswith("unknown_") and not gap.repaired for balance in balances for gap in balance.gaps):
        console.print_line("to take in what is missing: casemill reconcile --repair")


def _cells(balance: SourceComparison) -> tuple[object, ...]:
    if balance.problem is not None:
        return balance.source, "?", "?", "?", "?", ""
    server = "not asked" if balance.server is None else f"{balance.server:,}"
    repaired = len(balance.gaps) - balance.open_gaps
    return balance.source, server, f"{balance.ledger:,}", f"{balance.open_gaps:,}", f"{balance.unread:,}", repaired or ""


def _print_gap(balance: SourceComparison, gap: Gap) -> None:
    from cli import console

    head, style = ("repaired", "green") if gap.repaired else ("gap", "bold red")
    console.print_line(f"{head}: {balance.source} {console.clean(gap.place)}: {gap.text}", style=style)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    example = "Example: casemill reconcile support --repair"
    app.command(epilog=example, short_help="Hold every source against the ledger.")(reconcile)
