"""``POST /hooks/formstack/{form}``: one Formstack submission (formstack.md; Formstack webhook setup).

The post is stored durably and answered; all work on it happens later. Whoever cannot prove that the post is genuine learns
nothing from the answer, and nothing of a body is ever logged.
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
from ingest.ledger.types import FORMSTACK, Arrival
from ingest.parsers.types import Refusal
from ingest.sources.formstack_envelope import Envelope, split_envelope, verify_signature
from web.hooks.batch_writer import BatchWriter
from web.request_body import LastResponse, MemoryBudget, Reservation, read_body

log = logging.getLogger("casemill.hooks")

MEDIA_TYPES = ("application/json", "application/x-www-form-urlencoded")
RETRY_SECONDS = 5
#: One for all: nothing of a post is in it, and to send it changes nothing of it.
_ACCEPTED = Response(b'{"status":"accepted"}', media_type="application/json")
#: Bodies from this size are read in a thread, so that one large post does not hold up the others.
_LARGE = 64 * 1024
_STATUSES = {
    "too_large": 413,
    "too_slow": 408,
    "disconnected": 400,
    "overloaded": 503,
    "unavailable": 503,
    "unsupported_content_type": 415,
    "unauthorized": 401,
}
#: Answered while the client may still be sending.
_UNREAD = ("too_large", "too_slow", "overloaded")


@dataclass(frozen=True, slots=True)
class _Door:
    """What one form asks of a post."""

    signature_keys: tuple[bytes, ...]
    signature_header: str
    handshake_key: bytes | None
    accepted: Counter


class FormstackHook:
    """The webhook of all configured forms."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._doors = {name: _make_door(name, form) for name, form in settings.forms.items()}
        self._limit = settings.limits.form_bytes
        self._room = MemoryBudget()
        self._intake = BatchWriter(database)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.receive(Request(scope, receive))
        await response(scope, receive, send)

    async def receive(self, request: Request) -> Response:
        """200 for new and known submissions alike, once committed; else the status of the contract with a short code."""
        form = str(request.path_params["form"])
        door = self._doors.get(form)
        if door is None:
            raise HTTPException(404)
        try:
            with self._room.reserve() as hold:
                await self._take_in(request, form, door, hold)
        except RefusedError as refused:
            return _refuse(form, refused)
        door.accepted.inc()
        return _ACCEPTED

    async def _take_in(self, request: Request, form: str, door: _Door, hold: Reservation) -> None:
        media_type = _read_media_type(request)
        body = await read_body(request, hold, self._limit)
        if door.signature_keys and not verify_signature(door.signature_keys, body, _find_signature(request, door)):
            raise RefusedError("unauthorized", "the signature does not fit")
        envelope = await _open(body, media_type)
        _check(envelope, form, door)
        await self._store(form, envelope, media_type)

    async def _store(self, form: str, envelope: Envelope, media_type: str) -> None:
        arrival = _make_arrival(form, envelope, media_type)
        try:
            kept = await self._intake.store(arrival)
        except (BusyError, SQLAlchemyError, TimeoutError) as error:
            log.error("a post could not be stored", extra={"form": form, "error": type(error).__name__})
            raise RefusedError("unavailable", "the database is busy or away") from None
        told = {"form": form, "submission": envelope.submission_id, "item": kept.item_id, "sha256": kept.given}
        if kept.stored != kept.given:
            log.warning("a known submission came with other content and stays as it was", extra=told | {"stored": kept.stored})
        else:
            log.debug("a post is stored", extra=told | {"known": kept.known})


def _make_door(name: str, form: Form) -> _Door:
    keys = tuple(key.get_secret_value().encode() for key in form.signature_keys)
    handshake = form.handshake_key.get_secret_value().encode() if form.handshake_key else None
    return _Door(keys, form.signature_header, handshake, WEBHOOK_POSTS.labels(name, "accepted"))


def _make_arrival(form: str, envelope: Envelope, media_type: str) -> Arrival:
    return Arrival(
        family=FORMSTACK,
        kind="form",
        source=f"form:{form}",
        place=envelope.submission_id,
        raw=envelope.stored,
        received_at=clock.now(),
        identity=f"{form}/{envelope.submission_id}",
        extra={"content_type": media_type},
    )


def _read_media_type(request: Request) -> str:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError("unsupported_content_type", "a form is JSON or urlencoded, and not compressed")
    return media_type


def _find_signature(request: Request, door: _Door) -> bytes | None:
    """The signature as it came; None unless there is exactly one."""
    given = request.headers.getlist(door.signature_header)
    return given[0].encode("latin-1") if len(given) == 1 else None


async def _open(body: bytes, media_type: str) -> Envelope:
    large = len(body) >= _LARGE
    opened = await asyncio.to_thread(split_envelope, body, media_type) if large else split_envelope(body, media_type)
    if isinstance(opened, Refusal):
        raise RefusedError(opened.code, opened.text)
    return opened


def _check(envelope: Envelope, form: str, door: _Door) -> None:
    if door.handshake_key is not None:
        # A lone surrogate from a JSON escape has no UTF-8 form; it is compared all the same, not raised on.
        given = (envelope.handshake_key or "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, door.handshake_key):
            raise RefusedError("unauthorized", "the handshake key does not fit")
    if envelope.form_id != form:
        raise RefusedError("wrong_form", "the FormID is not the form of this address")


def _refuse(form: str, refused: RefusedError) -> Response:
    status = _STATUSES.get(refused.code, 400)
    WEBHOOK_POSTS.labels(form, refused.code).inc()
    log.warning("a post was refused", extra={"form": form, "code": refused.code, "status": status})
    # Nothing about why: an answer that tells a wrong signature from a wrong key helps only those who guess.
    told = {"status": "refused"} | ({} if status == 401 else {"code": refused.code})
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    kind = LastResponse if refused.code in _UNREAD else JSONResponse
    return kind(told, status, headers)
