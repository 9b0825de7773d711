"""A case as its customer sees it from a notice: number, status, times. The signed address is the key; no text is shown."""

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

#: What a stage means to a customer.
STEPS = (
    (SUBMITTED, "Submitted", "Your request has reached us."),
    (IN_PROGRESS, "In progress", "A billing specialist works on it."),
    (AUDIT, "In review", "We have been in touch with you and check the result."),
    (COMPLETED, "Completed", "It is resolved, and you have received the recap."),
)


@dataclass(frozen=True, slots=True)
class CaseView:
    """All that the page shows. Moments in the office's time zone."""

    number: str
    stage: int
    received_at: datetime
    updated_at: datetime


class CasePage:
    """``GET /care/cases/{signed}``: 200 with the case, 404 for anything that we did not sign."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._signer = Signer(settings.signing_keys(), settings.notices.domain)
        self._zone = ZoneInfo(settings.calendar.zone)
        self._team = settings.notices.sender_name
        self._pages = Pages()

    async def show(self, request: Request) -> Response:
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
            return self._view(session, ticket_id)

    def _view(self, session: Session, ticket_id: int) -> CaseView | None:
        statement = select(Ticket.stage, Ticket.created_at, Ticket.updated_at).where(Ticket.id == ticket_id)
        row = session.execute(statement).first()
        if row is None:
            return None
        received_at, updated_at = (moment.astimezone(self._zone) for moment in (row.created_at, row.updated_at))
        return CaseView(format_number(ticket_id), row.stage, received_at, updated_at)
