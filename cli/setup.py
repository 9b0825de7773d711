"""`casemill init`, `migrate` and `doctor`: set up, update the database, and find out what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json

if TYPE_CHECKING:
    from core.findings import Finding


DEFAULT_CONFIG_FILE = "casemill.toml"


def init(
    admin_name: Annotated[str | None, typer.Option(help="Full name of the first administrator.")] = None,
    admin_email: Annotated[str | None, typer.Option(help="Email address of the first administrator.")] = None,
) -> None:
    """Write a commented casemill.toml, create the database, and add the first administrator. Overwrites nothing."""
    from cli.console import print_line

    path = Path(os.environ.get("CASEMILL_CONFIG") or DEFAULT_CONFIG_FILE)
    print_line(f"{path}: {_write_config(path)}")
    if sys.stdin.isatty() and not (admin_name and admin_email):
        admin_name = admin_name or typer.prompt("Name of the first administrator", default="", show_default=False)
        admin_email = admin_email or typer.prompt("Their email address", default="", show_default=False)
    print_line(f"database: {_migrate_database()}")
    print_line(f"administrator: {_add_administrator(admin_name or '', admin_email or '')}")
    print_line("next: edit the file, check it with `casemill doctor`, start with `casemill run`")


def migrate() -> None:
    """Update the database to this version. Safe to run at any time, also by several processes at once."""
    from cli.console import print_line

    print_line(f"database: {_migrate_database()}")


def doctor(json: Json = False) -> None:
    """Check configuration, connections, clock and queues. Every problem comes with a hint. Changes nothing."""
    from cli import console
    from cli.doctor.run import run_checks
    from core.findings import Severity

    findings = run_checks()
    if json:
        console.print_json([finding.as_dict() for finding in findings])
    else:
        _print_findings(findings)
    raise typer.Exit(
        console.EXIT_PROBLEM if any(finding.severity is Severity.PROBLEM for finding in findings) else console.EXIT_OK
    )


def _write_config(path: Path) -> str:
    from cli.config_writer import render_config

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(render_config())
    except FileExistsError:
        return "exists already and was not changed"
    return "written; it contains every key, commented out"


def _migrate_database() -> str:
    from cli.context import seed_message_templates
    from core import migrations, settings
    from core.database.session import Database

    database = Database(settings.load().database)
    try:
        before = migrations.current_revision(database)
        migrations.upgrade(database)
        seed_message_templates(database)
        after = migrations.current_revision(database)
    finally:
        database.close()
    return f"is up to date ({after})" if before == after else f"updated from {before or 'empty'} to {after}"


def _add_administrator(name: str, email: str) -> str:
    from accounts import directory
    from cli.context import open_database

    if not email.strip():
        return "none was given; add one with `casemill staff add EMAIL --name NAME --role administrator`"
    with open_database() as (_, database):
        saved = directory.retry_on_conflict(
            database, lambda session: directory.add_staff(session, email=email, name=name or None, role="administrator")
        )
    return f"{email.strip().lower()} {saved.outcome}"


def _print_findings(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from cli.console import format_value, make_console

    styles = {"ok": "green", "warning": "yellow", "problem": "bold red"}
    console = make_console()
    width = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        head = Text.assemble((f"{finding.severity:<8}", styles[finding.severity]), f" {format_value(finding.check):<{width}}  ")
        console.print(head + Text(format_value(finding.text)), soft_wrap=True)
        if finding.hint:
            console.print(Text(f"{'':<8} {'':<{width}}  hint: {format_value(finding.hint)}", style="dim"), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    example = "Example: casemill init --admin-name 'Ruth Calder' --admin-email ruth.calder@billing.example"
    app.command(epilog=example, short_help="Write a configuration file and create the database.")(init)
    app.command(epilog="Example: casemill migrate", short_help="Update the database to this version.")(migrate)
    app.command(epilog="Example: casemill doctor --json", short_help="Find problems, each with a hint.")(doctor)
