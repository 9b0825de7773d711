"""`casemill init`, `migrate` and `doctor`: setting up, bringing the database up to date, and finding out what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cli.doctor.run import Finding

Json = Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")]

CONFIG_NAME = "casemill.toml"


def init(
    admin_name: Annotated[str | None, typer.Option(help="Full name of the first administrator.")] = None,
    admin_email: Annotated[str | None, typer.Option(help="Email address of the first administrator.")] = None,
) -> None:
    """Write a commented casemill.toml, make the database, and enter the first administrator. Overwrites nothing."""
    from cli.console import print_line

    path = Path(os.environ.get("CASEMILL_CONFIG") or CONFIG_NAME)
    print_line(f"{path}: {_write_config(path)}")
    if sys.stdin.isatty() and not (admin_name and admin_email):
        admin_name = admin_name or typer.prompt("Name of the first administrator", default="", show_default=False)
        admin_email = admin_email or typer.prompt("Their email address", default="", show_default=False)
    print_line(f"database: {_migrate()}")
    print_line(f"administrator: {_add_administrator(admin_name or '', admin_email or '')}")
    print_line("next: casemill run, and casemill doctor to see whether all is well")


def migrate() -> None:
    """Bring the database to the tables this version needs. Safe to run at any time, and by several at once."""
    from cli.console import print_line

    print_line(f"database: {_migrate()}")


def doctor(json: Json = False) -> None:
    """Check configuration, connections, clock and queues, each with its mend; changes nothing."""
    from cli import console
    from cli.doctor.run import examine

    findings = examine()
    if json:
        console.print_json([finding.as_dict() for finding in findings])
    else:
        _print_findings(findings)
    raise typer.Exit(console.FOUND_WRONG if any(one.state == "problem" for one in findings) else console.DONE)


def _write_config(path: Path) -> str:
    from cli.config_writer import write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(write_text())
    except FileExistsError:
        return "is there already and was left as it is"
    return "written; every key is in it, commented out"


def _migrate() -> str:
    from cli.context import seed
    from core import migrations, settings
    from core.database.session import Database

    database = Database(settings.load().database)
    try:
        before = migrations.current(database)
        migrations.upgrade(database)
        seed(database)
        after = migrations.current(database)
    finally:
        database.close()
    return f"is up to date ({after})" if before == after else f"brought from {before or 'empty'} to {after}"


def _add_administrator(name: str, email: str) -> str:
    from accounts import directory
    from cli.context import open_database

    if not email.strip():
        return "nobody was named; add one with `casemill staff add EMAIL --name NAME --role administrator`"
    with open_database() as (_, database):
        saved = directory.run_twice(
            database, lambda session: directory.add_staff(session, email=email, name=name or None, role="administrator")
        )
    return f"{email.strip().lower()} {saved.outcome}"


def _print_findings(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from cli.console import clean, make_console

    styles = {"ok": "green", "warning": "yellow", "problem": "bold red"}
    console = make_console()
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        head = Text.assemble((f"{finding.state:<8}", styles[finding.state]), f" {clean(finding.check):<{width}}  ")
        console.print(head + Text(clean(finding.text)), soft_wrap=True)
        if finding.hint:
            console.print(Text(f"{'':<8} {'':<{width}}  hint: {clean(finding.hint)}", style="dim"), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    example = "Example: casemill init --admin-name 'Ruth Calder' --admin-email ruth.calder@billing.example"
    app.command(epilog=example, short_help="Write the configuration, make the database.")(init)
    app.command(epilog="Example: casemill migrate", short_help="Bring the database up to date.")(migrate)
    app.command(epilog="Example: casemill doctor --json", short_help="Find out what is wrong, with each mend.")(doctor)
