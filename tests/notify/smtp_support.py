"""Shared parts of the SMTP transport's tests: an envelope, a message, and transports."""

import contextlib
from collections.abc import Callable
from urllib.parse import quote

from notify.smtp import SmtpTransport
from tests.servers.smtp import SmtpServer

SENDER, RECIPIENT = "bounce+d1.mac@care.example", "pat@clinic.example"
DATA = b"Subject: hello\r\nMessage-ID: <d1@care.example>\r\n\r\nA line\r\n.\r\n..two\r\n.three\r\nend\r\n"
FEATURES = ("PIPELINING", "8BITMIME", "SIZE 1000000")


class Intent:
    """A before_dot callback that counts its calls and can run a function."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.calls = 0
        self._then = then

    def __call__(self) -> None:
        self.calls += 1
        self._then()


def open_smtp(url: str, **options: float) -> contextlib.closing[SmtpTransport]:
    return contextlib.closing(SmtpTransport(url, local_hostname="casemill.example", **options))  # type: ignore[arg-type]


def send(transport: SmtpTransport, intent: Intent | None = None, data: bytes = DATA, recipient: str = RECIPIENT) -> str:
    return transport.transmit(SENDER, recipient, data, "created:1", intent or Intent())


def url_of(server: SmtpServer, **options: str) -> str:
    query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
    return f"smtp://localhost:{server.port}?{query}"
