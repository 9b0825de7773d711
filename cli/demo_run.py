"""`casemill run --demo`: the sample world, everything started, sample inputs brought in, and where to look."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.db import Database
    from core.settings import Settings

DATA_DIR = Path("var/demo")


def run_demo() -> None:
    """Write the sample configuration once, then run it until interrupted."""
    from demo.configuration import settings_toml

    folder = DATA_DIR.resolve()
    config = folder / "casemill.toml"
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(settings_toml(folder))
    os.environ["CASEMILL_CONFIG"] = str(config)
    from cli import serve

    serve.run(first=_fill, ready=_ready)


def _fill(database: Database) -> None:
    from core import clock
    from demo import feed, world

    if not feed.is_fed(database):
        world.load(database, clock.now())


def _ready(settings: Settings, database: Database, address: str) -> None:
    from core import clock
    from demo import feed

    again = feed.is_fed(database)
    if not again:
        feed.feed(settings, address, clock.now())
    _tell(settings, address, again)


def _tell(settings: Settings, address: str, again: bool) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table

    lines = Table.grid(padding=(0, 2))
    lines.add_row("Status page", f"http://{address}/")
    lines.add_row("Sign-in", "none needed: the page answers this machine only")
    lines.add_row("Sent mail", f"{settings.data_dir / 'sent'} (a Maildir: one file a mail, in new/)")
    for name, folder in settings.folders.items():
        lines.add_row(f"Drop folder ({name.replace('_', ' ')})", str(folder.path))
    lines.add_row("Configuration", os.environ["CASEMILL_CONFIG"])
    lines.add_row("In another terminal", f"export CASEMILL_CONFIG={os.environ['CASEMILL_CONFIG']}")
    lines.add_row("", ".venv/bin/casemill tickets")
    lines.add_row("", ".venv/bin/casemill ticket show BS-000001")
    title = "casemill goes on where it was" if again else "casemill is running with the sample world"
    console = Console(soft_wrap=True)
    console.print(Panel(lines, title=title, subtitle="Ctrl-C stops it", expand=False))
