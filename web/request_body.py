"""Reading a request's body under a limit: of one request, of all together, and of time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from core.errors import RefusedError

BODY_SECONDS = 15.0
#: All bodies being read or waiting to be stored, together.
MOST_HELD_BYTES = 64 * 1024 * 1024
_LINGER_SECONDS = 3.0
_LINGER_BYTES = 16 * 1024 * 1024


class MemoryBudget:
    """How many bytes of bodies are held at the moment; refuses more than fit. For one event loop."""

    def __init__(self, limit: int = MOST_HELD_BYTES) -> None:
        self.held = 0
        self.limit = limit

    def reserve(self) -> Reservation:
        return Reservation(self)


class Reservation:
    """One request's part of the room, given back at the end."""

    def __init__(self, room: MemoryBudget) -> None:
        self._room = room
        self._size = 0

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._room.held -= self._size

    def take(self, size: int) -> None:
        """Hold ``size`` more bytes; raises RefusedError ``overloaded`` when they do not fit."""
        if self._room.held + size > self._room.limit:
            raise RefusedError("overloaded", "too many bodies are being read")
        self._room.held += size
        self._size += size


async def read_body(request: Request, hold: Reservation, limit: int) -> bytes:
    """The whole body.

    Raises RefusedError: ``too_large`` (by Content-Length before reading, else while reading), ``too_slow``,
    ``disconnected``, ``overloaded``.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise RefusedError("too_large", "the body is too large")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(request, hold, limit)
    except TimeoutError:
        raise RefusedError("too_slow", "the body did not come in time") from None
    except ClientDisconnect:
        raise RefusedError("disconnected", "the client went away") from None


async def _collect(request: Request, hold: Reservation, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise RefusedError("too_large", "the body is too large")
        hold.take(len(chunk))
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class LastResponse(JSONResponse):
    """An answer to a request whose body is not wanted: sent at once, then the connection ends.

    What the client is still sending is read and thrown away for a moment: closing at once would reset the connection, and
    a client that reads its answer only after sending would never see it (RFC 9112 §9.6).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    size = 0
    while size <= _LINGER_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
