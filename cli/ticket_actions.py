"""`casemill ticket …`: the commands that change a ticket, with the same functions as the pages and the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import By, Reason, TicketNumber, parse_ticket_number

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

    from accounts.models import Staff
    from core.settings import Settings
    from tickets.models import Ticket

    TicketChange = Callable[[Session, int, Staff, Settings, datetime], Ticket]


def follow_up_sent(number: TicketNumber, by: By) -> None:
    """Check "4-Support Follow Up Sent", after you have written to the customer or called them."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, _, now: lifecycle.mark_follow_up_sent(session, ticket, staff, now))


def resolve(number: TicketNumber, by: By) -> None:
    """Set Resolution to Yes."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, _, now: lifecycle.mark_resolved(session, ticket, staff, now))


def reopen(number: TicketNumber, by: By, reason: Reason) -> None:
    """Reopen a completed ticket: its checkboxes are cleared and its timers start again."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, s, now: lifecycle.reopen(session, ticket, staff, reason, s, now))


def move(
    number: TicketNumber, by: By, reason: Reason, to: Annotated[int, typer.Option(help="The new stage: 1, 4, 5 or 6.")]
) -> None:
    """Move a ticket to any stage, overriding the rules. Managers only; a reason is required."""
    from tickets import lifecycle

    change_ticket(
        number, by, lambda session, ticket, staff, s, now: lifecycle.force_stage(session, ticket, to, staff, reason, s, now)
    )


def assign(
    number: TicketNumber,
    by: By,
    to: Annotated[str | None, typer.Option(help="Email address of the new owner. Default: you.")] = None,
    reason: Annotated[str, typer.Option(help="The reason. It is shown on the ticket's timeline.")] = "",
) -> None:
    """Assign a ticket to a colleague, or to yourself."""
    from accounts.directory import find_person
    from tickets import lifecycle

    def change(session: Session, ticket: int, staff: Staff, _: Settings, now: datetime) -> Ticket:
        return lifecycle.assign(session, ticket, find_person(session, to) if to else staff, staff, reason, now)

    change_ticket(number, by, change)


def note(
    number: TicketNumber, text: Annotated[str, typer.Argument(help="The text of the note. Only staff see it.")], by: By
) -> None:
    """Add a note to the timeline."""
    from tickets import lifecycle

    change_ticket(number, by, lambda session, ticket, staff, _, now: lifecycle.add_note(session, ticket, staff, text, now))


def merge(
    number: TicketNumber, by: By, reason: Reason, into: Annotated[str, typer.Option(help="The ticket that stays open.")]
) -> None:
    """Merge a ticket into another one, which gets the people, tasks and replies of both."""
    from tickets import merging

    other = parse_ticket_number(into)
    change_ticket(number, by, lambda session, ticket, staff, _, now: merging.merge(session, ticket, other, staff, reason, now))


def split(
    number: TicketNumber,
    by: By,
    reason: Reason,
    entry: Annotated[int, typer.Option(help='The number of the message, "id" in `ticket show --json`.')],
) -> None:
    """Make a new ticket from one message of a ticket."""
    from tickets import merging
    from tickets.models import Ticket

    def change(session: Session, ticket: int, staff: Staff, settings: Settings, now: datetime) -> Ticket:
        new_id = merging.split(session, ticket, entry, staff, reason, settings, now)
        return session.get_one(Ticket, new_id)

    change_ticket(number, by, change)


def dismiss(
    number: TicketNumber, other: Annotated[str, typer.Argument(help="The other ticket, which is about something else.")], by: By
) -> None:
    """Mark a possible duplicate as a different matter."""
    from tickets import merging
    from tickets.models import Ticket

    wrong = parse_ticket_number(other)

    def change(session: Session, ticket: int, staff: Staff, _: Settings, now: datetime) -> Ticket:
        merging.dismiss(session, ticket, wrong, staff, now)
        return session.get_one(Ticket, ticket)

    change_ticket(number, by, change)


def change_ticket(text: str, by: str, change: TicketChange) -> None:
    """Change a ticket on behalf of the member of staff ``by``, and print its stage afterwards."""
    from accounts.directory import find_person
    from cli import console
    from cli.context import open_database
    from core import clock
    from tickets.numbers import format_number
    from tickets.stages import STAGE_NAMES

    ticket_id = parse_ticket_number(text)
    with console.report_errors(), open_database() as (settings, database):

        def unit(session: Session) -> tuple[int, int]:
            ticket = change(session, ticket_id, find_person(session, by), settings, clock.now())
            return ticket.id, ticket.stage

        shown, stage = database.transaction(unit)
    console.print_line(f"{format_number(shown)}: {STAGE_NAMES[stage]}")


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
