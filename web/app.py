"""The web application: its routes and the outermost middleware."""

from __future__ import annotations

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
from web.care_center.survey import SurveyPages
from web.desk.ticket import TicketPage
from web.health import Readiness, StatusChecks, show_liveness
from web.hooks.formstack import FormstackHook
from web.metrics import MetricsPage
from web.security_headers import SecurityHeaders, error_response
from web.status.page import StatusPage
from web.status.queries import InvariantChecker


def create_app(
    settings: Settings,
    database: Database,
    *,
    status_checks: StatusChecks | None = None,
    check_invariants: InvariantChecker | None = None,
) -> Starlette:
    """Return the application over ``database``.

    ``status_checks`` adds named checks to ``/readyz``: True or ``"ok"`` passes, any other value is a sentence that says what
    is wrong. ``check_invariants`` returns the findings that the status page and the metrics show. Both are called in a thread.
    """
    survey = SurveyPages(settings, database)
    routes = [
        Route("/hooks/formstack/{form}", FormstackHook(settings, database), methods=["POST"]),
        Route("/", StatusPage(settings, database, check_invariants).show, methods=["GET"]),
        Route("/care/cases/{signed}", CasePage(settings, database).show, methods=["GET"]),
        Route("/care/surveys/{signed}", survey.answer, methods=["GET", "POST"]),
        Route("/care/surveys/unsubscribe/{signed}", survey.unsubscribe, methods=["GET", "POST"]),
        Route("/desk", _redirect_to_status, methods=["GET"]),
        Route("/desk/tickets/{number}", TicketPage(settings, database).show, methods=["GET"]),
        Route("/api/v1/{rest:path}", _LazyApi(settings, database)),
        Route("/healthz", show_liveness, methods=["GET"]),
        Route("/readyz", Readiness(settings, database, status_checks).show, methods=["GET"]),
        Route("/metrics", MetricsPage(settings, database, check_invariants).show, methods=["GET"]),
    ]
    is_https = settings.web.base_url.startswith("https://")
    app = Starlette(
        routes=routes,
        middleware=[Middleware(SecurityHeaders, is_https=is_https)],
        exception_handlers={HTTPException: _handle_http_error},
    )
    app.router.redirect_slashes = False
    return app


async def _redirect_to_status(_request: Request) -> Response:
    """Redirect the link of digest mails to the status page, until the desk has a page of its own."""
    return RedirectResponse("/")


class _LazyApi:
    """The API, imported at its first request, so that ``casemill run`` starts quickly."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database

    @cached_property
    def _api(self) -> ASGIApp:
        from web.api.endpoint import Api

        return Api(self._settings, self._database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._api(scope, receive, send)


async def _handle_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return error_response(request.scope, error.status_code, dict(error.headers or {}))
