"""What a handler of the API receives: the session, the caller and the validated request."""

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
from tickets.timeline import lock_ticket
from web.api.problems import ProblemError
from web.api.requests import Id


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a handler, within its transaction.

    ``path`` holds the path parameters by name; ``query`` and ``body`` are instances of the route's types.
    """

    session: Session
    settings: Settings
    now: datetime
    staff: Staff
    path: dict[str, str]
    query: Any
    body: Any

    def ticket_id(self) -> int:
        """Return the id of the ticket in the path, and lock the ticket when the body names a version.

        Raises ProblemError: 404 when the number is malformed, 409 when the ticket has another version.
        """
        ticket_id = parse_number(self.path["number"])
        if ticket_id is None:
            raise ProblemError(404, "not_found", "there is no such ticket")
        version = getattr(self.body, "version", UNSET)
        if version is not UNSET and lock_ticket(self.session, ticket_id).version != version:
            raise ProblemError(409, "changed", "the ticket has changed since it was read", hint="read it again")
        return ticket_id

    def number(self, name: str) -> int:
        """Return the path parameter ``name`` as an integer. Raises ProblemError 404 when it is none."""
        text = self.path[name]
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise ProblemError(404, "not_found", "there is no record with that id")
        return int(text)

    def cursor_id(self) -> int | None:
        """Return the id after which the page starts, None for the first page. Raises ProblemError 422 for a bad cursor."""
        if self.query.after is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(self.query.after.encode("ascii") + b"==")
            return msgspec.json.decode(raw, type=Id)
        except (binascii.Error, UnicodeEncodeError, msgspec.MsgspecError):
            hint = "pass `next` of the previous page"
            raise ProblemError(422, "bad_cursor", "`after` is not a cursor of this list", hint=hint) from None


def build_page(rows: Sequence[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return the first ``limit`` rows with the cursor of the next page, None at the end of the list.

    ``rows`` holds one row more than ``limit`` when there is a next page. The cursor encodes the id of the last row shown.
    """
    shown = list(rows[:limit])
    if len(rows) <= limit:
        return {"items": shown, "next": None}
    last = shown[-1]["id"] if "id" in shown[-1] else parse_number(shown[-1]["number"])
    return {"items": shown, "next": base64.urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip("=")}
