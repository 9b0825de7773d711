"""The `casemill` command. Commands import heavy modules only when they run, so that `casemill --help` is fast."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cli import (
    blocks,
    ingest,
    quarantine,
    reconcile,
    replay,
    setup,
    staff_departure,
    staff_messages,
    surveys,
    tasks,
    templates,
    ticket_actions,
    tickets,
    tokens,
)
from cli.directory import company_app, contact_app, staff_app
from cli.errors import RootGroup
from cli.notices import notice_app

app = typer.Typer(
    name="casemill",
    cls=RootGroup,
    help="Help desk for medical billing: mail, forms, workbooks and calls become tickets with an owner.",
    epilog="Start with: casemill init, then casemill run. To find problems: casemill doctor",
    no_args_is_help=True,
    # Help drawn by rich takes longer than everything else that --help does.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(version("casemill"))
        except PackageNotFoundError:
            typer.echo("not installed")
        raise typer.Exit


@app.callback()
def root(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration file. Default: CASEMILL_CONFIG, else ./casemill.toml.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if config is not None:
        os.environ["CASEMILL_CONFIG"] = str(config)


setup.register(app)


@app.command(epilog="Example: casemill run --demo", short_help="Run everything in one process.")
def run(
    demo: Annotated[
        bool, typer.Option("--demo", help="Use sample data under var/demo: staff, practices, mail, forms and a workbook.")
    ] = False,
) -> None:
    """Run everything in one process until Ctrl-C: web server, watchers, workers and scheduler."""
    if demo:
        from cli.demo_run import run_demo

        run_demo()
    else:
        from cli import serve
        from cli.console import print_line

        serve.run(on_ready=lambda _settings, _database, address: print_line(f"casemill is running: http://{address}/"))


@app.command(epilog="Example: casemill web", short_help="Run only the web server.")
def web() -> None:
    """Run only the web server: webhooks, API, pages, health and metrics."""
    from cli import serve

    serve.web()


@app.command(epilog="Example: casemill watch")
def watch() -> None:
    """Run only the watchers of all mailboxes and folders."""
    from cli import serve

    serve.watch()


@app.command(epilog="Example: casemill tick")
def tick() -> None:
    """Run only the scheduler: it triggers reminders, retries and other scheduled work."""
    from cli import serve

    serve.tick()


ingest.register(app)
tickets.register(app)
ticket_actions.register(tickets.ticket_app)
staff_messages.register(tickets.ticket_app)
tasks.register(app)
staff_departure.register(staff_app)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(surveys.app, name="survey")
app.add_typer(templates.app, name="templates")
app.add_typer(tokens.app, name="token")
app.add_typer(notice_app, name="notice")
replay.register(app)
reconcile.register(app)
app.add_typer(staff_app, name="staff")
app.add_typer(company_app, name="company")
blocks.register(contact_app)
app.add_typer(contact_app, name="contact")


def main() -> None:
    """Run the command line; the entry point of the distribution."""
    app(prog_name="casemill")
