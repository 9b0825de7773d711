"""``GET /care/cases/{signed}``: the page of a case that a notice links to, with its number, status and times.

The signed address is the only authentication, so the page shows no text of a message.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core.database.session import Database
from core.settings import Settings
from core.signing import Signer
from tickets.models import Ticket
from tickets.numbers import format_number
from tickets.stages import AUDIT, COMPLETED, IN_PROGRESS, SUBMITTED
from web.pages import Pages
from web.threadpool import run_in_thread

#: Each stage in the words of customers.
STEPS = (
    (SUBMITTED, "Submitted", "Your request has reached us."),
    (IN_PROGRESS, "In progress", "A billing specialist is working on it."),
    (AUDIT, "In review", "We have answered you and are reviewing the result."),
    (COMPLETED, "Completed", "Your case is resolved, and you have received a summary."),
)


@dataclass(frozen=True, slots=True)
class CaseView:
    """The values of the template ``case.html``. Times are in the time zone of the office."""

    number: str
    stage: int
    received_at: datetime
    updated_at: datetime


class CasePage:
    """The page of a case: 200, or 404 for an address that this site did not sign."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._signer = Signer(settings.signing_keys(), settings.notices.domain)
        self._zone = ZoneInfo(settings.calendar.zone)
        self._team = settings.notices.sender_name
        self._pages = Pages()

    async def show(self, request: Request) -> Response:
        """Answer the request."""
        token = self._signer.verify_link(request.path_params["signed"])
        if token is None or not token.startswith("t") or not token[1:].isdigit():
            raise HTTPException(404)
        ticket_id = int(token[1:])
        case = await run_in_thread(lambda: self._read(ticket_id), "case")
        if case is None:
            raise HTTPException(404)
        return self._pages.render("case.html", case=case, steps=STEPS, team=self._team)

    def _read(self, ticket_id: int) -> CaseView | None:
        with self._database.read() as session:
            return self._read_case(session, ticket_id)

    def _read_case(self, session: Session, ticket_id: int) -> CaseView | None:
        statement = select(Ticket.stage, Ticket.created_at, Ticket.updated_at).where(Ticket.id == ticket_id)
        row = session.execute(statement).first()
        if row is None:
            return None
        received_at, updated_at = (time.astimezone(self._zone) for time in (row.created_at, row.updated_at))
        return CaseView(format_number(ticket_id), row.stage, received_at, updated_at)
