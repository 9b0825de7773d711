"""``GET /desk/tickets/{number}``: the page of a ticket that an assignment notice links to.

It shows owner, stage, missing information and the reasons on the timeline. There is no sign-in yet, so it shows no text of a
message, and only clients that may see the status may see it.
"""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.database.session import Database
from core.settings import Settings
from tickets import queries
from tickets.numbers import parse_number
from web import access
from web.pages import Pages
from web.threadpool import run_in_thread


class TicketPage:
    """The page of a ticket: 200, or 404 without access or for an unknown number."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._pages = Pages()

    async def show(self, request: Request) -> Response:
        """Answer the request."""
        ticket_id = parse_number(request.path_params["number"])
        if ticket_id is None or not access.may_see_status(request, self._settings):
            raise HTTPException(404)
        ticket = await run_in_thread(lambda: self._read(ticket_id), "ticket")
        if ticket is None:
            raise HTTPException(404)
        return self._pages.render("ticket.html", ticket=ticket)

    def _read(self, ticket_id: int) -> dict[str, Any] | None:
        with self._database.read() as session:
            return queries.show(session, ticket_id)
