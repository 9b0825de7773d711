"""The web server: uvicorn on a socket that is bound before the process reports that it has started."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from core.errors import ConfigurationError
from web.http_limits import LimitedHttpProtocol

SHUTDOWN_SECONDS = 8
_STARTUP_SECONDS = 10.0
_JOIN_SECONDS = 10.0
_TICK_SECONDS = 1.0
_SWITCH_INTERVAL_SECONDS = 0.0003
_LISTEN_BACKLOG = 2048


class WebServer:
    """Serves ``app`` at ``listen`` (``host:port``; port 0 takes a free port), in a thread of its own."""

    def __init__(self, app: ASGIApp, listen: str) -> None:
        self._listen = listen
        self._host, self._port = parse_listen(listen)
        self._server = _Server(_make_config(app))
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    @property
    def address(self) -> str:
        """``host:port`` as bound; before :meth:`start`, as configured."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def start(self) -> None:
        """Start serving in a thread, and return once requests are answered.

        Raises ConfigurationError when the address cannot be bound.
        """
        # Another thread may call stop() at any moment; under the lock it finds either nothing or the running thread.
        with self._start_lock:
            self._socket = self._bind()
            self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
            self._thread.start()
        if not self._server.ready.wait(_STARTUP_SECONDS):
            self.stop()
            raise ConfigurationError("the web server did not start in time", key="web.listen", hint="the log says why")

    def stop(self) -> None:
        """Stop accepting connections, wait up to ten seconds for requests in progress, and close the socket."""
        self._server.request_exit()
        with self._start_lock:
            thread, listener = self._thread, self._socket
        if thread is not None:
            thread.join(_JOIN_SECONDS)
        if listener is not None:
            listener.close()

    def _serve(self) -> None:
        # This thread and the threads that write to the database exchange the interpreter lock at every statement. With the
        # default interval of 5 ms a post waits most of its time for the lock: 810 posts a second, 1,150 with 0.3 ms
        # (docs/decisions/batched-webhook-commits.md).
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_SECONDS))
        if self._socket is not None:
            self._server.run(sockets=[self._socket])

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # With the protocol named, asyncio disables Nagle's algorithm; otherwise each response waits 40 ms for an ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # Lets a restart bind at once despite connections in TIME_WAIT; a port that is in use is still refused.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
            listener.listen(_LISTEN_BACKLOG)
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"cannot listen on {self._listen} ({error.strerror or 'unknown host name'})",
                key="web.listen",
                hint='stop the program that uses the port, or set another one: listen = "127.0.0.1:8026"',
            ) from None
        self._port = listener.getsockname()[1]
        return listener


class _Server(uvicorn.Server):
    """Leaves signals to the main thread of the process, and sets ``ready`` once it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._exit = asyncio.Event()

    def request_exit(self) -> None:
        """Ask the server to stop, from any thread."""
        self.should_exit = True
        if self._loop is not None:
            # The loop may have ended by itself.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._exit.set)

    async def main_loop(self) -> None:
        """Wait for :meth:`request_exit`; uvicorn itself polls ten times a second (docs/decisions/idle-threads.md).

        One tick a second stays, for the Date header.
        """
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._exit.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _make_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=LimitedHttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # The client address is that of the connection: a forged header must not pass for a local client.
        proxy_headers=False,
        backlog=_LISTEN_BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def parse_listen(listen: str) -> tuple[str, int]:
    """Split ``127.0.0.1:8025``, ``[::1]:8025`` or ``localhost:0`` into host and port. Raises ConfigurationError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(
            f"{listen!r} is not host:port", key="web.listen", hint='write host and port: listen = "127.0.0.1:8025"'
        )
    return host, int(port)
