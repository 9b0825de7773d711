"""`casemill quarantine`: the items that could not be read, another try for them, or giving them up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

app = typer.Typer(
    help="The items that were set aside: list, show, retry, discard.",
    epilog="Example: casemill quarantine list",
    no_args_is_help=True,
)

Item = Annotated[int, typer.Argument(help="The item's number, as in `casemill quarantine list`.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")]
Actor = Annotated[str | None, typer.Option("--by", help="Who does it; else the name of the account that runs the command.")]


@app.command("list", epilog="Example: casemill quarantine list", short_help="List what was set aside.")
def list_items(json: Json = False) -> None:
    """List what was set aside: when it came, from where, why, and after how many attempts."""
    from cli import console
    from ingest.ledger import quarantine

    rows = _read(quarantine.list_items)
    if json:
        console.print_json(rows)
        return
    columns = [
        console.Column("item", no_wrap=True, align_right=True), console.Column("received", no_wrap=True),
        console.Column("source", drop_order=1), console.Column("kind", no_wrap=True, drop_order=2), console.Column("ticket", no_wrap=True),
        console.Column("tries", no_wrap=True, align_right=True, drop_order=3), console.Column("reason"),
    ]  # fmt: skip
    cells = [
        (row["item"], row["received_at"][:16].replace("T", " "), row["source"], row["kind"], row["ticket"], row["attempts"],
         row["reason"])
        for row in rows
    ]  # fmt: skip
    console.print_table(columns, cells, empty="nothing is set aside")


@app.command("show", epilog="Example: casemill quarantine show 17 --raw > item-17.eml", short_help="Show one item.")
def show_item(
    item: Item,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes as they came; made safe to look at on a terminal.")] = False,
    json: Json = False,
) -> None:
    """Show one item: why it was set aside, where it was seen, and with --raw its source."""
    from cli import console
    from ingest.ledger import quarantine

    if raw:
        _write_raw(_read(lambda session: quarantine.read_source(session, item)))
        return
    facts: dict[str, Any] = _read(lambda session: quarantine.show(session, item))
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
    item: Annotated[int | None, typer.Argument(help="The item's number.")] = None,
    all_items: Annotated[bool, typer.Option("--all", help="Everything that is set aside.")] = False,
    by: Actor = None,
) -> None:
    """Let items be read again, such as after an update or with a larger limit."""
    if (item is None) != all_items:
        raise typer.BadParameter("give one item, or --all")
    from cli import console
    from core import clock
    from ingest.ledger import quarantine

    def unit(session: Session) -> list[int]:
        if item is None:
            return quarantine.retry_all(session, by or _account_name(), clock.now())
        quarantine.retry(session, item, by or _account_name(), clock.now())
        return [item]

    retried: list[int] = _write(unit)
    if not retried:
        console.print_line("nothing is set aside")
        return
    console.print_line(f"to be read again by `casemill run` or the workers: {', '.join(map(str, retried))}")


@app.command(
    "discard",
    epilog="Example: casemill quarantine discard 17 --reason 'a broken fax, sent again since'",
    short_help="Give an item up for good.",
)
def discard_item(
    item: Item, reason: Annotated[str, typer.Option(help="Why nothing is lost by it; kept with the item.")], by: Actor = None
) -> None:
    """Give an item up for good; it stays on record as rejected, with the reason and who decided."""
    if not reason.strip():
        raise typer.BadParameter("the reason is empty", param_hint="--reason")
    from cli import console
    from core import clock
    from ingest.ledger import quarantine

    _write(lambda session: quarantine.discard(session, item, reason.strip(), by or _account_name(), clock.now()))
    console.print_line(f"item {item}: discarded")


def _write_raw(content: bytes) -> None:
    """Exact bytes into a file or pipe; on a terminal without anything that could move the cursor or do worse."""
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


def _read(query: Any) -> Any:
    from cli.services import open_existing_database
    from core import settings

    with open_existing_database(settings.load()) as database, database.read() as session:
        return query(session)


def _write(unit: Any) -> Any:
    from cli.services import open_existing_database
    from core import settings

    with open_existing_database(settings.load()) as database:
        return database.transaction(unit)
