"""``GET /``: the status page."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from core import clock
from core.database.session import Database
from core.findings import Finding
from core.settings import Settings
from web import access
from web.pages import Pages
from web.status import queries, view
from web.status.queries import InvariantChecker, StatusFigures
from web.ttl_cache import TtlCache

log = logging.getLogger("casemill.web")

_CACHE_SECONDS = 2.0


class StatusPage:
    """The status page, for clients that may see the status."""

    def __init__(self, settings: Settings, database: Database, check_invariants: InvariantChecker | None = None) -> None:
        self._settings = settings
        self._database = database
        self._check_invariants = check_invariants
        self._figures = TtlCache(self._read, seconds=_CACHE_SECONDS)
        self._pages = Pages()

    async def show(self, request: Request) -> Response:
        """Answer 200 with the page, 503 with a page that says that the database is unavailable, or 404 without access."""
        if not access.may_see_status(request, self._settings):
            raise HTTPException(404)
        try:
            figures, findings = await self._figures.get()
        except (SQLAlchemyError, TimeoutError) as error:
            log.error("status page unreadable, database unavailable", exc_info=error)
            return self._pages.render("unavailable.html", 503)
        page = view.arrange_page(figures, self._settings, clock.now(), findings)
        return self._pages.render("status.html", page=page, settings=self._settings)

    def _read(self) -> tuple[StatusFigures, Sequence[Finding]]:
        with self._database.read() as session:
            figures = queries.read_status_figures(session, clock.now())
            return figures, self._check_invariants(session) if self._check_invariants else ()
