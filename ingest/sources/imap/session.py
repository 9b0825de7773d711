"""One IMAP connection to one folder: verified TLS, UIDs only, and no command that changes a flag except a move (RFC 9051)."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Any, Self

from imapclient import DELETED, IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from core.errors import RefusedError
from core.settings.sections import Mailbox
from core.settings.types import is_loopback
from ingest.sources.imap.sign_in import sign_in

#: Errors of the server, the network or an answer. imapclient lets time-outs escape as OSError and invalid answers as ValueError.
MAIL_ERRORS = (IMAPClientError, OSError, ValueError, RefusedError)
#: After these errors the connection is lost.
CONNECTION_ERRORS = (IMAPClientAbortError, OSError)

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 60.0
#: RFC 2177: a server may log out a client that idles for 30 minutes.
MAX_IDLE_SECONDS = 28 * 60.0
#: One SEARCH answer is one line, and imaplib accepts lines up to 1,000,000 bytes.
MAX_SEARCH_UIDS = 50_000

# imaplib's trace would write lines of messages into a debug log.
logging.getLogger("imapclient").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class SelectedFolder:
    """The answer to SELECT. UIDs are valid only together with ``uidvalidity``; ``uidnext`` is the next UID (§2.3.1.1)."""

    uidvalidity: int
    uidnext: int
    message_count: int


def error_code(error: BaseException) -> str:
    """Return a snake_case reason code for an error of a mailbox; it contains no text that the server sent."""
    codes: list[tuple[type[BaseException], str]] = [
        (LoginError, "login_refusal"),
        (ssl.SSLCertVerificationError, "untrusted_certificate"),
        (ssl.SSLError, "tls_failure"),
        (socket.gaierror, "unknown_host"),
        (TimeoutError, "timeout"),
        (ConnectionRefusedError, "connection_refusal"),
        (IMAPClientAbortError, "connection_loss"),
        (IMAPClientError, "server_refusal"),
        (ConnectionError, "connection_loss"),
        (OSError, "connection_failure"),
        (ValueError, "protocol_error"),
    ]
    if isinstance(error, RefusedError):
        return error.code
    return next((code for kind, code in codes if isinstance(error, kind)), "unexpected_error")


class ImapSession:
    """A signed-in connection with its folder selected; a context manager. Not for use by several threads.

    The folder is opened read-only (EXAMINE) unless mail is to be moved, so that no mistake can change a flag.
    Every method may raise one of :data:`MAIL_ERRORS`.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._folder = mailbox.folder
        self._move_to = mailbox.move_to
        self._has_move_folder = False
        self._client = _connect(mailbox)
        try:
            sign_in(self._client, mailbox)
            # Servers advertise MOVE only after the login (pitfalls.md).
            self.can_move = bool(self._client.has_capability("MOVE"))
            self.can_idle = bool(self._client.has_capability("IDLE"))
            self.can_expunge = bool(self._client.has_capability("UIDPLUS"))
            self.selected = self._select()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            with contextlib.suppress(*MAIL_ERRORS):
                self._client.logout()
        self.close()

    def close(self) -> None:
        """Close the socket without LOGOUT."""
        with contextlib.suppress(*MAIL_ERRORS, AttributeError):
            self._client.shutdown()

    def search(self, first: int, last: int | None = None, since: date | None = None) -> list[int]:
        """Return UIDs from ``first`` to ``last`` (None: all), oldest first; with ``since`` only those received since that day.

        ``first:*`` also matches the last message when its UID is below ``first`` (§6.4.8), so the answer is filtered.
        """
        criteria: list[Any] = ["UID", f"{first}:{last or '*'}"]
        if since is not None:
            criteria += ["SINCE", since]
        found = {int(uid) for uid in self._client.search(criteria)}
        return sorted(uid for uid in found if uid >= first and (last is None or uid <= last))

    def search_all(self, first: int, last: int | None, since: date | None) -> list[int]:
        """Search as :meth:`search` does, in ranges of :data:`MAX_SEARCH_UIDS`, so that the result may have any length."""
        end = self.selected.uidnext - 1 if last is None else last
        found: list[int] = []
        while first + MAX_SEARCH_UIDS <= end:
            found += self.search(first, first + MAX_SEARCH_UIDS - 1, since)
            first += MAX_SEARCH_UIDS
        return found + self.search(first, last, since)

    def fetch(self, uids: Sequence[int], items: Sequence[str]) -> dict[int, dict[bytes, Any]]:
        """FETCH ``items`` of ``uids``; a message that no longer exists is missing from the answer."""
        answer: dict[int, dict[bytes, Any]] = self._client.fetch(list(uids), list(items))
        return answer

    def exists(self, uid: int) -> bool:
        """Return whether the message is still in the folder."""
        self._client.noop()
        return self.search(uid, uid) == [uid]

    def noop(self) -> None:
        """Send NOOP, so that the server reports new messages (§6.1.2)."""
        self._client.noop()

    def move(self, uids: Sequence[int]) -> None:
        """Move messages to the configured folder: MOVE (RFC 6851), else COPY, ``\\Deleted``, UID EXPUNGE.

        Without UIDPLUS the messages stay flagged as deleted: a plain EXPUNGE would also remove what other people have flagged
        (RFC 4315 §2.1).
        """
        self._ensure_move_folder()
        if self.can_move:
            self._client.move(list(uids), self._move_to)
            return
        self._client.copy(list(uids), self._move_to)
        self._client.add_flags(list(uids), [DELETED], silent=True)
        if self.can_expunge:
            self._client.uid_expunge(list(uids))

    def wait(self, seconds: float, is_stopped: Callable[[], bool], stop: threading.Event) -> None:
        """Return when new mail is announced, at the latest after ``seconds``, or within a second after ``is_stopped()``.

        With IDLE (RFC 2177) the server announces new mail; without it this only waits.
        """
        deadline = time.monotonic() + min(seconds, MAX_IDLE_SECONDS)
        if not self.can_idle:
            while not is_stopped() and (left := deadline - time.monotonic()) > 0:
                stop.wait(min(1.0, left))
            return
        self._client.idle()
        has_mail = self._has_buffered_event()
        while not has_mail and not is_stopped() and (left := deadline - time.monotonic()) > 0:
            pause = min(1.0, left)
            before = time.monotonic()
            events = self._client.idle_check(timeout=pause)
            has_mail = any(_announces_mail(event) for event in events)
            if not events and time.monotonic() - before < pause / 2:
                # A dropped connection answers [] at once, every time; idle_done then raises.
                break
        self._client.idle_done()

    def _has_buffered_event(self) -> bool:
        """Return whether an event arrived together with the answer to IDLE.

        Such an event is in a buffer of imaplib, and ``idle_check`` looks only at the socket.
        """
        socket = self._client.socket()
        socket.setblocking(False)
        try:
            return bool(self._client._imap.file.peek(1))
        except OSError:
            # Nothing has arrived yet: TLS raises in place of an empty answer.
            return False
        finally:
            socket.setblocking(True)
            self._client._set_read_timeout()

    def _select(self) -> SelectedFolder:
        answer = self._client.select_folder(self._folder, readonly=not self._move_to)
        uidvalidity, uidnext = answer.get(b"UIDVALIDITY"), answer.get(b"UIDNEXT")
        if not uidnext:
            uidnext = self._client.folder_status(self._folder, ["UIDNEXT"]).get(b"UIDNEXT")
        if not uidvalidity or not uidnext:
            raise RefusedError("missing_uids", "the mail server gives its messages no permanent numbers (UIDVALIDITY, UIDNEXT)")
        return SelectedFolder(int(uidvalidity), int(uidnext), int(answer.get(b"EXISTS", 0)))

    def _ensure_move_folder(self) -> None:
        if self._has_move_folder:
            return
        if not self._client.folder_exists(self._move_to):
            self._client.create_folder(self._move_to)
            with contextlib.suppress(IMAPClientError):
                self._client.subscribe_folder(self._move_to)
        self._has_move_folder = True


def _connect(mailbox: Mailbox) -> IMAPClient:
    if not mailbox.tls and not mailbox.insecure and not is_loopback(mailbox.host):
        raise RefusedError("plain_text_refusal", "without TLS the password would be sent in plain text")
    context = ssl.create_default_context(cafile=mailbox.ca_file) if mailbox.tls else None
    timeout = SocketTimeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
    client = IMAPClient(mailbox.host, mailbox.port, ssl=mailbox.tls, ssl_context=context, timeout=timeout)
    client.normalise_times = False
    # imapclient sets imaplib's highest trace level, which formats every byte that arrives: half the time of a FETCH.
    client._imap.debug = 0
    return client


def _announces_mail(event: Sequence[Any]) -> bool:
    if event and event[0] == b"BYE":
        raise IMAPClientAbortError("the server sent BYE")
    return len(event) > 1 and event[1] in (b"EXISTS", b"RECENT")
