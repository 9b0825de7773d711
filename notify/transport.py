"""The transport protocol: how built messages leave, and the three ways in which sending can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from core.errors import CasemillError

_MAX_REPLY_CHARS: Final = 300


class DeliveryError(CasemillError):
    """The message was not delivered, or the transport does not know whether it was.

    ``reply`` is the server's reply or the reason, as one printable line.
    """

    def __init__(self, reply: str) -> None:
        self.reply = printable(reply)
        super().__init__(self.reply)


class TemporaryFailure(DeliveryError):  # noqa: N818 - an outcome, named as RFC 5321 §4.2.1 names it
    """Nothing was delivered; a later attempt may succeed (4xx, no connection, no TLS, sign-in refused)."""


class RelayUnavailable(TemporaryFailure):
    """The relay takes no mail at all: no connection, no TLS, no sign-in. This says nothing about any one message."""


class PermanentFailure(DeliveryError):  # noqa: N818
    """Nothing was delivered, and a later attempt will fail too (5xx, an address that cannot be used)."""


class AmbiguousOutcome(DeliveryError):  # noqa: N818
    """The whole message was sent and no reply came: it may or may not be delivered (RFC 5321 §4.5.3.2.6)."""


class Transport(Protocol):
    """One way to send mail. A transport belongs to one thread."""

    def transmit(self, envelope_from: str, recipient: str, data: bytes, key: str, before_dot: Callable[[], None]) -> str:
        """Send one message and return the server's reply.

        ``data`` is a built message with CRLF line ends; ``key`` is the delivery's unique key. The transport calls
        ``before_dot`` once, immediately before the step after which the message may count as delivered. If
        ``before_dot`` raises, nothing is delivered and its exception propagates.

        Raises :class:`TemporaryFailure`, :class:`PermanentFailure` or :class:`AmbiguousOutcome`.
        """
        ...

    def close(self) -> None:
        """Close open connections. The transport may be used again afterwards."""
        ...


def printable(text: str) -> str:
    """Return ``text`` on one line, printable characters only, cut to 300 characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * _MAX_REPLY_CHARS]).split())
    return line if len(line) <= _MAX_REPLY_CHARS else line[: _MAX_REPLY_CHARS - 1] + "…"
