"""`casemill ticket …` for a ticket in the hands of staff: the same verbs as everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from accounts.models import Staff
    from core.settings import Settings
    from tickets.models import Ticket

    Verb = Callable[[Session, int, Staff, Settings, datetime], Ticket]

Number = Annotated[str, typer.Argument(help="The ticket's number, such as BS-000123.")]
By = Annotated[str, typer.Option(help="Your email address, as on the staff list.", envvar="CASEMILL_USER")]
Reason = Annotated[str, typer.Option(help="Why; it stays on the timeline.")]


def follow_up_sent(number: Number, by: By) -> None:
    """Check "4-Support Follow Up Sent", after an email or a call to the customer."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, _, now: lifecycle.mark_follow_up_sent(session, ticket, staff, now))


def resolve(number: Number, by: By) -> None:
    """Set Resolution to Yes."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, _, now: lifecycle.mark_resolved(session, ticket, staff, now))


def reopen(number: Number, by: By, reason: Reason) -> None:
    """Open a completed ticket again: its marks are cleared and its timers start anew."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, s, now: lifecycle.reopen(session, ticket, staff, reason, s, now))


def move(number: Number, by: By, reason: Reason, to: Annotated[int, typer.Option(help="The stage: 1, 4, 5 or 6.")]) -> None:
    """Move a ticket where the rules do not; for managers, with a reason."""
    from tickets import lifecycle

    change_ticket(
        number, by, lambda session, ticket, staff, s, now: lifecycle.force_stage(session, ticket, to, staff, reason, s, now)
    )


def assign(
    number: Number,
    by: By,
    to: Annotated[str | None, typer.Option(help="Email address of the new owner; you, when left out.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it stays on the timeline.")] = "",
) -> None:
    """Hand a ticket over, or take it."""
    from accounts.directory import find_person
    from tickets import lifecycle

    def verb(session: Session, ticket: int, staff: Staff, _: Settings, now: datetime) -> Ticket:
        return lifecycle.assign(session, ticket, find_person(session, to) if to else staff, staff, reason, now)

    change_ticket(number, by, verb)


def note(number: Number, text: Annotated[str, typer.Argument(help="What to note; for staff only.")], by: By) -> None:
    """Put a note on the timeline."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, _, now: lifecycle.add_note(session, ticket, staff, text, now))


def merge(number: Number, by: By, reason: Reason, into: Annotated[str, typer.Option(help="The ticket that goes on.")]) -> None:
    """Make a ticket part of another: that one goes on with the people, tasks and answers of both."""
    from tickets import merging

    other = read_number(into)
    change_ticket(number, by, lambda session, ticket, staff, _, now: merging.merge(session, ticket, other, staff, reason, now))


def split(number: Number, by: By, reason: Reason, entry: Annotated[int, typer.Option(help="The message's number.")]) -> None:
    """Let a message of a ticket begin a ticket of its own; `ticket show --json` numbers the messages."""
    from tickets import merging
    from tickets.models import Ticket

    def verb(session: Session, ticket: int, staff: Staff, settings: Settings, now: datetime) -> Ticket:
        new_id = merging.split(session, ticket, entry, staff, reason, settings, now)
        return session.get_one(Ticket, new_id)

    change_ticket(number, by, verb)


def dismiss(number: Number, other: Annotated[str, typer.Argument(help="The ticket it does not belong to.")], by: By) -> None:
    """Say that a possible match is none."""
    from tickets import merging
    from tickets.models import Ticket

    wrong = read_number(other)

    def verb(session: Session, ticket: int, staff: Staff, _: Settings, now: datetime) -> Ticket:
        merging.dismiss(session, ticket, wrong, staff, now)
        return session.get_one(Ticket, ticket)

    change_ticket(number, by, verb)


def change_ticket(text: str, by: str, verb: Verb) -> None:
    """Do it as the member of staff ``by``, let it take effect, and say where the ticket stands."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from tickets.numbers import format_number
    from tickets.stages import STAGE_NAMES

    ticket_id = read_number(text)
    with console.report_errors(), open_database() as (settings, database):

        def unit(session: Session) -> tuple[int, int]:
            ticket = verb(session, ticket_id, find_person(session, by), settings, clock.now())
            return ticket.id, ticket.stage

        shown, stage = database.transaction(unit)
    console.print_line(f"{format_number(shown)}: {STAGE_NAMES[stage]}")


def read_number(text: str) -> int:
    from tickets.numbers import parse_number

    ticket_id = parse_number(text)
    if ticket_id is None:
        raise typer.BadParameter(f"{text!r} is no ticket number; they look like BS-000123")
    return ticket_id


def register(ticket_app: typer.Typer) -> None:
    """Add the commands of this module."""
    examples: list[tuple[str, Callable[..., None], str]] = [
        ("follow-up-sent", follow_up_sent, "BS-000123 --by you@billing.example"),
        ("resolve", resolve, "BS-000123 --by you@billing.example"),
        ("reopen", reopen, "BS-000123 --by you@billing.example --reason 'The payer denied it again'"),
        ("move", move, "BS-000123 --by you@billing.example --to 5 --reason 'Moved by mistake'"),
        ("assign", assign, "BS-000123 --by you@billing.example --to omar@billing.example"),
        ("merge", merge, "BS-000124 --into BS-000123 --by you@billing.example --reason 'The same denial'"),
        ("split", split, "BS-000123 --entry 512 --by you@billing.example --reason 'A second matter'"),
        ("dismiss", dismiss, "BS-000124 BS-000123 --by you@billing.example"),
        ("note", note, "BS-000123 'Called, no answer' --by you@billing.example"),
    ]
    for name, command, example in examples:
        ticket_app.command(name, epilog=f"Example: casemill ticket {name} {example}")(command)
