"""The web application: hooks, the API, health, readiness, metrics, the front page, a ticket, a case and its survey."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.database.session import Database
from core.settings import Settings
from web.care_center.case import CasePage
from web.care_center.survey import SurveyPage
from web.desk.ticket import TicketPage
from web.health import Health, answer_alive
from web.hooks.formstack import FormstackHook
from web.metrics import Metrics
from web.security_headers import SecurityHeaders, error_response
from web.status.page import FrontPage
from web.status.queries import Judge

Status = Callable[[], Mapping[str, object]]


def create(settings: Settings, database: Database, *, status: Status | None = None, judge: Judge | None = None) -> Starlette:
    """The application over ``database``.

    ``status`` adds named checks to ``/readyz``: each value is True or ``"ok"``, anything else is the sentence that says
    what is wrong. ``judge`` gives the invariants for the front page and the metrics. Both are called in a thread.
    """
    survey = SurveyPage(settings, database)
    routes = [
        Route("/hooks/formstack/{form}", FormstackHook(settings, database), methods=["POST"]),
        Route("/", FrontPage(settings, database, judge).show, methods=["GET"]),
        Route("/care/cases/{signed}", CasePage(settings, database).show, methods=["GET"]),
        Route("/care/surveys/{signed}", survey.form, methods=["GET", "POST"]),
        Route("/care/surveys/unsubscribe/{signed}", survey.unsubscribe, methods=["GET", "POST"]),
        Route("/desk", _show_front, methods=["GET"]),
        Route("/desk/tickets/{number}", TicketPage(settings, database).show, methods=["GET"]),
        Route("/api/v1/{rest:path}", _Later(settings, database)),
        Route("/healthz", answer_alive, methods=["GET"]),
        Route("/readyz", Health(settings, database, status).answer, methods=["GET"]),
        Route("/metrics", Metrics(settings, database, judge).answer, methods=["GET"]),
    ]
    https = settings.web.base_url.startswith("https://")
    app = Starlette(
        routes=routes,
        middleware=[Middleware(SecurityHeaders, https=https)],
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False
    return app


async def _show_front(_request: Request) -> Response:
    """Where digests lead, until the desk has a page of its own."""
    return RedirectResponse("/")


class _Later:
    """The API, loaded when it is first called: whoever does not use it pays nothing for it."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @cached_property
    def _api(self) -> ASGIApp:
        from web.api.endpoint import Api

        return Api(self._settings, self._database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._api(scope, receive, send)


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return error_response(request.scope, error.status_code, dict(error.headers or {}))
