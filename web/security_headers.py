"""The outermost middleware: sets security headers on every response, counts requests, and hides the details of errors."""

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

#: For every response that is not a page; a page sets its own Content-Security-Policy with a nonce.
DENY_ALL_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_DEFAULT_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
    "content-security-policy": DENY_ALL_POLICY,
}
_HSTS_ONE_YEAR = "max-age=31536000; includeSubDomains"
_HEADER_NAMES = frozenset(name.encode() for name in [*_DEFAULT_HEADERS, "strict-transport-security"])
_COUNTED_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class SecurityHeaders:
    """ASGI middleware around the whole application. ``is_https`` adds HSTS (RFC 6797)."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        headers = _DEFAULT_HEADERS | ({"strict-transport-security": _HSTS_ONE_YEAR} if is_https else {})
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        response = _ResponseSender(send, self._headers)
        started = time.perf_counter()
        try:
            await self._app(scope, receive, response.send)
        except Exception as error:
            log.error("request failed", exc_info=error, extra={"route": find_route(scope)})
            await response.send_error(scope, receive)
        finally:
            _count_request(scope, response.status, time.perf_counter() - started)


class _ResponseSender:
    """Sends a response with the security headers; ``status`` stays 0 until the response has started."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name.lower() for name, _ in message.get("headers", [])}
            missing = self._headers
            if not present.isdisjoint(_HEADER_NAMES):
                missing = [pair for pair in missing if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", []), *missing]}
        await self._send(message)

    async def send_error(self, scope: Scope, receive: Receive) -> None:
        """Send a 500. A response that had started stays incomplete: the server closes the connection, so the client notices."""
        if self.status == 0:
            await error_response(scope, 500)(scope, receive, self.send)


_ERRORS = {
    400: ("bad_request", "The request is not valid."),
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This address does not allow that method."),
    408: ("too_slow", "The request did not arrive in time."),
    413: ("too_large", "The request is too large."),
    500: ("internal_error", "Something went wrong on our side and was logged. Please try again in a moment."),
    503: ("unavailable", "The service is busy. Please try again in a moment."),
}


def error_response(scope: Scope, status: int, headers: dict[str, str] | None = None) -> Response:
    """Return a short text for browsers, or JSON for programs, by the Accept header. It repeats nothing of the request."""
    code, sentence = _ERRORS.get(status, ("refused", "The request was refused."))
    wants_page = "text/html" in MutableHeaders(scope=scope).get("accept", "")
    if wants_page:
        return PlainTextResponse(sentence + "\n", status, headers)
    return JSONResponse({"error": code, "message": sentence}, status, headers)


def find_route(scope: Scope) -> str:
    """Return the template of the matched route, ``none`` without one.

    Raw paths are not counted: their number is unlimited and they may contain personal data.
    """
    route: Any = scope.get("route")
    return str(getattr(route, "path", "none"))


def _count_request(scope: Scope, status: int, seconds: float) -> None:
    route = find_route(scope)
    method = scope["method"] if scope["method"] in _COUNTED_METHODS else "other"
    _request_counter(method, route, str(status)).inc()
    _duration_histogram(route).observe(seconds)


# The lookup of labels costs as much as the count itself, so the few children are cached.
_request_counter = lru_cache(maxsize=512)(HTTP_REQUESTS.labels)
_duration_histogram = lru_cache(maxsize=64)(HTTP_SECONDS.labels)
