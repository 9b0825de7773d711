"""`casemill templates`: message templates for staff, in versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import By, Json

app = typer.Typer(help="Message templates for staff: list, show, edit, history, restore.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The template's name, for example 'Please Tell Us More'.")]


@app.command("list", epilog="Example: casemill templates list")
def list_templates(json: Json = False) -> None:
    """List all templates by folder."""
    from cli import console
    from cli.context import open_database
    from tickets import message_templates

    with console.report_errors(), open_database() as (_, database), database.read() as session:
        found = message_templates.list_all(session)
    if json:
        console.print_json([one.as_dict() for one in found])
        return
    columns = [
        console.Column("folder"),
        console.Column("name"),
        console.Column("version", no_wrap=True, align_right=True),
        console.Column("written by"),
    ]
    console.print_table(columns, [(one.folder, one.name, one.number, one.written_by) for one in found], empty="no templates")


@app.command(epilog="Example: casemill templates show 'Billing Support Recap of Resolution'")
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Show this version instead of the current one.")] = None,
    json: Json = False,
) -> None:
    """Show the subject and text of a template."""
    from cli import console
    from cli.context import open_database
    from tickets import message_templates

    with console.report_errors(), open_database() as (_, database), database.read() as session:
        found = message_templates.find(session, name, version)
    if json:
        console.print_json(found.as_dict())
        return
    console.print_line(f"{found.folder} / {found.name}, version {found.number} by {found.written_by}")
    console.print_line(f"Subject: {found.subject}\n")
    console.print_line(found.body)


@app.command(epilog="Example: casemill templates edit 'Waiting for the Payer' --file payer.txt --by you@billing.example")
def edit(
    name: Name,
    by: By,
    subject: Annotated[str | None, typer.Option(help="The new subject. Default: it stays the same.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the new text. Default: $EDITOR opens.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Create a template with a new name.")] = False,
) -> None:
    """Change a template, or create one with --new. The change is a new version; earlier versions are kept."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from core.errors import RefusedError
    from tickets import message_templates

    with console.report_errors(), open_database() as (_, database):
        with database.read() as session:
            before = None if new else message_templates.find(session, name)
        body = file.read_text("utf-8") if file else console.open_editor(before.body if before else "")
        if not body.strip():
            raise RefusedError("empty_template", "the text is empty, so the template was not changed")
        title = subject or (before.subject if before else "")
        saved = database.transaction(
            lambda session: message_templates.edit(
                session, before.name if before else name, title, body, find_person(session, by), clock.now()
            )
        )
    console.print_line(f"{saved.name}: version {saved.number}")


@app.command(epilog="Example: casemill templates history 'Waiting for the Payer'")
def history(name: Name, json: Json = False) -> None:
    """List all versions of a template, newest first."""
    from cli import console
    from cli.context import open_database
    from tickets import message_templates

    with console.report_errors(), open_database() as (_, database), database.read() as session:
        found = message_templates.history(session, name)
    if json:
        console.print_json([one.as_dict() for one in found])
        return
    columns = [
        console.Column("version", no_wrap=True, align_right=True),
        console.Column("written by"),
        console.Column("at", no_wrap=True),
        console.Column("subject"),
    ]
    rows = [(one.number, one.written_by, f"{one.written_at:%Y-%m-%d %H:%M}", one.subject) for one in found]
    console.print_table(columns, rows, empty="no versions")


@app.command(epilog="Example: casemill templates restore 'Waiting for the Payer' --version 1 --by you@billing.example")
def restore(name: Name, version: Annotated[int, typer.Option(help="The version to restore.")], by: By) -> None:
    """Restore an earlier version, as a new version."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from tickets import message_templates

    with console.report_errors(), open_database() as (_, database):
        saved = database.transaction(
            lambda session: message_templates.restore(session, name, version, find_person(session, by), clock.now())
        )
    console.print_line(f"{saved.name}: version {saved.number}")
