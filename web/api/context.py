"""One call of the API as its handler sees it: the unit of work, who asks, and what for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.settings import Settings
from tickets.numbers import parse_number
from tickets.timeline import locked
from web.api.problems import ProblemError
from web.api.requests import Id


@dataclass(frozen=True, slots=True)
class Call:
    """``path`` are the parts of the address by name, ``query`` and ``body`` what was asked in the shapes of the route."""

    session: Session
    settings: Settings
    now: datetime
    by: Staff
    path: dict[str, str]
    query: Any
    body: Any

    def ticket_id(self) -> int:
        """The id of the ticket in the address, held when the request names a version. Raises ProblemError 404, 409."""
        ticket_id = parse_number(self.path["number"])
        if ticket_id is None:
            raise ProblemError(404, "not_found", "there is no such ticket")
        version = getattr(self.body, "version", UNSET)
        if version is not UNSET and locked(self.session, ticket_id).version != version:
            raise ProblemError(409, "changed", "somebody changed the ticket since it was read", hint="read it again")
        return ticket_id

    def number(self, name: str) -> int:
        """A whole number in the address. Raises ProblemError 404."""
        text = self.path[name]
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise ProblemError(404, "not_found", "there is nothing of that number")
        return int(text)

    def after(self) -> int | None:
        """The id at which a list goes on, None at its begin. Raises ProblemError 422."""
        if self.query.after is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(self.query.after.encode("ascii") + b"==")
            return msgspec.json.decode(raw, type=Id)
        except (binascii.Error, UnicodeEncodeError, msgspec.MsgspecError):
            raise ProblemError(422, "bad_cursor", "the cursor is not one of this list") from None


def page(rows: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page of ``limit`` rows, of which one more was asked for, and the cursor of the next: no more than the last one's id."""
    shown = list(rows[:limit])
    if len(rows) <= limit:
        return {"items": shown, "next": None}
    last = shown[-1]["id"] if "id" in shown[-1] else parse_number(shown[-1]["number"])
    return {"items": shown, "next": base64.urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip("=")}
