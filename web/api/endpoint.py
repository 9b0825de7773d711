"""Where calls of the API come in: who asks, what for, in which shape; done in one unit of work, and answered.

Nothing of a body is logged, and an answer says no more than its reader may know.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response
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
from web.api.routes import Route
from web.request_body import MemoryBudget, read_body
from web.threadpool import run_in_thread

log = logging.getLogger("casemill.api")

BODY_BYTES = 1024 * 1024
RETRY = {"Retry-After": "5"}
_BODY_STATUSES = {"too_large": 413, "too_slow": 408, "disconnected": 400, "overloaded": 503}
#: Refusals of the rules about who asks; all others are about what is asked.
_FORBIDDEN = frozenset({"not_a_manager", "unknown_role"})


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that was read, before anything is done. ``key`` is its Idempotency-Key, ``digest`` what tells it from others."""

    route: Route
    path: dict[str, str]
    query: Any
    body: Any
    key: str | None
    digest: str


class Api:
    """The ASGI application under ``/api/v1``."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._room = MemoryBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """The answer to any request; what is wrong with it is a problem (RFC 9457)."""
        try:
            return await self._answer(request)
        except ProblemError as error:
            return problems.answer(error)
        except (BusyError, SQLAlchemyError, TimeoutError) as error:
            log.error("a call of the API was not done", extra={"error": type(error).__name__})
            return problems.answer(ProblemError(503, "unavailable", "the database is busy or away", headers=RETRY))

    async def _answer(self, request: Request) -> Response:
        path = "/" + request.path_params["rest"]
        method = "GET" if request.method == "HEAD" else request.method
        if path == openapi.PATH:
            _name(request, routes.PREFIX + path)
            _require_method(method, {"GET"})
            return Response(openapi.document(), media_type="application/json")
        found = routes.find(path)
        if not found:
            _name(request, routes.PREFIX + "/…")
            raise ProblemError(404, "not_found", "there is nothing at this address")
        _name(request, next(iter(found.values()))[0].template)
        bearer = await self._identify(request)
        _require_method(method, found.keys())
        route, parts = found[method]
        if route.scope not in bearer.scopes:
            raise ProblemError(403, "scope_missing", f"the token has not the scope {route.scope}")
        asked = await self._read(request, route, parts)
        return await run_in_thread(lambda: self._do(asked, bearer), "api")

    async def _identify(self, request: Request) -> Bearer:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        bearer = None
        if scheme.lower() == "bearer" and secret.strip():
            bearer = await run_in_thread(lambda: self._find(secret.strip()), "api")
        if bearer is None:
            raise _no_token()
        return bearer

    def _find(self, secret: str) -> Bearer | None:
        now = clock.now()
        with self._database.read() as session:
            bearer = api_tokens.find(session, secret, now)
        if bearer is not None and not bearer.is_fresh:
            self._database.transaction(lambda session: api_tokens.touch(session, bearer.token_id, now))
        return bearer

    async def _read(self, request: Request, route: Route, parts: dict[str, str]) -> _Asked:
        query = _convert(_query(request), route.query, "the address")
        if route.body is None:
            return _Asked(route, parts, query, None, None, "")
        key = _key(request) if route.once else None
        raw = await self._read_body(request)
        body = _decode(raw, route.body)
        digest = hashlib.sha256(b"\0".join([request.method.encode(), request.url.path.encode(), raw])).hexdigest()
        return _Asked(route, parts, query, body, key, digest)

    async def _read_body(self, request: Request) -> bytes:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise ProblemError(415, "not_json", "the body is to be application/json")
        try:
            with self._room.reserve() as hold:
                return await read_body(request, hold, BODY_BYTES)
        except RefusedError as refused:
            headers = RETRY if refused.code == "overloaded" else {}
            status = _BODY_STATUSES.get(refused.code, 400)
            raise ProblemError(status, refused.code, refused.text, headers=headers, is_unread=True) from None

    def _do(self, asked: _Asked, bearer: Bearer) -> Response:
        try:
            if not asked.route.writes:
                with self._database.read() as session:
                    return _respond(asked.route.status, self._handle(session, asked, bearer))
            response = self._database.transaction(lambda session: self._unit(session, asked, bearer))
        except NotFoundError as error:
            raise ProblemError(404, "not_found", error.text, hint=error.hint) from None
        except RefusedError as error:
            status = 403 if error.code in _FORBIDDEN else 422
            raise ProblemError(status, error.code, error.text, hint=error.hint) from None
        request_drain("outbox.drain")
        return response

    def _unit(self, session: Session, asked: _Asked, bearer: Bearer) -> Response:
        """The act, and what it is answered, in one transaction: kept under its key, or not done."""
        if asked.key is None:
            return _respond(asked.route.status, self._handle(session, asked, bearer))
        before = idempotency.begin(session, bearer.token_id, asked.key, asked.digest, clock.now())
        if before is not None:
            if before.request_hash != asked.digest:
                raise ProblemError(422, "key_used", "this Idempotency-Key belongs to another request", hint="take a new one")
            return _respond(before.status, before.body.encode(), {"Idempotency-Replayed": "true"})
        content = self._handle(session, asked, bearer)
        idempotency.keep(session, bearer.token_id, asked.key, asked.route.status, content.decode())
        return _respond(asked.route.status, content)

    def _handle(self, session: Session, asked: _Asked, bearer: Bearer) -> bytes:
        by = session.get_one(Staff, bearer.staff_id)
        if not by.active:  # since the token was looked at
            raise _no_token()
        call = Call(session, self._settings, clock.now(), by, asked.path, asked.query, asked.body)
        return msgspec.json.encode(msgspec.convert(asked.route.handler(call), asked.route.gives))


def _no_token() -> ProblemError:
    challenge = {"WWW-Authenticate": 'Bearer realm="casemill"'}
    return ProblemError(401, "no_token", "a good token is needed", hint="see `casemill token add`", headers=challenge)


def _respond(status: int, content: bytes, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, "application/json")


def _name(request: Request, template: str) -> None:
    """What the metrics count the request under: raw addresses have no end and may hold anything."""
    request.scope["route"] = SimpleNamespace(path=template)


def _require_method(method: str, allowed: Any) -> None:
    if method not in allowed:
        listed = ", ".join(sorted({*allowed, *({"HEAD"} if "GET" in allowed else ())}))
        raise ProblemError(405, "method_not_allowed", "this address does not take that method", headers={"Allow": listed})


def _query(request: Request) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise ProblemError(422, "bad_value", "a word stands twice in the address")
        given[name] = value
    return given


def _key(request: Request) -> str | None:
    given = request.headers.getlist(openapi.IDEMPOTENCY)
    if not given:
        return None
    key = given[0].strip()
    if len(given) > 1 or not 0 < len(key) <= openapi.LONGEST_KEY or not all("!" <= one <= "~" for one in key):
        raise ProblemError(422, "bad_key", "an Idempotency-Key has 1 to 255 visible ASCII characters, and stands once")
    return key


def _decode(raw: bytes, shape: type[Any]) -> Any:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProblemError(400, "bad_json", "the body is not JSON") from None
    return _convert(value, shape, "the body", strict=True)


def _convert(value: Any, shape: type[Any], where: str, *, strict: bool = False) -> Any:
    """``value`` in the shape; what msgspec says of it names fields and kinds, and nothing of a text."""
    try:
        return msgspec.convert(value, shape, strict=strict)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise ProblemError(422, "bad_value", f"{where}: {error}") from None
