"""A small HTTP(S) server for stand-ins of external services: one function answers every request."""

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.servers.ports import free_port
from tests.servers.tls import Certificates
from tests.waiting import scale_budget


@dataclass(frozen=True)
class HttpRequest:
    """A request. Query and form have the last value of each key."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))


@dataclass(frozen=True)
class HttpResponse:
    """A response. A body of bytes is sent as it is, any other as JSON."""

    status: int
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class WebServer:
    """A context manager: a server on a port of its own, with TLS if it has certificates."""

    def __init__(self, answer: Callable[[HttpRequest], HttpResponse], certificates: Certificates | None = None) -> None:
        self.port = free_port()
        self.url = f"{'https' if certificates else 'http'}://localhost:{self.port}"
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(answer))
        self._server.daemon_threads = True
        if certificates is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.cert_file, certificates.key_file)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="web-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(scale_budget(10))


def _handler(answer: Callable[[HttpRequest], HttpResponse]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = answer(HttpRequest(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body))
            content = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
            self.send_response(response.status)
            for name, value in {"Content-Type": "application/json", **response.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _serve  # noqa: N815 - the names http.server asks for

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    return Handler
