"""`casemill run --demo`: load sample data, start everything, send sample inputs, and print where to look."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.database.session import Database
    from core.settings import Settings

DATA_DIR = Path("var/demo")
MAX_WAIT_SECONDS = 30.0


def run_demo() -> None:
    """Write the sample configuration, unless it exists, and run it until Ctrl-C."""
    from demo.configuration import render_settings

    folder = DATA_DIR.resolve()
    config = folder / "casemill.toml"
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(render_settings(folder))
    os.environ["CASEMILL_CONFIG"] = str(config)
    from cli import serve

    serve.run(before_start=_load_sample_world, on_ready=_on_ready)
    print("casemill has stopped; the next start continues with the same data.", flush=True)


def _load_sample_world(database: Database) -> None:
    from core import clock
    from demo import feed, world

    if not feed.has_any_item(database):
        world.load_sample_world(database, clock.now())


def _on_ready(settings: Settings, database: Database, address: str) -> None:
    from core import clock
    from demo import feed

    again = feed.has_any_item(database)
    if not again:
        feed.send_sample_inputs(settings, address, clock.now())
        _wait_until_settled(database)
    _print_overview(settings, database, address, again)


def _print_overview(settings: Settings, database: Database, address: str, again: bool) -> None:
    """Print addresses, folders and commands, in lines that can be copied."""
    title = "casemill is running with the data of the last start" if again else "casemill is running with sample data"
    tickets, notices = _describe_counts(database)
    lines = [
        f"{title}. Press Ctrl-C to stop it.",
        "",
        f"  Tickets         {tickets}",
        f"  Notices sent    {notices}",
        "",
        f"  Status page     http://{address}/",
        "  Sign-in         not needed: the page answers only on this machine",
        f"  Sent mail       {settings.data_dir / 'sent' / 'new'}  (one file for each mail)",
        *(f"  Drop folder     {folder.path}  ({name.replace('_', ' ')})" for name, folder in settings.folders.items()),
        "",
        "In another terminal:",
        f"  export CASEMILL_CONFIG={os.environ['CASEMILL_CONFIG']}",
        "  .venv/bin/casemill tickets",
        "  .venv/bin/casemill ticket show BS-000001",
    ]
    print("\n".join(lines), flush=True)


def _wait_until_settled(database: Database) -> None:
    """Wait until the numbers of tickets and sent notices stay the same, or until :data:`MAX_WAIT_SECONDS` are over."""
    ends = time.monotonic() + MAX_WAIT_SECONDS
    before, now = (0, 0), _count_tickets_and_notices(database)
    while time.monotonic() < ends and (before != now or sum(now) == 0):
        time.sleep(2.5)
        before, now = now, _count_tickets_and_notices(database)


def _describe_counts(database: Database) -> tuple[str, int]:
    from sqlalchemy import func, select

    from tickets.models import Ticket

    with database.read() as session:
        rows = session.execute(select(Ticket.source, func.count()).group_by(Ticket.source).order_by(Ticket.source)).all()
    tickets = ", ".join(f"{count} by {source.replace('_', ' ')}" for source, count in rows) or "none yet"
    return tickets, _count_tickets_and_notices(database)[1]


def _count_tickets_and_notices(database: Database) -> tuple[int, int]:
    """Return the numbers of tickets and of sent notices."""
    from sqlalchemy import func, select

    from notify.models import Delivery
    from tickets.models import Ticket

    with database.read() as session:
        tickets = session.execute(select(func.count()).select_from(Ticket)).scalar_one()
        sent = session.execute(select(func.count()).where(Delivery.state == "sent")).scalar_one()
    return tickets, sent
