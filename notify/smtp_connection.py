"""The SMTP relay: its address, how far it is trusted, and how a connection to it is opened, encrypted and signed in."""

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
from core.oauth.grants import TokenError
from core.oauth.tokens import TokenSource, format_xoauth2, token_source
from core.settings.sections import Smtp
from core.settings.types import is_loopback
from notify.transport import RelayUnavailable, TemporaryFailure

_URL_HINT: Final = "write it as smtp://user:password@host:587 or smtps://user:password@host (and percent-encode the password)"
_TCP_USER_TIMEOUT_MS: Final = 120_000
_OPTIONS: Final = {"insecure", "cafile"}


@dataclass(frozen=True, slots=True)
class SmtpRelay:
    """The address of the relay and how to sign in. With ``starttls`` only EHLO and STARTTLS are sent in plain text."""

    host: str
    port: int
    implicit_tls: bool
    starttls: bool
    user: str = ""
    password: str = field(default="", repr=False)
    cafile: str | None = None
    tokens: TokenSource | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, smtp: Smtp | None = None) -> SmtpRelay:
        """Read ``smtp://user:password@host:587`` or ``smtps://…``, with the options ``?cafile=/path`` and ``?insecure=1``.

        Plain text is allowed to loopback only, or with ``insecure=1``; a ``cafile`` always requires TLS. ``smtp`` may
        replace the password by OAuth tokens.

        Raises :class:`ConfigurationError`, whose text never holds the password.
        """
        parts, host, port = _split_url(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := set(options) - _OPTIONS:
            raise _refusal(
                f"the relay's address has the unknown option {sorted(unknown)[0]}", "the options are cafile and insecure"
            )
        insecure, cafile = _parse_flag(options.get("insecure", "0")), options.get("cafile")
        implicit = parts.scheme == "smtps"
        if insecure and (implicit or cafile):
            raise _refusal("insecure=1 contradicts TLS", "leave insecure out and name the file of the relay's CA in cafile")
        user = unquote(parts.username or "")
        return cls(
            host=host,
            port=port or (465 if implicit else 587 if user else 25),
            implicit_tls=implicit,
            starttls=not implicit and (bool(cafile) or not (insecure or is_loopback(host))),
            user=user,
            password=unquote(parts.password or ""),
            cafile=_check_exists(cafile),
            tokens=_find_token_source(user, smtp),
        )


def _split_url(url: str) -> tuple[SplitResult, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refusal("the relay's address cannot be read", _URL_HINT) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
        raise _refusal("the relay's address cannot be read", _URL_HINT)
    return parts, parts.hostname, port


def _parse_flag(value: str) -> bool:
    if value not in ("0", "1"):
        raise _refusal("the option insecure is neither 0 nor 1", "write insecure=1, or leave it out")
    return value == "1"


def _check_exists(cafile: str | None) -> str | None:
    if cafile is not None and not Path(cafile).is_file():
        raise _refusal("the file named by cafile does not exist", "name a readable PEM file")
    return cafile


def _find_token_source(user: str, smtp: Smtp | None) -> TokenSource | None:
    if smtp is None or smtp.auth != "xoauth2" or smtp.oauth is None:
        return None
    if not user:
        raise _refusal(
            "signing in with tokens needs a user name", "write it as smtp://user@host:587 (and percent-encode an @ in it)"
        )
    return token_source(smtp.oauth, user)


def _refusal(text: str, hint: str) -> ConfigurationError:
    return ConfigurationError(text, key="smtp_url", hint=hint)


def connect(relay: SmtpRelay, *, local_hostname: str | None, connect_timeout: float, command_timeout: float) -> smtplib.SMTP:
    """Return a connection that is greeted, encrypted and signed in. Timeouts in seconds.

    Raises :class:`RelayUnavailable` for every failure, a refused sign-in and a missing STARTTLS included: they concern the
    relay and its settings, not the message, and the mail waits until they are fixed.
    """
    try:
        connection = _open(relay, local_hostname or _find_hostname(), connect_timeout)
    except (OSError, smtplib.SMTPException, UnicodeError) as error:
        raise RelayUnavailable(f"no connection to the relay: {describe(error)}") from None
    try:
        _prepare_connection(connection, relay, command_timeout)
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


def _open(relay: SmtpRelay, local_hostname: str, timeout: float) -> smtplib.SMTP:
    if not relay.implicit_tls:
        return smtplib.SMTP(relay.host, relay.port, local_hostname, timeout)
    return smtplib.SMTP_SSL(relay.host, relay.port, local_hostname, timeout=timeout, context=_tls_context(relay.cafile))


def _prepare_connection(connection: smtplib.SMTP, relay: SmtpRelay, command_timeout: float) -> None:
    _tune_socket(socket_of(connection), command_timeout)
    connection.ehlo_or_helo_if_needed()
    # EHLO again after STARTTLS: what was offered in plain text may have been tampered with (RFC 3207 §4.2).
    if relay.starttls:
        if not connection.has_extn("starttls"):
            raise TemporaryFailure("the relay offers no STARTTLS, so nothing was sent to it; the mail waits")
        connection.starttls(context=_tls_context(relay.cafile))
        connection.ehlo_or_helo_if_needed()
    if relay.user:
        _sign_in(connection, relay)


def _tune_socket(sock: socket.socket, timeout: float) -> None:
    sock.settimeout(timeout)
    # The final dot is a small write after a large one. With Nagle's algorithm it waits for the relay's delayed
    # acknowledgement: 40 ms a message.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Detects a dead network path long before the reply's timeout; a slow relay still acknowledges.
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)


def socket_of(connection: smtplib.SMTP) -> socket.socket:
    """Return the socket of an open connection. Raises ConnectionError when it is closed."""
    if connection.sock is None:
        raise ConnectionError("the connection is closed")
    return connection.sock


def _sign_in(connection: smtplib.SMTP, relay: SmtpRelay) -> None:
    """Sign in with AUTH PLAIN in UTF-8 (RFC 4616) where offered, otherwise with smtplib's methods (ASCII passwords only)."""
    if relay.tokens is not None:
        _sign_in_with_token(connection, relay.user, relay.tokens)
        return
    if "PLAIN" not in connection.esmtp_features.get("auth", "").upper().split():
        try:
            connection.login(relay.user, relay.password)
        except UnicodeError:
            raise TemporaryFailure("the relay accepts ASCII passwords only; the mail waits") from None
        return
    secret = b64encode(f"\0{relay.user}\0{relay.password}".encode()).decode()
    code, text = connection.docmd("AUTH", f"PLAIN {secret}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, text)


def _sign_in_with_token(connection: smtplib.SMTP, user: str, tokens: TokenSource) -> None:
    """Sign in with AUTH XOAUTH2; a token that the relay refuses is renewed once. Raises :class:`TokenError` too."""
    if "XOAUTH2" not in connection.esmtp_features.get("auth", "").upper().split():
        raise TemporaryFailure("the relay does not accept tokens (XOAUTH2); the mail waits")
    token = tokens.get_token()
    code, text = _try_token(connection, user, token)
    if code == 535:
        code, text = _try_token(connection, user, tokens.replace_rejected_token(token))
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, text)


def _try_token(connection: smtplib.SMTP, user: str, token: str) -> tuple[int, bytes]:
    # A refusal begins with a challenge (334); the relay sends its code after an empty answer.
    code, text = connection.docmd("AUTH", f"XOAUTH2 {b64encode(format_xoauth2(user, token).encode()).decode()}")
    return connection.docmd("") if code == 334 else (code, text)


@cache
def _tls_context(cafile: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)


@cache
def _find_hostname() -> str:
    """Return the name for EHLO: the full host name, otherwise an address literal (RFC 5321 §4.1.4).

    Cached, since the lookup can take seconds.
    """
    name = socket.getfqdn()
    return name if "." in name and name.isascii() else "[127.0.0.1]"


def describe(error: Exception) -> str:
    """Return an error of smtplib or the socket in one line, with the relay's reply where there is one."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {decode(error.smtp_error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    return str(error) or type(error).__name__


def decode(reply: bytes | str) -> str:
    """Return the text of a reply. RFC 5321 §4.2 requires ASCII, but some servers send other bytes."""
    return reply if isinstance(reply, str) else reply.decode("utf-8", "replace")
