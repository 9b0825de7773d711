"""Reads request bodies within limits: the size of one body, the memory of all bodies together, and the time of one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from core.errors import RefusedError

BODY_SECONDS = 15.0
#: All bodies together that are being read or wait to be stored.
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
_DISCARD_SECONDS = 3.0
_MAX_DISCARDED_BYTES = 16 * 1024 * 1024


class MemoryBudget:
    """The bytes of bodies that may be in memory at the same time. For one event loop."""

    def __init__(self, limit: int = MAX_BUFFERED_BYTES) -> None:
        self.reserved = 0
        self.limit = limit

    def reserve(self) -> Reservation:
        """Return an empty reservation, a context manager that releases its bytes at the end."""
        return Reservation(self)


class Reservation:
    """The part of a :class:`MemoryBudget` that one request uses."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._size = 0

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._budget.reserved -= self._size

    def grow(self, size: int) -> None:
        """Reserve ``size`` more bytes. Raises RefusedError ``overloaded`` when they exceed the budget."""
        if self._budget.reserved + size > self._budget.limit:
            raise RefusedError("overloaded", "the server is reading too many requests", hint="try again in a few seconds")
        self._budget.reserved += size
        self._size += size


async def read_body(request: Request, reservation: Reservation, limit: int) -> bytes:
    """Return the whole body, of at most ``limit`` bytes.

    Raises RefusedError: ``too_large`` (by Content-Length before reading, otherwise while reading), ``too_slow`` after 15
    seconds, ``disconnected``, ``overloaded``.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _collect(request, reservation, limit)
    except TimeoutError:
        raise RefusedError("too_slow", f"the body did not arrive within {BODY_SECONDS:.0f} seconds") from None
    except ClientDisconnect:
        raise RefusedError("disconnected", "the client closed the connection") from None


async def _collect(request: Request, reservation: Reservation, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        reservation.grow(len(chunk))
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limit: int) -> RefusedError:
    return RefusedError("too_large", f"the body is larger than {limit} bytes")


class ClosingResponse(JSONResponse):
    """A response to a request whose body is not read to its end: it is sent at once, then the connection is closed.

    What the client still sends is read and discarded for up to three seconds. Closing at once would reset the connection, and
    a client that reads the response only after it has sent its body would never see it (RFC 9112 §9.6).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers["connection"] = "close"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                await _discard(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    size = 0
    while size <= _MAX_DISCARDED_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
