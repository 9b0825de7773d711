"""`casemill replay`: what the current rules would do with items that arrived earlier."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json

if TYPE_CHECKING:
    from ingest.inspection.replay import ReplayCounts, ReplayDifference

#: Rows in the table; --json prints all.
MAX_SHOWN_ROWS = 50


def replay(
    since: Annotated[datetime, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="Start at this day or minute, UTC.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Required: this command only reports.")] = False,
    json: Json = False,
) -> None:
    """Apply the current rules to the stored originals and list the items that would have another outcome. Changes nothing."""
    if not dry_run:
        raise typer.BadParameter(
            "replay does not change items that are done; add --dry-run to see what would differ", param_hint="--dry-run"
        )
    from cli import console
    from cli.context import open_existing_database
    from core import settings
    from ingest.inspection import replay as replaying
    from ingest.inspection.explain import Explainer
    from ingest.parser_pool import ParserPool

    loaded, counts = settings.load(), replaying.ReplayCounts()
    differences: list[ReplayDifference] = []
    with console.report_errors(), open_existing_database(loaded) as database:
        pool = ParserPool(loaded.limits)
        try:
            for difference in replaying.replay(database, Explainer(loaded, pool), since.replace(tzinfo=UTC), counts):
                if json:
                    console.print_json_line(difference.as_dict())
                differences.append(difference)
        finally:
            pool.close()
    if not json:
        _print_differences(differences, counts)


def _print_differences(differences: list[ReplayDifference], counts: ReplayCounts) -> None:
    from cli import console

    columns = [
        console.Column("item", no_wrap=True, align_right=True),
        console.Column("received", no_wrap=True),
        console.Column("source", drop_order=1),
        console.Column("was", no_wrap=True),
        console.Column("would be", no_wrap=True),
        console.Column("reason"),
    ]
    cells = [
        (one.item, f"{one.received_at:%Y-%m-%d %H:%M}", one.source, one.was, one.would_be, one.because)
        for one in differences[:MAX_SHOWN_ROWS]
    ]
    console.print_table(columns, cells, empty="no item would have another outcome")
    if len(differences) > MAX_SHOWN_ROWS:
        console.print_line(f"… and {len(differences) - MAX_SHOWN_ROWS} more; --json lists all")
    gone = f"; originals no longer stored: {counts.missing}" if counts.missing else ""
    console.print_line(f"items checked: {counts.checked}{gone}", style="dim")


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    example = "Example: casemill replay --since 2026-11-01 --dry-run"
    app.command(epilog=example, short_help="Show what changed rules would do with earlier items.")(replay)
