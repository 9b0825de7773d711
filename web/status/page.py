"""The front page: what came in during the last 24 hours, what waits, and the last tickets."""

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
from web.status.queries import Judge, Overview
from web.ttl_cache import TtlCache

log = logging.getLogger("casemill.web")

_KEPT_SECONDS = 2.0


class FrontPage:
    """The page, for those who may see the state of the house; nobody else learns that it exists."""

    def __init__(self, settings: Settings, database: Database, judge: Judge | None = None) -> None:
        self._settings = settings
        self._database = database
        self._judge = judge
        self._figures = TtlCache(self._read, seconds=_KEPT_SECONDS)
        self._pages = Pages()

    async def show(self, request: Request) -> Response:
        """200 with the page, 503 with a page that says that the database is away, 404 for strangers."""
        if not access.may_see_status(request, self._settings):
            raise HTTPException(404)
        try:
            figures, judgements = await self._figures.get()
        except (SQLAlchemyError, TimeoutError) as error:
            log.error("the front page cannot be read", exc_info=error)
            return self._pages.render("away.html", 503)
        page = view.arrange(figures, self._settings, clock.now(), judgements)
        return self._pages.render("front.html", page=page, settings=self._settings)

    def _read(self) -> tuple[Overview, Sequence[Finding]]:
        with self._database.read() as session:
            return queries.read_overview(session, clock.now()), self._judge(session) if self._judge else ()
