"""`casemill templates`: what staff begin their letters with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.ticket_actions import By

app = typer.Typer(help="Message templates: list, show, edit, history, restore.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The template's name, such as 'Please Tell Us More'.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs in place of text for people.")]


@app.command("list", epilog="Example: casemill templates list")
def list_templates(json: Json = False) -> None:
    """Every template, by folder."""
    from cli import console
    from cli.context import open_database
    from tickets import message_templates

    with console.report_errors(), open_database() as (_, database), database.read() as session:
        found = message_templates.list_all(session)
    if json:
        console.print_json([one.as_dict() for one in found])
        return
    columns = [console.Column("folder"), console.Column("name"), console.Column("version", no_wrap=True, align_right=True),
               console.Column("written by")]  # fmt: skip
    console.print_table(columns, [(one.folder, one.name, one.number, one.written_by) for one in found], empty="no templates")


@app.command(epilog="Example: casemill templates show 'Billing Support Recap of Resolution'")
def show(name: Name, version: Annotated[int | None, typer.Option(help="An earlier version.")] = None, json: Json = False) -> None:
    """What a template says."""
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
    subject: Annotated[str | None, typer.Option(help="The subject; as it was, when left out.")] = None,
    file: Annotated[Path | None, typer.Option(help="A file with the text; $EDITOR opens when left out.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a template of a name that is not there yet.")] = False,
) -> None:
    """Change a template, or with --new add one: a new version; the earlier ones stay."""
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
            raise RefusedError("empty_template", "nothing was written, so nothing was changed")
        title = subject or (before.subject if before else "")
        saved = database.transaction(
            lambda session: message_templates.edit(
                session, before.name if before else name, title, body, find_person(session, by), clock.now()
            )
        )
    console.print_line(f"{saved.name}: version {saved.number}")


@app.command(epilog="Example: casemill templates history 'Waiting for the Payer'")
def history(name: Name, json: Json = False) -> None:
    """All versions of a template, the newest first."""
    from cli import console
    from cli.context import open_database
    from tickets import message_templates

    with console.report_errors(), open_database() as (_, database), database.read() as session:
        found = message_templates.history(session, name)
    if json:
        console.print_json([one.as_dict() for one in found])
        return
    columns = [console.Column("version", no_wrap=True, align_right=True), console.Column("written by"), console.Column("at", no_wrap=True),
               console.Column("subject")]  # fmt: skip
    rows = [(one.number, one.written_by, f"{one.written_at:%Y-%m-%d %H:%M}", one.subject) for one in found]
    console.print_table(columns, rows, empty="no versions")


@app.command(epilog="Example: casemill templates restore 'Waiting for the Payer' --version 1 --by you@billing.example")
def restore(name: Name, version: Annotated[int, typer.Option(help="The version to bring back.")], by: By) -> None:
    """An earlier version again, as a new one."""
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
