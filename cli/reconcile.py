"""`casemill reconcile`: compare every source with the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json

if TYPE_CHECKING:
    from ops.reconcile.result import Gap, SourceComparison

#: Gaps and notes printed for each source.
MAX_PRINTED_LINES = 50


def reconcile(
    source: Annotated[
        str | None, typer.Argument(help="A mailbox, folder or form by its name, “workbooks”, or workbook:ITEM; else all.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Accept what is missing, as the watcher would.")] = False,
    mend: Annotated[bool, typer.Option("--mend", hidden=True, help="The old name of --repair.")] = False,
    json: Json = False,
) -> None:
    """Compare mail servers, folders, forms and workbooks with the ledger. A gap is what they have and the ledger does not.

    The exit code is 1 if a gap remains, if something is unread for more than ten minutes, or if a source cannot be reached.
    """
    from cli import console

    comparisons = list(_run_comparisons(source, repair or mend))
    if json:
        console.print_json([comparison.as_dict() for comparison in comparisons])
    else:
        _print(comparisons)
    raise typer.Exit(console.EXIT_PROBLEM if any(comparison.has_problem for comparison in comparisons) else console.EXIT_OK)


def _run_comparisons(source: str | None, repair: bool) -> Iterator[SourceComparison]:
    from cli import console
    from cli.context import open_existing_database
    from core import settings
    from ingest.parser_pool import ParserPool
    from ops.reconcile.run import Reconciler, select_sources

    loaded = settings.load()
    selection = select_sources(loaded, source)
    with ExitStack() as stack:
        pool = None
        # Parser processes start before connections and threads.
        if selection.needs_parser:
            pool = ParserPool(loaded.limits)
            stack.callback(pool.close)
        database = stack.enter_context(open_existing_database(loaded))
        reconciler = Reconciler(loaded, database, pool, repair=repair)
        for selected in selection.sources:
            with console.show_progress(selected) as progress:
                yield reconciler.run(selected, selection.since, progress)


def _print(comparisons: Sequence[SourceComparison]) -> None:
    from cli import console

    columns = [console.Column("source", no_wrap=True)]
    columns += [console.Column(name, no_wrap=True, align_right=True) for name in ("server", "ledger", "gaps", "not read yet")]
    columns.append(console.Column("repaired", no_wrap=True, align_right=True, drop_order=1))
    console.print_table(columns, [_cells(comparison) for comparison in comparisons])
    for comparison in comparisons:
        if comparison.problem is not None:
            console.print_line(f"{comparison.source}: {comparison.problem.text}", style="bold red")
        for gap in comparison.gaps[:MAX_PRINTED_LINES]:
            _print_gap(comparison, gap)
        if len(comparison.gaps) > MAX_PRINTED_LINES:
            console.print_line(f"… and {len(comparison.gaps) - MAX_PRINTED_LINES} more; --json lists all")
        for note in comparison.notes[:MAX_PRINTED_LINES]:
            console.print_line(f"{comparison.source}: {console.format_value(note)}", style="dim")
    if any(gap.code.startswith("unknown_") and not gap.is_repaired for comparison in comparisons for gap in comparison.gaps):
        console.print_line("to accept what is missing, run: casemill reconcile --repair")


def _cells(comparison: SourceComparison) -> tuple[object, ...]:
    if comparison.problem is not None:
        return comparison.source, "?", "?", "?", "?", ""
    server = "not read" if comparison.server is None else f"{comparison.server:,}"
    repaired = len(comparison.gaps) - comparison.open_gaps
    return (
        comparison.source,
        server,
        f"{comparison.ledger:,}",
        f"{comparison.open_gaps:,}",
        f"{comparison.unread:,}",
        repaired or "",
    )


def _print_gap(comparison: SourceComparison, gap: Gap) -> None:
    from cli import console

    head, style = ("repaired", "green") if gap.is_repaired else ("gap", "bold red")
    console.print_line(f"{head}: {comparison.source} {console.format_value(gap.place)}: {gap.text}", style=style)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    example = "Example: casemill reconcile support --repair"
    app.command(epilog=example, short_help="Compare every source with the ledger.")(reconcile)
