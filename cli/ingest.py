"""`casemill ingest`, `explain` and `receipt`: take files in, or show what would happen to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json

if TYPE_CHECKING:
    from bootstrap import Services
    from core.settings import Settings
    from ingest.inspection.explain import Explanation
    from ingest.parser_pool import ParserPool
    from ingest.sources.upload import FoundFiles, UploadResult
    from ingest.uploads import UploadOutcome

KINDS = "Mail (.eml, .mbox, Maildir), forms (.json), workbooks (.xlsx, .xlsm), or folders with such files."
Paths = Annotated[list[Path], typer.Argument(help=KINDS)]
SourceName = Annotated[
    str | None, typer.Option(help="Apply the rules of this mailbox, folder or form. Default: the rules for uploads.")
]
History = Annotated[bool, typer.Option("--history", help="Old mail: create the tickets, but send customers no mail about them.")]

#: Rows in a table of one kind; --json prints all.
MAX_SHOWN_ROWS = 20


def ingest(paths: Paths, source: SourceName = None, history: History = False, json: Json = False) -> None:
    """Take in files as if they had arrived by mail, form or folder, and print the outcome of each."""
    from cli import console
    from cli.services import deliver_notices, open_services
    from ingest.sources.upload import find_files
    from ingest.uploads import read_outcomes

    found = find_files(paths)
    with open_services() as services:
        uploaded = _accept(services, found, source, history)
        left = _drain_until_settled(services, uploaded)
        with services.database.read() as session:
            outcomes = read_outcomes(session, uploaded)
        receipts = _write_receipts(services, uploaded)
        deliver_notices(services)
    if json:
        console.print_json([outcome.as_dict() for outcome in outcomes])
    else:
        _print_summary(found, outcomes, receipts, left)
    raise typer.Exit(console.EXIT_PROBLEM if left or any(outcome.is_failure for outcome in outcomes) else console.EXIT_OK)


def explain(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders, as for `casemill ingest`.")] = None,
    item: Annotated[int | None, typer.Option(help="The number of an item that has arrived, instead of files.")] = None,
    source: SourceName = None,
    json: Json = False,
) -> None:
    """Show what would happen to files, or to an item that has arrived, and why. Changes nothing; files need no database."""
    if bool(paths) == (item is not None):
        raise typer.BadParameter("give either files or --item")
    from cli import console

    wrong = False
    with _open_explanations(paths or [], item, source) as explanations:
        for explanation in explanations:
            wrong |= explanation.is_refused
            if json:
                console.print_json_line(explanation.as_dict())
            else:
                _print_explanation(explanation)
    raise typer.Exit(console.EXIT_PROBLEM if wrong else console.EXIT_OK)


# -- ingest


def _accept(services: Services, found: FoundFiles, source: str | None, history: bool) -> list[UploadResult]:
    from cli import console
    from ingest.decisions.outcome import HISTORY_KEY
    from ingest.sources.upload import Uploader, choose_source

    word, extra = choose_source(services.settings, source)
    extra |= {HISTORY_KEY: True} if history else {}
    with console.show_progress("taking in files") as move:
        return Uploader(services.database, services.settings.limits, word, extra).accept(found.files, move)


def _drain_until_settled(services: Services, uploaded: Sequence[UploadResult]) -> int:
    from cli import console
    from cli.services import drain_until
    from ingest.uploads import count_unsettled

    ids = {one.item_id for one in uploaded if one.item_id is not None}

    def left() -> int:
        with services.database.read() as session:
            return count_unsettled(session, ids)

    with console.show_progress("creating tickets") as move:
        return drain_until(services, left, move)


def _write_receipts(services: Services, uploaded: Sequence[UploadResult]) -> list[Path]:
    """Write a receipt beside each workbook. An existing receipt is kept, as it may have been edited."""
    from cli import console
    from core.errors import CasemillError
    from ingest.sources.file_archive import write_file
    from ingest.uploads import choose_receipt_path, find_expanded_workbooks
    from ingest.workbooks.expand import make_receipt

    with services.database.read() as session:
        items = find_expanded_workbooks(session, uploaded)
    written = []
    for one, item_id in items:
        try:
            content = make_receipt(services.database, services.pool, services.settings, item_id, repeated=one.is_known)
            path = choose_receipt_path(one.path)
            write_file(path, content)
            written.append(path)
        except (CasemillError, OSError) as error:
            text = error.text if isinstance(error, CasemillError) else error.strerror
            console.print_error(f"no receipt for {one.path}: {text}")
    return written


def _print_summary(found: FoundFiles, outcomes: Sequence[UploadOutcome], receipts: Sequence[Path], left: int) -> None:
    from collections import Counter

    from cli import console

    counts = Counter(outcome.disposition for outcome in outcomes)
    columns = [console.Column("disposition", no_wrap=True), console.Column("count", no_wrap=True, align_right=True)]
    console.print_table(columns, sorted(counts.items()), empty="no files to take in were found")
    _print_outcomes("problems", [outcome for outcome in outcomes if outcome.is_failure])
    _print_outcomes("already taken in before", [outcome for outcome in outcomes if outcome.disposition == "duplicate"])
    for path in receipts:
        console.print_line(f"receipt: {path}")
    if found.skipped:
        console.print_line(f"files of other kinds, not taken in: {found.skipped}", style="dim")
    if left:
        hint = "`casemill run`, or this command, tries them again"
        console.print_error(f"items without an outcome yet: {left}; {hint}")


def _print_outcomes(title: str, outcomes: Sequence[UploadOutcome]) -> None:
    from cli import console

    if not outcomes:
        return
    console.print_line("")
    console.print_line(title, style="bold")
    columns = [
        console.Column("file"),
        console.Column("disposition", no_wrap=True),
        console.Column("ticket", no_wrap=True),
        console.Column("reason"),
    ]
    rows = [(outcome.place, outcome.disposition, outcome.ticket, outcome.reason) for outcome in outcomes[:MAX_SHOWN_ROWS]]
    console.print_table(columns, rows)
    if len(outcomes) > MAX_SHOWN_ROWS:
        console.print_line(f"… and {len(outcomes) - MAX_SHOWN_ROWS} more; --json lists all")


# -- explain


@contextmanager
def _open_explanations(paths: Sequence[Path], item: int | None, source: str | None) -> Iterator[Iterator[Explanation]]:
    from cli.staff_lookup import StaffLookup
    from core import settings
    from ingest.inspection.explain import Explainer
    from ingest.parser_pool import ParserPool
    from ingest.sources.upload import choose_source, find_files

    loaded = settings.load()
    word, extra = choose_source(loaded, source)
    pool = ParserPool(loaded.limits)
    lookup = StaffLookup(loaded)
    try:
        if item is None:
            yield Explainer(loaded, pool, word, extra, lookup.find).explain_files(find_files(paths).files)
        else:
            yield iter(_explain_item(loaded, pool, item))
    finally:
        pool.close()
        lookup.close()


def _explain_item(settings: Settings, pool: ParserPool, item: int) -> list[Explanation]:
    from cli.context import open_existing_database
    from ingest.inspection.explain import Explainer

    with open_existing_database(settings) as database, database.read() as session:
        return Explainer(settings, pool).explain_item(session, item)


def _print_explanation(explanation: Explanation) -> None:
    from cli import console
    from cli.explain_output import describe

    console.print_line(explanation.path, style="bold")
    console.print_fields(describe(explanation))
    console.print_line("")


def receipt(
    item: Annotated[int, typer.Argument(help="The item number of the workbook, from `casemill ingest --json` or a ticket.")],
    to: Annotated[Path | None, typer.Option(help="The file to write. Default: item-N.receipt.xlsx in this folder.")] = None,
) -> None:
    """Write the receipt of a workbook, for example of one that came by mail: its rows with their outcomes."""
    from cli import console
    from cli.services import open_services
    from ingest.sources.file_archive import write_file
    from ingest.uploads import choose_receipt_path
    from ingest.workbooks.expand import make_receipt

    with console.report_errors(), open_services() as services:
        content = make_receipt(services.database, services.pool, services.settings, item)
        path = to or choose_receipt_path(Path(f"item-{item}.xlsx"))
        write_file(path, content)
    console.print_line(f"Receipt: {path}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    example = "Example: casemill ingest inbox.mbox practices.xlsx --source support"
    app.command(epilog=example, short_help="Take in files: mail, forms, workbooks.")(ingest)
    example = "Example: casemill explain strange-mail.eml --json"
    app.command(epilog=example, short_help="Show what would happen to files, and why.")(explain)
    example = "Example: casemill receipt 42 --to messages.receipt.xlsx"
    app.command(epilog=example, short_help="Write the receipt of a workbook.")(receipt)
