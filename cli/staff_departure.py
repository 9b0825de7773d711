"""`casemill staff hand-over` and `staff deactivate`: reassign the open work of a member of staff."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import By

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from accounts.models import Staff

    ReassignFunction = Callable[[Session, Staff, Staff, Staff | None, datetime], dict[str, int]]

Owner = Annotated[str, typer.Argument(help="Email address of the current owner.")]
Reason = Annotated[str, typer.Option(help="The reason. It is shown on the timeline of each ticket.")]
To = Annotated[
    str | None, typer.Option(help="Email address of the new owner. Default: the stand-in, else the least loaded colleague.")
]


def hand_over(email: Owner, by: By, reason: Reason, to: To = None) -> None:
    """Reassign all open tickets and tasks of one person."""
    from tickets import reassignment

    _reassign(email, by, to, lambda s, of, who, other, now: reassignment.reassign_all(s, of, who, reason, now, to=other))


def deactivate(email: Owner, by: By, reason: Reason, to: To = None) -> None:
    """Reassign all open tickets and tasks of a person who leaves, then deactivate them. Only for managers."""
    from tickets import reassignment

    _reassign(email, by, to, lambda s, of, who, other, now: reassignment.deactivate(s, of, who, reason, now, to=other))


def _reassign(email: str, by: str, to: str | None, function: ReassignFunction) -> None:
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock

    def unit(session: Session) -> dict[str, int]:
        other = find_person(session, to) if to else None
        return function(session, find_person(session, email), find_person(session, by), other, clock.now())

    with console.report_errors(), open_database() as (_, database):
        counts = database.transaction(unit)
    moved = ", ".join(f"{count} to {console.format_value(name)}" for name, count in counts.items())
    console.print_line(f"{email}: {moved or 'no open tickets'}")


def register(staff_app: typer.Typer) -> None:
    """Add the commands of this module."""
    staff_app.command(
        "hand-over", epilog="Example: casemill staff hand-over omar@billing.example --by you@billing.example --reason 'On leave'"
    )(hand_over)
    staff_app.command(
        "deactivate", epilog="Example: casemill staff deactivate omar@billing.example --by you@billing.example --reason 'Left'"
    )(deactivate)
