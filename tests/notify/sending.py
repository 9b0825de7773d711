"""What the tests of the SMTP sender share: an envelope, a message, and senders."""

import contextlib
from collections.abc import Callable
from urllib.parse import quote

from notify.smtp import SmtpTransport
from tests.servers.smtp import SmtpServer

SENDER, RECIPIENT = "bounce+d1.mac@care.example", "pat@clinic.example"
DATA = b"Subject: hello\r\nMessage-ID: <d1@care.example>\r\n\r\nA line\r\n.\r\n..two\r\n.three\r\nend\r\n"
FEATURES = ("PIPELINING", "8BITMIME", "SIZE 1000000")


class Intent:
    """A before_dot that counts its calls and may do something in that moment."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.calls = 0
        self._then = then

    def __call__(self) -> None:
        self.calls += 1
        self._then()


def open_sender(url: str, **options: float) -> contextlib.closing[SmtpTransport]:
    return contextlib.closing(SmtpTransport(url, local_hostname="casemill.example", **options))  # type: ignore[arg-type]


def send(sender: SmtpTransport, intent: Intent | None = None, data: bytes = DATA, recipient: str = RECIPIENT) -> str:
    return sender.transmit(SENDER, recipient, data, "created:1", intent or Intent())


def url_of(server: SmtpServer, **options: str) -> str:
    query = "&".join(f"{name}={quote(value)}" for name, value in options.items())
    return f"smtp://localhost:{server.port}?{query}"
