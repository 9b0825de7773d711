"""`casemill staff hand-over` and `staff deactivate`: what somebody has open goes to others when they are away or leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from accounts.models import Staff

    Verb = Callable[[Session, Staff, Staff, Staff | None, datetime], dict[str, int]]

Who = Annotated[str, typer.Argument(help="Email address of whose tickets they are.")]
By = Annotated[str, typer.Option(help="Your email address, as on the staff list.", envvar="CASEMILL_USER")]
Why = Annotated[str, typer.Option(help="Why; it stays on the timeline of each ticket.")]
To = Annotated[str | None, typer.Option(help="Email address of who takes them; else stand-in, then the least loaded.")]


def hand_over(email: Who, by: By, reason: Why, to: To = None) -> None:
    """Hand over all open tickets and tasks of one person."""
    from tickets import reassignment

    _reassign(email, by, to, lambda s, of, who, other, now: reassignment.reassign_all(s, of, who, reason, now, to=other))


def deactivate(email: Who, by: By, reason: Why, to: To = None) -> None:
    """Somebody leaves: their open tickets and tasks go to others first; for managers."""
    from tickets import reassignment

    _reassign(email, by, to, lambda s, of, who, other, now: reassignment.deactivate(s, of, who, reason, now, to=other))


def _reassign(email: str, by: str, to: str | None, verb: Verb) -> None:
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock

    def unit(session: Session) -> dict[str, int]:
        other = find_person(session, to) if to else None
        return verb(session, find_person(session, email), find_person(session, by), other, clock.now())

    with console.report_errors(), open_database() as (_, database):
        given = database.transaction(unit)
    told = ", ".join(f"{count} to {console.format_value(name)}" for name, count in given.items())
    console.print_line(f"{email}: {told or 'no open tickets'}")


def register(staff_app: typer.Typer) -> None:
    """Add the commands of this module."""
    staff_app.command("hand-over", epilog="Example: casemill staff hand-over omar@billing.example --reason 'On leave'")(hand_over)
    staff_app.command("deactivate", epilog="Example: casemill staff deactivate omar@billing.example --reason 'Left'")(deactivate)
