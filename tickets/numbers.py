"""Ticket numbers as people write them."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?:BS-?)?0*([1-9][0-9]{0,17})", re.IGNORECASE)


def format_number(ticket_id: int) -> str:
    """Return ``BS-000123`` for ticket 123."""
    return f"BS-{ticket_id:06d}"


def parse_number(text: str) -> int | None:
    """Return the ticket id in ``BS-000123``, ``bs-123`` or ``123``; None for anything else."""
    match = _NUMBER.fullmatch(text.strip())
    return int(match[1]) if match else None
