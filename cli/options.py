"""Options and arguments that several commands share, with the functions that read their values."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
TicketNumber = Annotated[str, typer.Argument(help="The ticket number, for example BS-000123.")]
By = Annotated[str, typer.Option(help="Your email address, as in the staff list.", envvar="CASEMILL_USER")]
Reason = Annotated[str, typer.Option(help="The reason. It is shown on the ticket's timeline.")]


def parse_ticket_number(text: str, *, option: str | None = None) -> int:
    """Return the ticket's id for BS-000123, bs-123 or 123; raises :class:`typer.BadParameter`, naming ``option`` when given."""
    from tickets.numbers import parse_number

    ticket_id = parse_number(text)
    if ticket_id is None:
        raise typer.BadParameter(f"{text!r} is not a ticket number; write it as BS-000123 or 123", param_hint=option)
    return ticket_id


def format_minute(moment: str | None) -> str:
    """Return the date and minute of an ISO 8601 moment, "2027-01-04 12:00"; "" for None."""
    return (moment or "")[:16].replace("T", " ")
