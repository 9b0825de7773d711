"""Senders: what puts frozen bytes on their way, and the three ways in which that can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from core.errors import CasemillError, ConfigurationError
from core.settings.sections import Smtp

_REPLY_MAX: Final = 300


class DeliveryError(CasemillError):
    """Not delivered, or not known to be. ``reply`` is the other side's answer or the reason: one printable line."""

    def __init__(self, reply: str) -> None:
        self.reply = printable(reply)
        super().__init__(self.reply)


class TemporaryFailure(DeliveryError):  # noqa: N818 - an outcome, named as RFC 5321 §4.2.1 names it
    """Nothing was delivered; trying again later may help (4xx, no connection, no TLS, sign-in refused)."""


class RelayUnavailable(TemporaryFailure):
    """The way out itself is closed: no connection, no TLS, no sign-in. It says nothing about any one message."""


class PermanentFailure(DeliveryError):  # noqa: N818
    """Nothing was delivered, and trying again will not help (5xx, an address that cannot be used)."""


class AmbiguousOutcome(DeliveryError):  # noqa: N818
    """The message was handed over whole, and no answer came: delivered or not, nobody can tell (RFC 5321 §4.5.3.2.6)."""


class Sender(Protocol):
    """One way out. A sender belongs to one thread."""

    def transmit(self, envelope_from: str, recipient: str, data: bytes, key: str, before_dot: Callable[[], None]) -> str:
        """Hand over one message and return the other side's answer.

        ``data`` is a frozen message with CRLF line ends, ``key`` the delivery's unique key. ``before_dot`` is called
        once, when the next step would make the message count as delivered; if it raises, nothing is delivered and its
        exception passes on. Raises :class:`TemporaryFailure`, :class:`PermanentFailure`, :class:`AmbiguousOutcome`.
        """
        ...

    def close(self) -> None:
        """Let go of connections. The sender may be used again afterwards."""
        ...


def sender_for(
    target: str, smtp: Smtp | None = None, *, local_hostname: str | None = None, final_timeout: float = 600.0
) -> Sender:
    """The sender for ``smtp://…``, ``smtps://…`` or ``maildir:/path``; ``smtp`` says how it signs in.

    ``local_hostname`` is what EHLO says, ``final_timeout`` the seconds to wait for the reply to the final dot. Raises
    :class:`ConfigurationError` for anything else; its text holds no password.
    """
    scheme, _, rest = target.partition(":")
    if scheme == "maildir" and rest:
        from notify.maildir import MaildirSender

        return MaildirSender(Path(rest))
    if scheme in ("smtp", "smtps"):
        from notify.smtp import SmtpSender

        return SmtpSender(target, smtp, local_hostname=local_hostname, final_timeout=final_timeout)
    raise ConfigurationError(
        "mail cannot be sent there",
        key="smtp_url",
        hint="use smtp://user:password@host:587, smtps://user:password@host or maildir:/path",
    )


def printable(text: str) -> str:
    """``text`` on one line, printable characters only, at most 300 of them."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * _REPLY_MAX]).split())
    return line if len(line) <= _REPLY_MAX else line[: _REPLY_MAX - 1] + "…"
