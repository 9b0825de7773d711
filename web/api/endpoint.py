"""The ASGI application under ``/api/v1``: authenticates, reads and validates a request, and runs its handler.

A handler runs in one transaction. Nothing of a request body is logged, and a problem document repeats no value of a request.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from accounts import api_tokens, idempotency
from accounts.api_tokens import Bearer
from accounts.models import Staff
from core import clock
from core.database.session import Database
from core.errors import BusyError, NotFoundError, RefusedError
from core.settings import Settings
from runtime.drain_requests import request_drain
from web.api import openapi, problems, routes
from web.api.context import Call
from web.api.problems import ProblemError
from web.api.routes import ApiRoute
from web.request_body import MemoryBudget, read_body
from web.threadpool import run_in_thread

log = logging.getLogger("casemill.api")

MAX_BODY_BYTES = 1024 * 1024
RETRY_AFTER = {"Retry-After": "5"}
_BODY_STATUSES = {"too_large": 413, "too_slow": 408, "disconnected": 400, "overloaded": 503}
#: Refusals that depend on the role of the caller answer 403; all others depend on the request and answer 422.
_FORBIDDEN = frozenset({"not_a_manager", "unknown_role"})


@dataclass(frozen=True, slots=True)
class _ApiRequest:
    """A request that was read and validated.

    ``request_hash`` is over method, path and body: it tells whether an Idempotency-Key is used for another request.
    """

    route: ApiRoute
    path: dict[str, str]
    query: Any
    body: Any
    idempotency_key: str | None
    request_hash: str


class Api:
    """The ASGI application under ``/api/v1``."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._budget = MemoryBudget()
        # Starlette matches the path only: a client without a token learns nothing of the methods, so 401 comes before 405.
        self._router = Router(
            [
                Route(routes.PREFIX + openapi.PATH, _ProblemBoundary(_show_document)),
                *(
                    Route(template, _ProblemBoundary(partial(self._handle_request, by_method)))
                    for template, by_method in routes.group_by_template().items()
                ),
            ],
            redirect_slashes=False,
            default=_ProblemBoundary(_refuse_unknown_path),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._router(scope, receive, send)

    async def _handle_request(self, by_method: dict[str, ApiRoute], request: Request) -> Response:
        bearer = await self._authenticate(request)
        _require_method(request, by_method)
        route = by_method[_effective_method(request)]
        if route.scope not in bearer.scopes:
            raise ProblemError(403, "scope_missing", f"the token does not have the scope {route.scope}")
        api_request = await self._read(request, route)
        return await run_in_thread(lambda: self._run_handler(api_request, bearer), "api")

    async def _authenticate(self, request: Request) -> Bearer:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        bearer = None
        if scheme.lower() == "bearer" and secret.strip():
            bearer = await run_in_thread(lambda: self._find_bearer(secret.strip()), "api")
        if bearer is None:
            raise _unauthorized()
        return bearer

    def _find_bearer(self, secret: str) -> Bearer | None:
        now = clock.now()
        with self._database.read() as session:
            bearer = api_tokens.authenticate(session, secret, now)
        if bearer is not None and not bearer.is_use_recorded:
            self._database.transaction(lambda session: api_tokens.record_use(session, bearer.token_id, now))
        return bearer

    async def _read(self, request: Request, route: ApiRoute) -> _ApiRequest:
        query = _convert(_read_query(request), route.query, "the query string")
        if route.body is None:
            return _ApiRequest(route, request.path_params, query, None, None, "")
        key = _read_idempotency_key(request) if route.takes_idempotency_key else None
        raw = await self._read_body(request)
        body = _decode(raw, route.body)
        request_hash = hashlib.sha256(b"\0".join([request.method.encode(), request.url.path.encode(), raw])).hexdigest()
        return _ApiRequest(route, request.path_params, query, body, key, request_hash)

    async def _read_body(self, request: Request) -> bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise ProblemError(415, "not_json", "the body must be JSON", hint="send Content-Type: application/json")
        try:
            with self._budget.reserve() as reservation:
                return await read_body(request, reservation, MAX_BODY_BYTES)
        except RefusedError as refused:
            headers = RETRY_AFTER if refused.code == "overloaded" else {}
            status = _BODY_STATUSES.get(refused.code, 400)
            raise ProblemError(
                status, refused.code, refused.text, hint=refused.hint, headers=headers, is_body_unread=True
            ) from None

    def _run_handler(self, request: _ApiRequest, bearer: Bearer) -> Response:
        try:
            if not request.route.is_write:
                with self._database.read() as session:
                    return _respond(request.route.status, self._call_handler(session, request, bearer))
            response = self._database.transaction(lambda session: self._write(session, request, bearer))
        except NotFoundError as error:
            raise ProblemError(404, "not_found", error.text, hint=error.hint) from None
        except RefusedError as error:
            status = 403 if error.code in _FORBIDDEN else 422
            raise ProblemError(status, error.code, error.text, hint=error.hint) from None
        request_drain("outbox.drain")
        return response

    def _write(self, session: Session, request: _ApiRequest, bearer: Bearer) -> Response:
        """Run the handler and store its response under the Idempotency-Key, in one transaction: both are kept, or neither is."""
        if request.idempotency_key is None:
            return _respond(request.route.status, self._call_handler(session, request, bearer))
        earlier = idempotency.reserve_key(session, bearer.token_id, request.idempotency_key, request.request_hash, clock.now())
        if earlier is not None:
            if earlier.request_hash != request.request_hash:
                raise ProblemError(
                    422, "key_used", "this Idempotency-Key was used for another request", hint="send a new key with a new request"
                )
            return _respond(earlier.status, earlier.body.encode(), {"Idempotency-Replayed": "true"})
        content = self._call_handler(session, request, bearer)
        idempotency.store_answer(session, bearer.token_id, request.idempotency_key, request.route.status, content.decode())
        return _respond(request.route.status, content)

    def _call_handler(self, session: Session, request: _ApiRequest, bearer: Bearer) -> bytes:
        staff = session.get_one(Staff, bearer.staff_id)
        # The person may have been deactivated since the token was checked.
        if not staff.active:
            raise _unauthorized()
        call = Call(session, self._settings, clock.now(), staff, request.path, request.query, request.body)
        return msgspec.json.encode(msgspec.convert(request.route.handler(call), request.route.response))


class _ProblemBoundary:
    """An ASGI application that answers any method with ``respond``, and turns the errors it raises into problem documents."""

    def __init__(self, respond: Callable[[Request], Awaitable[Response]]) -> None:
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond_or_refuse(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond_or_refuse(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except ProblemError as error:
            return problems.problem_response(error)
        except (BusyError, SQLAlchemyError, TimeoutError) as error:
            log.error("api request failed, database unavailable", extra={"error": type(error).__name__})
            busy = ProblemError(503, "unavailable", "the database is busy or unavailable", headers=RETRY_AFTER)
            return problems.problem_response(busy)


async def _show_document(request: Request) -> Response:
    _require_method(request, ("GET",))
    return Response(openapi.build_document(), media_type="application/json")


async def _refuse_unknown_path(_request: Request) -> Response:
    raise ProblemError(404, "not_found", "there is nothing at this address", hint=f"see {routes.PREFIX}{openapi.PATH}")


def _unauthorized() -> ProblemError:
    challenge = {"WWW-Authenticate": 'Bearer realm="casemill"'}
    return ProblemError(401, "no_token", "a valid API token is needed", hint="see `casemill token add`", headers=challenge)


def _respond(status: int, content: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, "application/json")


def _effective_method(request: Request) -> str:
    return "GET" if request.method == "HEAD" else request.method


def _require_method(request: Request, allowed: Iterable[str]) -> None:
    if _effective_method(request) not in allowed:
        listed = ", ".join(sorted({*allowed, *({"HEAD"} if "GET" in allowed else ())}))
        raise ProblemError(405, "method_not_allowed", "this address does not allow that method", headers={"Allow": listed})


def _read_query(request: Request) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise ProblemError(422, "bad_value", "the query string names a parameter twice")
        values[name] = value
    return values


def _read_idempotency_key(request: Request) -> str | None:
    values = request.headers.getlist(openapi.IDEMPOTENCY_HEADER)
    if not values:
        return None
    key = values[0].strip()
    if len(values) > 1 or not 0 < len(key) <= openapi.MAX_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
        raise ProblemError(422, "bad_key", "an Idempotency-Key is one header of 1 to 255 visible ASCII characters")
    return key


def _decode(raw: bytes, schema: type[Any]) -> Any:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "bad_json", "the body is not valid JSON") from None
    return _convert(value, schema, "the body", strict=True)


def _convert(value: Any, schema: type[Any], where: str, *, strict: bool = False) -> Any:
    """Return ``value`` as ``schema``. The message of msgspec names fields and types and repeats no value."""
    try:
        return msgspec.convert(value, schema, strict=strict)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise ProblemError(422, "bad_value", f"{where}: {error}") from None
