"""One IMAP connection to one folder: verified TLS, UIDs only, nothing that changes a flag except a move (RFC 9051)."""

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

#: What a bad server, a bad network or a bad answer raises; time-outs escape imapclient as OSError, odd answers as ValueError.
MAIL_ERRORS = (IMAPClientError, OSError, ValueError, RefusedError)
#: The connection is of no more use after these.
BROKEN = (IMAPClientAbortError, OSError)

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
#: RFC 2177: a server may log out a client that idles for 30 minutes.
IDLE_SECONDS = 28 * 60.0
#: One SEARCH answer is one line, and imaplib takes lines up to 1,000,000 bytes.
SEARCH_SPAN = 50_000

# imaplib's trace would write the lines of a message into a debug log.
logging.getLogger("imapclient").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Selected:
    """What SELECT said: UIDs count only together with ``uidvalidity``; ``uidnext`` is the next one to be given (§2.3.1.1)."""

    uidvalidity: int
    uidnext: int
    exists: int


def error_code(error: BaseException) -> str:
    """A snake_case reason for a failure of a mailbox; never any text that the server sent."""
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
    """A signed-in connection with its folder selected; a context manager. Not shared between threads.

    Opened read-only (EXAMINE) unless mail is to be moved, so that it cannot change a flag even by mistake.
    Every method may raise one of :data:`MAIL_ERRORS`.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._folder = mailbox.folder
        self._move_to = mailbox.move_to
        self._move_folder_known = False
        self._client = _connect(mailbox)
        try:
            sign_in(self._client, mailbox)
            # MOVE is advertised only after the login (pitfalls.md).
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
        """Close the socket without a word."""
        with contextlib.suppress(*MAIL_ERRORS, AttributeError):
            self._client.shutdown()

    def search(self, first: int, last: int | None = None, since: date | None = None) -> list[int]:
        """UIDs from ``first`` to ``last`` (None: all), oldest first; with ``since`` only those received on that day or later.

        ``first:*`` also names the last message when its UID is below ``first`` (§6.4.8), so the answer is filtered.
        """
        criteria: list[Any] = ["UID", f"{first}:{last or '*'}"]
        if since is not None:
            criteria += ["SINCE", since]
        found = {int(uid) for uid in self._client.search(criteria)}
        return sorted(uid for uid in found if uid >= first and (last is None or uid <= last))

    def search_all(self, first: int, last: int | None, since: date | None) -> list[int]:
        """As :meth:`search`, in spans, for answers of any length."""
        end = self.selected.uidnext - 1 if last is None else last
        found: list[int] = []
        while first + SEARCH_SPAN <= end:
            found += self.search(first, first + SEARCH_SPAN - 1, since)
            first += SEARCH_SPAN
        return found + self.search(first, last, since)

    def fetch(self, uids: Sequence[int], items: Sequence[str]) -> dict[int, dict[bytes, Any]]:
        """FETCH ``items`` of ``uids``; a UID that is gone is missing from the answer."""
        answer: dict[int, dict[bytes, Any]] = self._client.fetch(list(uids), list(items))
        return answer

    def exists(self, uid: int) -> bool:
        """Whether the message is still in the folder."""
        self._client.noop()
        return self.search(uid, uid) == [uid]

    def noop(self) -> None:
        """Let the server say what is new (§6.1.2)."""
        self._client.noop()

    def move(self, uids: Sequence[int]) -> None:
        """Move messages to the configured folder, made when missing: MOVE (RFC 6851), else COPY, ``\\Deleted``, UID EXPUNGE.

        Without UIDPLUS they stay flagged as deleted: a plain EXPUNGE would remove what other people flagged (RFC 4315 §2.1).
        """
        self._make_move_folder()
        if self.can_move:
            self._client.move(list(uids), self._move_to)
            return
        self._client.copy(list(uids), self._move_to)
        self._client.add_flags(list(uids), [DELETED], silent=True)
        if self.can_expunge:
            self._client.uid_expunge(list(uids))

    def wait(self, seconds: float, stopped: Callable[[], bool], stop: threading.Event) -> None:
        """Return when mail has come, at the latest after ``seconds``, or within a second of ``stopped()``.

        With IDLE (RFC 2177) the server says what is new; without, this only waits.
        """
        end = time.monotonic() + min(seconds, IDLE_SECONDS)
        if not self.can_idle:
            while not stopped() and (left := end - time.monotonic()) > 0:
                stop.wait(min(1.0, left))
            return
        self._client.idle()
        news = self._is_told_already()
        while not news and not stopped() and (left := end - time.monotonic()) > 0:
            pause = min(1.0, left)
            before = time.monotonic()
            events = self._client.idle_check(timeout=pause)
            news = any(_is_news(event) for event in events)
            if not events and time.monotonic() - before < pause / 2:
                break  # a dropped connection answers [] at once for ever; idle_done tells, it raises then
        self._client.idle_done()

    def _is_told_already(self) -> bool:
        """Whether news came in one piece with the go-ahead: it lies in a buffer, and ``idle_check`` looks at the socket only."""
        socket = self._client.socket()
        socket.setblocking(False)
        try:
            return bool(self._client._imap.file.peek(1))
        except OSError:  # nothing there yet: what TLS says in place of an empty answer
            return False
        finally:
            socket.setblocking(True)
            self._client._set_read_timeout()

    def _select(self) -> Selected:
        answer = self._client.select_folder(self._folder, readonly=not self._move_to)
        uidvalidity, uidnext = answer.get(b"UIDVALIDITY"), answer.get(b"UIDNEXT")
        if not uidnext:
            uidnext = self._client.folder_status(self._folder, ["UIDNEXT"]).get(b"UIDNEXT")
        if not uidvalidity or not uidnext:
            raise RefusedError("missing_uids", "the server gives its messages no lasting numbers (UIDVALIDITY, UIDNEXT)")
        return Selected(int(uidvalidity), int(uidnext), int(answer.get(b"EXISTS", 0)))

    def _make_move_folder(self) -> None:
        if self._move_folder_known:
            return
        if not self._client.folder_exists(self._move_to):
            self._client.create_folder(self._move_to)
            with contextlib.suppress(IMAPClientError):
                self._client.subscribe_folder(self._move_to)
        self._move_folder_known = True


def _connect(mailbox: Mailbox) -> IMAPClient:
    if not mailbox.tls and not mailbox.insecure and not is_loopback(mailbox.host):
        raise RefusedError("plain_text_refusal", "without TLS the password would travel in plain text")
    context = ssl.create_default_context(cafile=mailbox.ca_file) if mailbox.tls else None
    timeout = SocketTimeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    client = IMAPClient(mailbox.host, mailbox.port, ssl=mailbox.tls, ssl_context=context, timeout=timeout)
    client.normalise_times = False
    # imapclient traces at imaplib's highest level, which spells out every byte that comes, read or not: half the time of a FETCH.
    client._imap.debug = 0
    return client


def _is_news(event: Sequence[Any]) -> bool:
    if event and event[0] == b"BYE":
        raise IMAPClientAbortError("the server said BYE")
    return len(event) > 1 and event[1] in (b"EXISTS", b"RECENT")
