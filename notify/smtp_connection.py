"""The relay that takes our mail: where it is, how far it is trusted, and how a connection to it begins."""

from __future__ import annotations

import smtplib
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from core.errors import ConfigurationError
from core.oauth.tokens import TokenError, TokenSource, format_xoauth2, token_source
from core.settings.sections import Smtp
from core.settings.types import is_loopback
from notify.transport import RelayUnavailable, TemporaryFailure

_HINT: Final = "write it as smtp://user:password@host:587 or smtps://user:password@host (and percent-encode the password)"
_UNACKNOWLEDGED_MS: Final = 120_000
_OPTIONS: Final = {"insecure", "cafile"}


@dataclass(frozen=True, slots=True)
class Relay:
    """Where mail goes. ``starttls`` means that nothing is said in plain text beyond EHLO and STARTTLS."""

    host: str
    port: int
    implicit_tls: bool
    starttls: bool
    user: str = ""
    password: str = field(default="", repr=False)
    cafile: str | None = None
    tokens: TokenSource | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, smtp: Smtp | None = None) -> Relay:
        """Read ``smtp://user:pass@host:587``, ``smtps://…``, with ``?cafile=/path`` and ``?insecure=1``.

        Plain text goes to loopback only, or where ``insecure=1`` says so; a ``cafile`` always asks for TLS. ``smtp`` may
        ask for tokens in place of the password. Raises
        :class:`ConfigurationError`, whose text never holds the password.
        """
        parts, host, port = _split(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := set(options) - _OPTIONS:
            raise _refusal(f"unknown option {sorted(unknown)[0]}", "the options are cafile and insecure")
        insecure, cafile = _flag(options.get("insecure", "0")), options.get("cafile")
        implicit = parts.scheme == "smtps"
        if insecure and (implicit or cafile):
            raise _refusal("insecure=1 contradicts TLS", "leave insecure out and name the relay's CA in cafile")
        user = unquote(parts.username or "")
        return cls(
            host=host,
            port=port or (465 if implicit else 587 if user else 25),
            implicit_tls=implicit,
            starttls=not implicit and (bool(cafile) or not (insecure or is_loopback(host))),
            user=user,
            password=unquote(parts.password or ""),
            cafile=_existing(cafile),
            tokens=_tokens(user, smtp),
        )


def _split(url: str) -> tuple[SplitResult, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refusal("the relay's address cannot be read", _HINT) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
        raise _refusal("the relay's address cannot be read", _HINT)
    return parts, parts.hostname, port


def _flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise _refusal("insecure is neither 0 nor 1", "write insecure=1, or leave it out")
    return value == "1"


def _existing(cafile: str | None) -> str | None:
    if cafile is not None and not Path(cafile).is_file():
        raise _refusal("the cafile does not exist", "name a readable PEM file")
    return cafile


def _tokens(user: str, smtp: Smtp | None) -> TokenSource | None:
    if smtp is None or smtp.auth != "xoauth2" or smtp.oauth is None:
        return None
    if not user:
        raise _refusal("signing in with tokens needs a user", "write it as smtp://user@host:587 (and percent-encode an @ in it)")
    return token_source(smtp.oauth, user)


def _refusal(text: str, hint: str) -> ConfigurationError:
    return ConfigurationError(text, key="smtp_url", hint=hint)


def connect(relay: Relay, *, local_hostname: str | None, connect_timeout: float, command_timeout: float) -> smtplib.SMTP:
    """A connection that is greeted, encrypted and signed in. Times in seconds.

    Every failure is a :class:`RelayUnavailable`, a refused sign-in and a missing STARTTLS too: they say something about
    the relay and its settings, nothing about the message, and the mail waits until they are mended.
    """
    try:
        connection = _open(relay, local_hostname or _own_name(), connect_timeout)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise RelayUnavailable(f"no connection to the relay: {describe(error)}") from None
    try:
        _prepare(connection, relay, command_timeout)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError | smtplib.SMTPException):
            raise RelayUnavailable(f"the relay is not ready for mail: {describe(error)}") from None
        if isinstance(error, TokenError):
            raise RelayUnavailable(f"{error.text}; the mail waits") from None
        if isinstance(error, TemporaryFailure):
            raise RelayUnavailable(error.reply) from None
        raise
    return connection


def _open(relay: Relay, local_hostname: str, timeout: float) -> smtplib.SMTP:
    if not relay.implicit_tls:
        return smtplib.SMTP(relay.host, relay.port, local_hostname, timeout)
    return smtplib.SMTP_SSL(relay.host, relay.port, local_hostname, timeout=timeout, context=_context(relay.cafile))


def _prepare(connection: smtplib.SMTP, relay: Relay, command_timeout: float) -> None:
    _tune(socket_of(connection), command_timeout)
    connection.ehlo_or_helo_if_needed()
    if relay.starttls:
        if not connection.has_extn("starttls"):
            raise TemporaryFailure("the relay offers no STARTTLS, so nothing was said to it; the mail waits")
        connection.starttls(context=_context(relay.cafile))
        connection.ehlo_or_helo_if_needed()
    if relay.user:
        _sign_in(connection, relay)


def _tune(sock: socket.socket, timeout: float) -> None:
    sock.settimeout(timeout)
    # The final dot is a small write after a large one: with Nagle it would wait for the other side's delayed
    # acknowledgement, 40 ms a message.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A relay behind a dead network path is noticed before the reply's long time-out; a slow relay still acknowledges.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)


def socket_of(connection: smtplib.SMTP) -> socket.socket:
    """The socket of an open connection. Raises ConnectionError when it has been closed."""
    if connection.sock is None:
        raise ConnectionError("the connection is closed")
    return connection.sock


def _sign_in(connection: smtplib.SMTP, relay: Relay) -> None:
    """AUTH PLAIN in UTF-8 (RFC 4616) where offered: smtplib's own takes ASCII passwords only. Else what smtplib knows."""
    if relay.tokens is not None:
        _sign_in_with_token(connection, relay.user, relay.tokens)
        return
    if "PLAIN" not in connection.esmtp_features.get("auth", "").upper().split():
        try:
            connection.login(relay.user, relay.password)
        except UnicodeError:
            raise TemporaryFailure("the relay takes ASCII passwords only; the mail waits") from None
        return
    secret = b64encode(f"\0{relay.user}\0{relay.password}".encode()).decode()
    code, text = connection.docmd("AUTH", f"PLAIN {secret}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, text)


def _sign_in_with_token(connection: smtplib.SMTP, user: str, tokens: TokenSource) -> None:
    """AUTH XOAUTH2; a token that is not taken is renewed once. Raises :class:`TokenError` too."""
    if "XOAUTH2" not in connection.esmtp_features.get("auth", "").upper().split():
        raise TemporaryFailure("the relay takes no tokens (XOAUTH2); the mail waits")
    token = tokens.get_token()
    code, text = _try_token(connection, user, token)
    if code == 535:
        code, text = _try_token(connection, user, tokens.replace_rejected_token(token))
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, text)


def _try_token(connection: smtplib.SMTP, user: str, token: str) -> tuple[int, bytes]:
    """A refusal comes with a challenge that wants an empty answer before its code is said."""
    code, text = connection.docmd("AUTH", f"XOAUTH2 {b64encode(format_xoauth2(user, token).encode()).decode()}")
    return connection.docmd("") if code == 334 else (code, text)


@cache
def _context(cafile: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


@cache
def _own_name() -> str:
    """What EHLO says: the full name, else an address literal (RFC 5321 §4.1.4). Asked once, it can take seconds."""
    name = socket.getfqdn()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def describe(error: Exception) -> str:
    """An error of smtplib or the socket in one line: the relay's answer where there is one."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {decode(error.smtp_error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return str(error) or type(error).__name__


def decode(reply: bytes | str) -> str:
    """A reply's text; RFC 5321 §4.2 makes it ASCII, servers do not always."""
    return reply if isinstance(reply, str) else reply.decode("utf-8", "replace")
