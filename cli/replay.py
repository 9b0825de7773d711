"""`casemill replay`: what the rules in force would make of items that arrived earlier."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ingest.inspection.replay import Difference, ReplayCounts

#: How many differences are shown to people.
MAX_SHOWN_ROWS = 50


def replay(
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="From when on; in UTC.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look; it must be given, since nothing else is done.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")] = False,
) -> None:
    """Read the kept originals again by the rules in force, and tell of which items something else would become."""
    if not dry_run:
        raise typer.BadParameter("items keep what became of them: give --dry-run to look", param_hint="--dry-run")
    from cli import console
    from cli.services import open_existing_database
    from core import settings
    from ingest.inspection import replay as replaying
    from ingest.inspection.explain import Explainer
    from ingest.parser_pool import ParserPool

    loaded, tally = settings.load(), replaying.ReplayCounts()
    differences: list[Difference] = []
    with console.report_errors(), open_existing_database(loaded) as database:
        pool = ParserPool(loaded.limits)
        try:
            for difference in replaying.replay(database, Explainer(loaded, pool), since.replace(tzinfo=UTC), tally):
                if json:
                    console.print_json_line(difference.as_dict())
                differences.append(difference)
        finally:
            pool.close()
    if not json:
        _print_differences(differences, tally)


def _print_differences(differences: list[Difference], tally: ReplayCounts) -> None:
    from cli import console

    columns = [
        console.Column("item", no_wrap=True, align_right=True), console.Column("received", no_wrap=True), console.Column("source", drop_order=1),
        console.Column("was", no_wrap=True), console.Column("would be", no_wrap=True), console.Column("because"),
    ]  # fmt: skip
    cells = [
        (one.item, f"{one.received_at:%Y-%m-%d %H:%M}", one.source, one.was, one.would_be, one.because)
        for one in differences[:MAX_SHOWN_ROWS]
    ]
    console.print_table(columns, cells, empty="nothing would differ")
    if len(differences) > MAX_SHOWN_ROWS:
        console.print_line(f"… and {len(differences) - MAX_SHOWN_ROWS} more; --json lists all")
    gone = f"; originals no longer kept: {tally.gone}" if tally.gone else ""
    console.print_line(f"items looked at: {tally.looked_at}{gone}", style="dim")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    example = "Example: casemill replay --since 2026-11-01 --dry-run"
    app.command(epilog=example, short_help="What changed rules would make of earlier items.")(replay)
