"""The outermost layer of the web: security headers on every answer, counting, and no detail of an error to anybody."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.metrics import HTTP_REQUESTS, HTTP_SECONDS

log = logging.getLogger("casemill.web")

#: For everything that is not a page; a page sets its own Content-Security-Policy with nonces.
CLOSED_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
    "content-security-policy": CLOSED_POLICY,
}
_ONE_YEAR = "max-age=31536000; includeSubDomains"
_NAMES = frozenset(name.encode() for name in [*_HEADERS, "strict-transport-security"])
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class SecurityHeaders:
    """ASGI middleware around the whole application. ``https`` switches HSTS on."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        headers = _HEADERS | ({"strict-transport-security": _ONE_YEAR} if https else {})
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = _Answer(send, self._headers)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            log.error("a request failed", exc_info=error, extra={"route": find_route(scope)})
            await answer.fail(scope, receive)
        finally:
            _count(scope, answer.status, time.perf_counter() - started)


class _Answer:
    """Passes an answer on and remembers how far it got."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name.lower() for name, _ in message.get("headers", [])}
            own = self._headers
            if not present.isdisjoint(_NAMES):
                own = [pair for pair in own if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await self._send(message)

    async def fail(self, scope: Scope, receive: Receive) -> None:
        """Answer 500. An answer that had begun stays unfinished: the server then ends the connection, and the client knows."""
        if self.status == 0:
            await error_response(scope, 500)(scope, receive, self.send)


_TEXTS = {
    400: ("bad_request", "The request cannot be understood."),
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This address does not take that method."),
    408: ("too_slow", "The request did not come in time."),
    413: ("too_large", "That is too much at once."),
    500: ("internal_error", "Something went wrong on our side. It has been noted; please try again in a moment."),
    503: ("unavailable", "The service is busy. Please try again in a moment."),
}


def error_response(scope: Scope, status: int, headers: dict[str, str] | None = None) -> Response:
    """A plain answer for people (text) or programs (JSON), by what the client asks for. Nothing of the request is in it."""
    code, sentence = _TEXTS.get(status, ("refused", "The request was refused."))
    wants_page = "text/html" in MutableHeaders(scope=scope).get("accept", "")
    if wants_page:
        return PlainTextResponse(sentence + "\n", status, headers)
    return JSONResponse({"error": code, "message": sentence}, status, headers)


def find_route(scope: Scope) -> str:
    """The template of the matched route, ``none`` without one: raw paths have no end and may hold anything."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "none"))


def _count(scope: Scope, status: int, seconds: float) -> None:
    route = find_route(scope)
    method = scope["method"] if scope["method"] in _METHODS else "other"
    _request_counter(method, route, str(status)).inc()
    _time_histogram(route).observe(seconds)


# Looking labels up costs as much as counting; there are few of them.
_request_counter = lru_cache(maxsize=512)(HTTP_REQUESTS.labels)
_time_histogram = lru_cache(maxsize=64)(HTTP_SECONDS.labels)
