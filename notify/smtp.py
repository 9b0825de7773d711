"""SMTP with a DATA step of its own (RFC 5321, RFC 2920).

smtplib raises the same exception whether a connection dies before or after the final dot. Here the two differ: before
it nothing was delivered, after it nobody can tell.
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
from notify.smtp_connection import Relay, connect, decode, socket_of
from notify.transport import AmbiguousOutcome, DeliveryError, PermanentFailure, TemporaryFailure

_QUIT_SECONDS: Final = 5.0
_RESET: Final = b"RSET\r\n"
# Sign-in wanted or refused (RFC 4954 §6): about our account, not about this message, so the mail waits.
_SIGN_IN_CODES: Final = frozenset({530, 534, 535, 538})


class _ConnectionLost(TemporaryFailure):
    """The connection ended, or the relay ended it (421), while nothing was delivered yet."""


@dataclass(frozen=True, slots=True)
class _Reply:
    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


@dataclass(frozen=True, slots=True)
class _Envelope:
    """One message ready to go: addresses in wire form, content dot-stuffed and without its final dot."""

    sender: str
    recipient: str
    content: bytes
    eight_bit: bool
    smtputf8: bool


class SmtpTransport:
    """Sends over one kept connection. A sender belongs to one thread."""

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
        """``url`` and ``smtp`` as in :meth:`notify.smtp_connection.Relay.parse`, which raises ConfigurationError. Seconds;
        the defaults of 300 and 600 are those of RFC 5321 §4.5.3.2. After ``max_messages`` the connection is renewed."""
        self._relay = Relay.parse(url, smtp)
        self._local_hostname = local_hostname
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._final_timeout = final_timeout
        self._max_messages = max_messages
        self._connection: smtplib.SMTP | None = None
        self._sent = 0
        self._in_step = False
        self._open_transaction = False

    def transmit(self, envelope_from: str, recipient: str, data: bytes, key: str, before_dot: Callable[[], None]) -> str:
        """Send one message and return the reply to its final dot. Errors as in :class:`notify.transport.Transport`.

        A kept connection that turns out to be dead is replaced at once; ``before_dot`` has not been called then.
        """
        envelope = _prepare(envelope_from, recipient, data)
        if self._connection is not None:
            with suppress(_ConnectionLost):
                return self._deliver(self._connection, envelope, before_dot)
        self._connection = connect(
            self._relay,
            local_hostname=self._local_hostname,
            connect_timeout=self._connect_timeout,
            command_timeout=self._command_timeout,
        )
        self._sent, self._open_transaction = 0, False
        return self._deliver(self._connection, envelope, before_dot)

    def close(self) -> None:
        """Say QUIT and let go of the connection; the next message opens another one."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(OSError, smtplib.SMTPException):
            socket_of(connection).settimeout(_QUIT_SECONDS)
            connection.docmd("QUIT")
        connection.close()

    def _deliver(self, connection: smtplib.SMTP, envelope: _Envelope, before_dot: Callable[[], None]) -> str:
        """One transaction. The connection is kept only if what the relay says next is certain to be about the next."""
        commands = _commands(connection, envelope, reset=self._open_transaction)
        self._in_step = False
        try:
            self._begin(connection, commands)
            _send(connection, envelope.content)
            _expect_silence(connection)
            before_dot()
            self._recheck(connection)
            reply = self._finish(connection)
        except BaseException:
            if not self._in_step:
                self._drop()
            raise
        self._sent += 1
        if self._sent >= self._max_messages:
            self.close()
        return str(reply)

    def _begin(self, connection: smtplib.SMTP, commands: list[bytes]) -> None:
        """From MAIL to the 354 after DATA; in one go where the relay offers PIPELINING (RFC 2920 §3.1)."""
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
            if not _accepted(command, reply):
                if command == _RESET:
                    raise _ConnectionLost(str(reply))
                refusal = refusal or reply
                if not pipelining:
                    break
        if refusal is not None:
            # A 354 in spite of a refusal: the relay now waits for content, and only hanging up delivers none.
            self._in_step = reply.code != 354 and min(reply.code, refusal.code) > 0
            self._open_transaction = True
            raise _failure(refusal)

    def _recheck(self, connection: smtplib.SMTP) -> None:
        """The commit of the intent took its time: a connection that died meanwhile has delivered nothing."""
        try:
            _expect_silence(connection)
        except _ConnectionLost as lost:
            raise TemporaryFailure(lost.reply) from None

    def _finish(self, connection: smtplib.SMTP) -> _Reply:
        """The final dot and its reply. From here on a lost connection is an ambiguous outcome."""
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
            raise AmbiguousOutcome(f"the reply to the final dot cannot be understood: {reply}")
        self._in_step = reply.code != 421
        self._open_transaction = False
        if reply.code >= 300:
            raise _failure(reply)
        return reply

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _prepare(envelope_from: str, recipient: str, data: bytes) -> _Envelope:
    try:
        sender = wire_address(envelope_from) if envelope_from else ""
        to = wire_address(recipient)
    except AddressError as error:
        raise PermanentFailure(error.text) from None
    # A bare CR or LF is read as a line end by some servers and not by others: that is how messages are smuggled.
    if not data.endswith(b"\r\n") or not data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r"):
        raise PermanentFailure("the frozen message has a line that does not end in CRLF")
    headers = data.partition(b"\r\n\r\n")[0]
    return _Envelope(
        sender=sender,
        recipient=to,
        content=_stuff(data),
        eight_bit=not data.isascii(),
        smtputf8=not (sender.isascii() and to.isascii() and headers.isascii()),
    )


def _stuff(data: bytes) -> bytes:
    """Double each dot that begins a line (RFC 5321 §4.5.2)."""
    stuffed = data.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _commands(connection: smtplib.SMTP, envelope: _Envelope, *, reset: bool) -> list[bytes]:
    """RSET where the last transaction was refused half-way, then MAIL, RCPT, DATA. Raises PermanentFailure."""
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
    return PermanentFailure("the address has letters beyond ASCII before its @, which the relay does not take (RFC 6531)")


def _accepted(command: bytes, reply: _Reply) -> bool:
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
    """The next reply. 421 means that the relay hangs up (RFC 5321 §3.8), whatever it was asked."""
    try:
        code, text = connection.getreply()
    except (OSError, smtplib.SMTPException):
        raise _ConnectionLost("the connection was lost before the final dot") from None
    reply = _Reply(code, decode(text))
    if code == 421:
        raise _ConnectionLost(str(reply))
    return reply


def _expect_silence(connection: smtplib.SMTP) -> None:
    """The relay has nothing to say before the final dot; if it has, or has hung up, nothing was delivered yet.

    An answer read as the one to the final dot, though it came before it, would also shift all later ones by one.
    """
    try:
        sock = socket_of(connection)
        if _has_input(sock, connection.file):
            raise _ConnectionLost(f"the relay spoke before the final dot: {_read_reply(connection)}")
    except OSError:
        raise _ConnectionLost("the connection was lost before the final dot") from None


def _has_input(sock: socket.socket, file: BufferedReader | None) -> bool:
    """Whether reading would give an answer or the end of the connection; never waits. Raises OSError."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        if file is not None and file.peek(1):
            return True
    except ssl.SSLWantReadError:
        # Something of TLS itself, such as new session tickets, but no answer.
        return False
    finally:
        sock.settimeout(timeout)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
