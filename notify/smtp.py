"""The SMTP transport, with its own DATA step (RFC 5321, RFC 2920).

smtplib raises the same exception whether a connection dies before or after the final dot. This module tells the two apart:
before the final dot nothing was delivered, after it the outcome is ambiguous (docs/decisions/smtp-data-step.md).
"""

from __future__ import annotations

import select
import smtplib
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Final

from core.settings.sections import Smtp
from notify.addresses import AddressError, wire_address
from notify.smtp_connection import SmtpRelay, connect, decode, socket_of
from notify.transport import AmbiguousOutcome, DeliveryError, PermanentFailure, TemporaryFailure

_QUIT_TIMEOUT_SECONDS: Final = 5.0
_RESET: Final = b"RSET\r\n"
# Sign-in required or refused (RFC 4954 §6): this concerns the account, not the message, so the mail waits.
_SIGN_IN_CODES: Final = frozenset({530, 534, 535, 538})


class _ConnectionLost(TemporaryFailure):
    """The connection ended before the final dot, or the relay ended it with 421. Nothing was delivered."""


@dataclass(frozen=True, slots=True)
class _Reply:
    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@dataclass(frozen=True, slots=True)
class _Envelope:
    """One message ready to send: addresses in wire form, content dot-stuffed and without the final dot."""

    sender: str
    recipient: str
    content: bytes
    eight_bit: bool
    smtputf8: bool


class SmtpTransport:
    """Sends messages over one connection that stays open. An instance belongs to one thread."""

    def __init__(
        self,
        url: str,
        smtp: Smtp | None = None,
        *,
        local_hostname: str | None = None,
        connect_timeout: float = 30.0,
        command_timeout: float = 300.0,
        final_timeout: float = 600.0,
        max_messages: int = 100,
    ) -> None:
        """``url`` and ``smtp`` are as in :meth:`notify.smtp_connection.SmtpRelay.parse`. Timeouts are in seconds.

        The defaults of 300 and 600 seconds are those of RFC 5321 §4.5.3.2. After ``max_messages`` the next message opens a
        new connection. Raises ConfigurationError for an address that cannot be used.
        """
        self._relay = SmtpRelay.parse(url, smtp)
        self._local_hostname = local_hostname
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._final_timeout = final_timeout
        self._max_messages = max_messages
        self._connection: smtplib.SMTP | None = None
        self._sent = 0
        self._is_reusable = False
        self._needs_reset = False

    def transmit(self, envelope_from: str, recipient: str, data: bytes, key: str, before_dot: Callable[[], None]) -> str:
        """Send one message and return the reply to its final dot. Raises as :meth:`notify.transport.Transport.transmit`.

        An open connection that turns out to be dead is replaced at once; ``before_dot`` has not been called then.
        """
        envelope = _build_envelope(envelope_from, recipient, data)
        # Relays close idle connections at any time; before the final dot a second attempt cannot deliver twice.
        if self._connection is not None:
            with suppress(_ConnectionLost):
                return self._deliver(self._connection, envelope, before_dot)
        self._connection = connect(
            self._relay,
            local_hostname=self._local_hostname,
            connect_timeout=self._connect_timeout,
            command_timeout=self._command_timeout,
        )
        self._sent, self._needs_reset = 0, False
        return self._deliver(self._connection, envelope, before_dot)

    def close(self) -> None:
        """Send QUIT and close the connection; the next message opens a new one."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(OSError, smtplib.SMTPException):
            socket_of(connection).settimeout(_QUIT_TIMEOUT_SECONDS)
            connection.docmd("QUIT")
        connection.close()

    def _deliver(self, connection: smtplib.SMTP, envelope: _Envelope, before_dot: Callable[[], None]) -> str:
        """Run one mail transaction (RFC 5321 §3.3).

        1. MAIL, RCPT and DATA, up to the 354 reply. A failure means that nothing was delivered.
        2. The content without its final dot. Without the dot the relay delivers nothing (RFC 5321 §4.1.1.4).
        3. Check that the relay has sent nothing. An early reply would be read as the one to the final dot.
        4. ``before_dot``: the caller commits its intent, so that a crash from here on counts as ambiguous.
        5. Check again: the commit took time, and on a connection that died meanwhile nothing was delivered.
        6. The final dot and its reply. A connection lost here is ambiguous (RFC 5321 §4.5.3.2.6).

        The connection stays open only if the next reply is certain to belong to the next command.
        """
        commands = _build_commands(connection, envelope, reset=self._needs_reset)
        self._is_reusable = False
        try:
            self._start_data(connection, commands)
            _send(connection, envelope.content)
            _expect_silence(connection)
            before_dot()
            self._recheck(connection)
            reply = self._finish(connection)
        except BaseException:
            if not self._is_reusable:
                self._close_abruptly()
            raise
        self._sent += 1
        if self._sent >= self._max_messages:
            self.close()
        return str(reply)

    def _start_data(self, connection: smtplib.SMTP, commands: list[bytes]) -> None:
        """Send MAIL, RCPT and DATA and read their replies; in one write with PIPELINING (RFC 2920 §3.1)."""
        pipelining = connection.has_extn("pipelining")
        if pipelining:
            _send(connection, b"".join(commands))
        refusal: _Reply | None = None
        reply = _Reply(-1, "")
        for command in commands:
            try:
                if not pipelining:
                    _send(connection, command)
                reply = _read_reply(connection)
            except _ConnectionLost:
                if refusal is None:
                    raise
                raise _failure(refusal) from None
            if not _is_accepted(command, reply):
                if command == _RESET:
                    raise _ConnectionLost(str(reply))
                refusal = refusal or reply
                if not pipelining:
                    break
        if refusal is not None:
            # With a 354 in spite of a refusal the relay waits for content: only closing the connection delivers none.
            self._is_reusable = reply.code != 354 and min(reply.code, refusal.code) > 0
            self._needs_reset = True
            raise _failure(refusal)

    def _recheck(self, connection: smtplib.SMTP) -> None:
        try:
            _expect_silence(connection)
        except _ConnectionLost as lost:
            raise TemporaryFailure(lost.reply) from None

    def _finish(self, connection: smtplib.SMTP) -> _Reply:
        """Send the final dot and read its reply. A connection lost from here on is an ambiguous outcome."""
        try:
            sock = socket_of(connection)
            sock.settimeout(self._final_timeout)
            connection.send(b".\r\n")
            code, text = connection.getreply()
            sock.settimeout(self._command_timeout)
        except (OSError, smtplib.SMTPException):
            raise AmbiguousOutcome("the connection was lost after the final dot, before its reply") from None
        reply = _Reply(code, decode(text))
        if not (200 <= reply.code < 300 or 400 <= reply.code < 600):
            raise AmbiguousOutcome(f"the reply to the final dot is not a valid SMTP reply: {reply}")
        self._is_reusable = reply.code != 421
        self._needs_reset = False
        if reply.code >= 300:
            raise _failure(reply)
        return reply

    def _close_abruptly(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _build_envelope(envelope_from: str, recipient: str, data: bytes) -> _Envelope:
    try:
        sender = wire_address(envelope_from) if envelope_from else ""
        to = wire_address(recipient)
    except AddressError as error:
        raise PermanentFailure(error.text) from None
    # Some servers read a bare CR or LF as a line end and others do not: this is how SMTP smuggling works.
    if not data.endswith(b"\r\n") or not data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r"):
        raise PermanentFailure("the message has a line that does not end in CRLF")
    headers = data.partition(b"\r\n\r\n")[0]
    return _Envelope(
        sender=sender,
        recipient=to,
        content=_dot_stuff(data),
        eight_bit=not data.isascii(),
        smtputf8=not (sender.isascii() and to.isascii() and headers.isascii()),
    )


def _dot_stuff(data: bytes) -> bytes:
    """Double each dot that begins a line (RFC 5321 §4.5.2)."""
    stuffed = data.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _build_commands(connection: smtplib.SMTP, envelope: _Envelope, *, reset: bool) -> list[bytes]:
    """Return MAIL, RCPT and DATA, after an RSET where the last transaction was refused half-way.

    Raises PermanentFailure when the address needs SMTPUTF8 and the relay does not offer it.
    """
    mail = f"MAIL FROM:<{envelope.sender}>"
    if connection.has_extn("size"):
        mail += f" SIZE={len(envelope.content)}"
    if envelope.eight_bit and connection.has_extn("8bitmime"):
        mail += " BODY=8BITMIME"
    if envelope.smtputf8:
        if not connection.has_extn("smtputf8"):
            raise _unsupported_address()
        mail += " SMTPUTF8"
    commands = [f"{line}\r\n".encode() for line in (mail, f"RCPT TO:<{envelope.recipient}>", "DATA")]
    return [_RESET, *commands] if reset else commands


def _unsupported_address() -> PermanentFailure:
    return PermanentFailure("the address has non-ASCII letters before its @, which the relay does not accept (RFC 6531)")


def _is_accepted(command: bytes, reply: _Reply) -> bool:
    return reply.code == 354 if command == b"DATA\r\n" else 200 <= reply.code < 300


def _failure(reply: _Reply) -> DeliveryError:
    if 500 <= reply.code < 600 and reply.code not in _SIGN_IN_CODES:
        return PermanentFailure(str(reply))
    return TemporaryFailure(str(reply))


def _send(connection: smtplib.SMTP, data: bytes) -> None:
    try:
        connection.send(data)
    except (OSError, smtplib.SMTPException):
        raise _ConnectionLost("the connection was lost before the final dot") from None


def _read_reply(connection: smtplib.SMTP) -> _Reply:
    """Return the next reply. 421 to any command means that the relay closes the connection (RFC 5321 §3.8)."""
    try:
        code, text = connection.getreply()
    except (OSError, smtplib.SMTPException):
        raise _ConnectionLost("the connection was lost before the final dot") from None
    reply = _Reply(code, decode(text))
    if code == 421:
        raise _ConnectionLost(str(reply))
    return reply


def _expect_silence(connection: smtplib.SMTP) -> None:
    """Raise :class:`_ConnectionLost` if the relay has sent anything or closed the connection.

    Before the final dot the relay has no reason to send. An early reply, read as the one to the final dot, would also make
    every later reply belong to the wrong command.
    """
    try:
        sock = socket_of(connection)
        if _has_input(sock, connection.file):
            raise _ConnectionLost(f"the relay sent a reply before the final dot: {_read_reply(connection)}")
    except OSError:
        raise _ConnectionLost("the connection was lost before the final dot") from None


def _has_input(sock: socket.socket, file: BufferedReader | None) -> bool:
    """Return whether reading would give data or the end of the connection, without waiting. Raises OSError."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        if file is not None and file.peek(1):
            return True
    except ssl.SSLWantReadError:
        # TLS records of the protocol itself, such as new session tickets, but no reply.
        return False
    finally:
        sock.settimeout(timeout)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
