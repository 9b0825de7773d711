"""`casemill quarantine`: items that could not be read: list, show, retry, discard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import change_existing_database, query_existing_database
from cli.options import Json

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(
    help="Items that could not be read: list, show, retry, discard.",
    epilog="Example: casemill quarantine list",
    no_args_is_help=True,
)

Item = Annotated[int, typer.Argument(help="The number in the first column of `casemill quarantine list`.")]
Actor = Annotated[
    str | None, typer.Option("--by", help="Your name for the record. Default: the name of your account on this machine.")
]


@app.command("list", epilog="Example: casemill quarantine list", short_help="List the items in quarantine.")
def list_items(json: Json = False) -> None:
    """List the items in quarantine: when and where they arrived, the reason, and the number of attempts."""
    from cli import console
    from ingest.ledger import quarantine

    rows = query_existing_database(quarantine.list_items)
    if json:
        console.print_json(rows)
        return
    columns = [
        console.Column("item", no_wrap=True, align_right=True),
        console.Column("received", no_wrap=True),
        console.Column("source", drop_order=1),
        console.Column("kind", no_wrap=True, drop_order=2),
        console.Column("ticket", no_wrap=True),
        console.Column("tries", no_wrap=True, align_right=True, drop_order=3),
        console.Column("reason"),
    ]
    cells = [
        (row["item"], row["received_at"][:16].replace("T", " "), row["source"], row["kind"], row["ticket"], row["attempts"],
         row["reason"])
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty="the quarantine is empty")


@app.command("show", epilog="Example: casemill quarantine show 17 --raw > item-17.eml", short_help="Show one item.")
def show_item(
    item: Item,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the original bytes; on a terminal without control characters.")
    ] = False,
    json: Json = False,
) -> None:
    """Show one item: why it is in quarantine and where it was seen; with --raw its original bytes."""
    from cli import console
    from ingest.ledger import quarantine

    if raw:
        _write_raw(query_existing_database(lambda session: quarantine.read_source(session, item)))
        return
    facts: dict[str, Any] = query_existing_database(lambda session: quarantine.show(session, item))
    if json:
        console.print_json(facts)
        return
    seen = facts.pop("seen")
    console.print_fields({name.replace("_", " "): value for name, value in facts.items()})
    columns = [console.Column("seen in", no_wrap=True), console.Column("at", no_wrap=True), console.Column("place")]
    console.print_line("")
    console.print_table(columns, [(one["source"], one["at"][:16].replace("T", " "), one["place"]) for one in seen])


@app.command("retry", epilog="Example: casemill quarantine retry --all")
def retry_items(
    item: Annotated[int | None, typer.Argument(help="The item's number. Give this or --all.")] = None,
    all_items: Annotated[bool, typer.Option("--all", help="All items in quarantine.")] = False,
    by: Actor = None,
) -> None:
    """Read items again, for example after an update or with a larger limit."""
    if (item is None) != all_items:
        raise typer.BadParameter("give the number of an item, or --all")
    from cli import console
    from core import clock
    from ingest.ledger import quarantine

    def unit(session: Session) -> list[int]:
        if item is None:
            return quarantine.retry_all(session, by or _account_name(), clock.now())
        quarantine.retry(session, item, by or _account_name(), clock.now())
        return [item]

    retried: list[int] = change_existing_database(unit)
    if not retried:
        console.print_line("the quarantine is empty")
        return
    console.print_line(f"queued, to be read again by `casemill run` or the workers: {', '.join(map(str, retried))}")


@app.command(
    "discard",
    epilog="Example: casemill quarantine discard 17 --reason 'a broken fax, sent again since'",
    short_help="Discard an item for good.",
)
def discard_item(
    item: Item, reason: Annotated[str, typer.Option(help="The reason. It is stored with the item.")], by: Actor = None
) -> None:
    """Discard an item for good. It stays on record as rejected, with the reason and your name."""
    if not reason.strip():
        raise typer.BadParameter("the reason is empty", param_hint="--reason")
    from cli import console
    from core import clock
    from ingest.ledger import quarantine

    change_existing_database(
        lambda session: quarantine.discard(session, item, reason.strip(), by or _account_name(), clock.now())
    )
    console.print_line(f"item {item}: discarded")


def _write_raw(content: bytes) -> None:
    """Write the exact bytes into a file or pipe; on a terminal replace control characters, which could change its state."""
    import sys
    import unicodedata

    if not sys.stdout.isatty():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    for line in content.decode("utf-8", "backslashreplace").splitlines():
        safe = "".join(c if c == "\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"\\x{ord(c):02x}" for c in line)
        sys.stdout.write(safe + "\n")


def _account_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "the command line"
