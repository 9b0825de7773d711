"""A light SMTP server in its own process that accepts every message and records its recipient and time.

Times are `time.monotonic()`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from tests.servers.ports import free_port

ReceivedMail = tuple[str, float]


class _Session(asyncio.Protocol):
    """One connection. It supports command pipelining (RFC 2920), like common relays."""

    def __init__(self, received: list[ReceivedMail]) -> None:
        self._received = received
        self._buffer = bytearray()
        self._in_data = False
        self._recipient = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker
        self._transport = transport
        transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._in_data or b"\n" in self._buffer:
            if not self._in_data:
                line, _, rest = bytes(self._buffer).partition(b"\r\n")
                self._buffer = bytearray(rest)
                self._transport.write(self._reply_to(line))
            elif self._buffer.endswith(b"\r\n.\r\n"):
                self._finish_message()
            else:
                return

    def _finish_message(self) -> None:
        self._buffer.clear()
        self._in_data = False
        self._received.append((self._recipient, time.monotonic()))
        self._transport.write(b"250 2.0.0 taken\r\n")

    def _reply_to(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"DATA":
            self._in_data = True
            return b"354 go on\r\n"
        if verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0].decode("ascii", "replace")
        if verb == b"EHLO":
            return b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 50000000\r\n"
        return b"221 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n"


class Sink:
    """A handle on the running server for the measuring process."""

    def __init__(self, port: int, pipe: Connection) -> None:
        self.port = port
        self.url = f"smtp://127.0.0.1:{port}"
        self._pipe = pipe

    def received(self) -> list[ReceivedMail]:
        """Return (recipient, time) of every message so far, in order of arrival."""
        self._pipe.send(None)
        answer: list[ReceivedMail] = self._pipe.recv()
        return answer


def _serve(port: int, pipe: Connection) -> None:
    received: list[ReceivedMail] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Session(received), "127.0.0.1", port)
        ended = asyncio.Event()
        threading.Thread(target=_serve_requests, args=(pipe, received, loop, ended), daemon=True).start()
        await ended.wait()
        server.close()

    asyncio.run(main())


def _serve_requests(
    pipe: Connection, received: list[ReceivedMail], loop: asyncio.AbstractEventLoop, ended: asyncio.Event
) -> None:
    pipe.send(None)
    try:
        while True:
            pipe.recv()
            pipe.send(list(received))
    except (EOFError, OSError):
        loop.call_soon_threadsafe(ended.set)


@contextmanager
def sink() -> Iterator[Sink]:
    """Start the server and yield a handle; it stops at the end of the block, or with the process that started it."""
    port = free_port()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(port, theirs), daemon=True)
    process.start()
    theirs.close()
    ours.recv()
    try:
        yield Sink(port, ours)
    finally:
        ours.close()
        process.join(10)
