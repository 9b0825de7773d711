"""``POST /hooks/formstack/{form}``: receives one Formstack submission (formstack.md; Formstack webhook setup).

A post is stored durably and then answered; all work on it happens later. The answer to a post that fails authentication gives
no detail, and nothing of a body is logged.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from dataclasses import dataclass

from prometheus_client import Counter
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from core import clock
from core.database.session import Database
from core.errors import BusyError, RefusedError
from core.metrics import WEBHOOK_POSTS
from core.settings import Settings
from core.settings.sections import Form
from ingest.ledger.types import FORMSTACK, Arrival, Source
from ingest.parsers.types import Refusal
from ingest.sources.formstack_envelope import Envelope, split_envelope, verify_signature
from web.hooks.batch_writer import BatchWriter
from web.request_body import ClosingResponse, MemoryBudget, Reservation, read_body

log = logging.getLogger("casemill.hooks")

MEDIA_TYPES = ("application/json", "application/x-www-form-urlencoded")
RETRY_AFTER_SECONDS = 5
#: One response for all posts: it holds nothing of a post, and sending it does not change it.
_ACCEPTED = Response(b'{"status":"accepted"}', media_type="application/json")
#: Bodies of this size and more are parsed in a thread, so that one large post does not block the others.
_THREAD_FROM_BYTES = 64 * 1024
_STATUSES = {
    "too_large": 413,
    "too_slow": 408,
    "disconnected": 400,
    "overloaded": 503,
    "unavailable": 503,
    "unsupported_content_type": 415,
    "unauthorized": 401,
}
#: Refusals while the client may still be sending its body.
_BODY_UNREAD_CODES = ("too_large", "too_slow", "overloaded")


@dataclass(frozen=True, slots=True)
class _FormAuth:
    """How posts of one form are authenticated, and the counter of its accepted posts."""

    signature_keys: tuple[bytes, ...]
    signature_header: str
    handshake_key: bytes | None
    accepted: Counter


class FormstackHook:
    """The webhook of all configured forms."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._forms = {name: _make_form_auth(name, form) for name, form in settings.forms.items()}
        self._max_body_bytes = settings.limits.form_bytes
        self._budget = MemoryBudget()
        self._writer = BatchWriter(database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.receive(Request(scope, receive))
        await response(scope, receive, send)

    async def receive(self, request: Request) -> Response:
        """Answer 200 once a submission is committed, new or known; otherwise a status of the contract with a short code."""
        form = str(request.path_params["form"])
        auth = self._forms.get(form)
        if auth is None:
            raise HTTPException(404)
        try:
            with self._budget.reserve() as reservation:
                await self._receive_post(request, form, auth, reservation)
        except RefusedError as refused:
            return _refuse(form, refused)
        auth.accepted.inc()
        return _ACCEPTED

    async def _receive_post(self, request: Request, form: str, auth: _FormAuth, reservation: Reservation) -> None:
        media_type = _read_media_type(request)
        body = await read_body(request, reservation, self._max_body_bytes)
        if auth.signature_keys and not verify_signature(auth.signature_keys, body, _find_signature(request, auth)):
            raise RefusedError("unauthorized", "the signature does not match")
        envelope = await _parse_envelope(body, media_type)
        _check_envelope(envelope, form, auth)
        await self._store(form, envelope, media_type)

    async def _store(self, form: str, envelope: Envelope, media_type: str) -> None:
        arrival = _make_arrival(form, envelope, media_type)
        try:
            stored = await self._writer.store(arrival)
        except (BusyError, SQLAlchemyError, TimeoutError) as error:
            log.error("webhook post not stored, database unavailable", extra={"form": form, "error": type(error).__name__})
            raise RefusedError("unavailable", "the database is busy or unavailable") from None
        fields = {"form": form, "submission": envelope.submission_id, "item": stored.item_id, "sha256": stored.received_sha256}
        if stored.stored_sha256 != stored.received_sha256:
            log.warning("webhook post changed, first version kept", extra=fields | {"stored": stored.stored_sha256})
        else:
            log.debug("webhook post stored", extra=fields | {"known": stored.is_known})


def _make_form_auth(name: str, form: Form) -> _FormAuth:
    keys = tuple(key.get_secret_value().encode() for key in form.signature_keys)
    handshake = form.handshake_key.get_secret_value().encode() if form.handshake_key else None
    return _FormAuth(keys, form.signature_header, handshake, WEBHOOK_POSTS.labels(name, "accepted"))


def _make_arrival(form: str, envelope: Envelope, media_type: str) -> Arrival:
    return Arrival(
        family=FORMSTACK,
        kind="form",
        source=str(Source("form", form)),
        place=envelope.submission_id,
        raw=envelope.stored,
        received_at=clock.now(),
        identity=envelope.identity,
        extra={"content_type": media_type},
    )


def _read_media_type(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError("unsupported_content_type", "a form post must be JSON or urlencoded, and not compressed")
    return media_type


def _find_signature(request: Request, auth: _FormAuth) -> bytes | None:
    """Return the signature header, None unless there is exactly one."""
    values = request.headers.getlist(auth.signature_header)
    return values[0].encode("latin-1") if len(values) == 1 else None


async def _parse_envelope(body: bytes, media_type: str) -> Envelope:
    is_large = len(body) >= _THREAD_FROM_BYTES
    envelope = await asyncio.to_thread(split_envelope, body, media_type) if is_large else split_envelope(body, media_type)
    if isinstance(envelope, Refusal):
        raise RefusedError(envelope.code, envelope.text)
    return envelope


def _check_envelope(envelope: Envelope, form: str, auth: _FormAuth) -> None:
    if auth.handshake_key is not None:
        # A lone surrogate from a JSON escape has no UTF-8 form; surrogatepass compares it and does not raise.
        key = (envelope.handshake_key or "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(key, auth.handshake_key):
            raise RefusedError("unauthorized", "the handshake key does not match")
    if envelope.form_id != form:
        raise RefusedError("wrong_form", "the FormID is not the form of this address")


def _refuse(form: str, refused: RefusedError) -> Response:
    status = _STATUSES.get(refused.code, 400)
    WEBHOOK_POSTS.labels(form, refused.code).inc()
    log.warning("webhook post refused", extra={"form": form, "code": refused.code, "status": status})
    # A 401 has no code: telling a wrong signature from a wrong handshake key would help an attacker who guesses.
    content = {"status": "refused"} | ({} if status == 401 else {"code": refused.code})
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    response_type = ClosingResponse if refused.code in _BODY_UNREAD_CODES else JSONResponse
    return response_type(content, status, headers)
