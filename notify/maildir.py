"""A Maildir as the way out: the embedded default, whose mail a person can read with any mail program.

Layout after D. J. Bernstein's description of Maildir: written in ``tmp``, made durable, then renamed into ``new``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Final

from core.clock import now
from notify.addresses import AddressError, wire_address
from notify.transport import AmbiguousOutcome, PermanentFailure, TemporaryFailure

_SUFFIX: Final = ".casemill"
# Bernstein's own figure for a file in tmp that nobody is writing any more.
_STALE_SECONDS: Final = 36 * 3600


class MaildirTransport:
    """Writes each message as one file, named after its delivery: sent again, it replaces itself."""

    def __init__(self, path: Path) -> None:
        """Makes the folder and its ``cur``, ``new`` and ``tmp``. Raises OSError when that is not possible."""
        self._path = path
        for folder in ("tmp", "new", "cur"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        self._sweep()

    def transmit(self, envelope_from: str, recipient: str, data: bytes, key: str, before_dot: Callable[[], None]) -> str:
        """Store one message; the rename is its final dot. Errors as in :class:`notify.transport.Transport`."""
        trace = _trace(envelope_from, recipient)
        name = sha256(key.encode()).hexdigest()[:40] + _SUFFIX
        # A name of its own in tmp: a stale worker with the same delivery must not truncate what is about to move.
        draft = self._path / "tmp" / f"{name}.{token_hex(6)}"
        try:
            self._write(draft, trace + data)
            before_dot()
            self._publish(draft, name)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        return f"250 2.0.0 stored as new/{name}"

    def close(self) -> None:
        """Nothing is kept open."""

    def _write(self, draft: Path, content: bytes) -> None:
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TemporaryFailure(f"the Maildir could not be written: {error.strerror}") from None

    def _publish(self, draft: Path, name: str) -> None:
        try:
            draft.replace(self._path / "new" / name)
        except OSError as error:
            raise TemporaryFailure(f"the Maildir could not be written: {error.strerror}") from None
        try:
            _sync_folder(self._path / "new")
        except OSError as error:
            raise AmbiguousOutcome(f"the Maildir did not confirm the message: {error.strerror}") from None

    def _sweep(self) -> None:
        """Remove what a process that was killed while writing left in tmp."""
        oldest = now().timestamp() - _STALE_SECONDS
        for draft in (self._path / "tmp").glob(f"*{_SUFFIX}.*"):
            with suppress(OSError):
                if draft.stat().st_mtime < oldest:
                    draft.unlink()


def _trace(envelope_from: str, recipient: str) -> bytes:
    """The envelope, as final delivery notes it (RFC 5321 §4.4): otherwise it would be lost with a Maildir."""
    try:
        sender = wire_address(envelope_from) if envelope_from else ""
        return f"Return-Path: <{sender}>\r\nDelivered-To: {wire_address(recipient)}\r\n".encode()
    except AddressError as error:
        raise PermanentFailure(error.text) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
