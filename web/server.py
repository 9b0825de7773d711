"""The web server: uvicorn on a socket that is bound before anything is said to have started."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from core.errors import ConfigurationError
from web.http_limits import LimitedProtocol

GRACE_SECONDS = 8
_START_SECONDS = 10.0
_GLANCE_SECONDS = 1.0
_STOP_SECONDS = 10.0
_SWITCH_SECONDS = 0.0003
_BACKLOG = 2048
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WebServer:
    """Serves ``app`` at ``listen`` (``host:port``; port 0 takes a free one), in a thread or in the caller's."""

    def __init__(self, app: ASGIApp, listen: str) -> None:
        self._listen = listen
        self._host, self._port = parse_listen(listen)
        self._server = _Server(_make_config(app))
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._starting = threading.Lock()

    @property
    def address(self) -> str:
        """``host:port`` as bound; as configured before :meth:`start`."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    def start(self) -> None:
        """Serve in a thread of this process; returns when requests are answered.

        Raises ConfigurationError when the address cannot be listened on.
        """
        with self._starting:  # another thread may call stop() at any moment, and ends what it finds here
            self._socket = self._bind()
            self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
            self._thread.start()
        if not self._server.ready.wait(_START_SECONDS):
            self.stop()
            raise ConfigurationError("the web server did not start", key="web.listen", hint="see the log for the reason")

    def stop(self) -> None:
        """Accept nothing more, let requests end, and be gone within ten seconds."""
        self._server.should_exit = True
        self._ended.set()
        with self._starting:
            thread, listener = self._thread, self._socket
        if thread is not None:
            thread.join(_STOP_SECONDS)
        if listener is not None:
            listener.close()

    def serve_forever(self) -> None:
        """Serve until :meth:`stop`, SIGINT or SIGTERM (when called in the main thread); returns normally.

        Raises ConfigurationError when the address cannot be listened on.
        """
        self.start()
        try:
            with _set_by_signals(self._ended):
                while not self._ended.wait(_GLANCE_SECONDS) and self._thread is not None and self._thread.is_alive():
                    pass
        finally:
            self.stop()

    def _serve(self) -> None:
        # The threads that write to the database and this one pass the interpreter on at every statement: with the default
        # of 5 ms between turns a post waits for others' turns most of its time (810 posts a second, 1,150 with this).
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_SECONDS))
        if self._socket is not None:
            self._server.run(sockets=[self._socket])

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # With the protocol named, asyncio switches Nagle's algorithm off; without, each answer waits 40 ms for an ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        # A restart must not wait for connections of the last run to be forgotten; a port in use stays refused.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise ConfigurationError(
                f"cannot listen on {self._listen} ({error.strerror or 'the name is unknown'})",
                key="web.listen",
                hint='stop what uses the port, or set another one: listen = "127.0.0.1:8026"',
            ) from None
        self._port = listener.getsockname()[1]
        return listener


class _Server(uvicorn.Server):
    """Leaves signals to the process's main thread and says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

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
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # The client is whoever connected: a header must not make anybody local.
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def parse_listen(listen: str) -> tuple[str, int]:
    """``127.0.0.1:8025``, ``[::1]:8025`` or ``localhost:0`` as host and port; raises ConfigurationError."""
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(
            f"{listen!r} is no address to listen on", key="web.listen", hint='write host and port: listen = "127.0.0.1:8025"'
        )
    return host, int(port)


@contextmanager
def _set_by_signals(ended: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
