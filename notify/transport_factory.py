"""Choose the transport that the ``smtp_url`` setting names. Apart from transport.py, which both transports import."""

from __future__ import annotations

from pathlib import Path

from core.errors import ConfigurationError
from core.settings.sections import Smtp
from notify.maildir import MaildirTransport
from notify.smtp import SmtpTransport
from notify.transport import Transport


def open_transport(
    target: str, smtp: Smtp | None = None, *, local_hostname: str | None = None, final_timeout: float = 600.0
) -> Transport:
    """Return the transport for ``smtp://…``, ``smtps://…`` or ``maildir:/path``.

    ``smtp`` says how the transport signs in, ``local_hostname`` is the name in EHLO, and ``final_timeout`` is how many
    seconds the transport waits for the reply to the final dot. An SMTP connection opens with the first message.

    Raises :class:`ConfigurationError` for any other target; its text never holds the password.
    """
    scheme, _, rest = target.partition(":")
    if scheme == "maildir" and rest:
        return MaildirTransport(Path(rest))
    if scheme in ("smtp", "smtps"):
        return SmtpTransport(target, smtp, local_hostname=local_hostname, final_timeout=final_timeout)
    raise ConfigurationError(
        "the address for outgoing mail cannot be used",
        key="smtp_url",
        hint="use smtp://user:password@host:587, smtps://user:password@host or maildir:/path",
    )
