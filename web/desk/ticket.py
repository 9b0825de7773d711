"""A ticket as its owner sees it from an assignment notice: who, what stage, what is missing, and why it is theirs.

There is no sign-in yet, so nothing of what the customer wrote is shown, and only those see the page who may see the status.
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
    """``GET /desk/tickets/{number}``: 200 with the ticket, 404 for strangers and for numbers nobody has."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._pages = Pages()

    async def show(self, request: Request) -> Response:
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
