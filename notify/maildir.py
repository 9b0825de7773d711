"""The Maildir transport: the embedded default, a folder of sent mail that any mail program can open.

Layout after D. J. Bernstein's description of Maildir. For each message:

1. Write it to a file in ``tmp`` and fsync it, so that a crash never leaves half a message in ``new``.
2. Call ``before_dot``, which commits the intent.
3. Rename the file into ``new``: from here on it counts as delivered.
4. Fsync ``new``, so that the rename survives a power loss. If that fails, the outcome is ambiguous.
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
# Bernstein's figure: a file in tmp that is older has no writer any more.
_STALE_SECONDS: Final = 36 * 3600


class MaildirTransport:
    """Writes each message as one file. The name comes from the delivery's key: a repeated message replaces itself."""

    def __init__(self, path: Path) -> None:
        """Create the folder with ``cur``, ``new`` and ``tmp``. Raises OSError when that is not possible."""
        self._path = path
        for folder in ("tmp", "new", "cur"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        self._remove_stale_drafts()

    def transmit(self, envelope_from: str, recipient: str, data: bytes, key: str, before_dot: Callable[[], None]) -> str:
        """Store one message; the rename is its final dot. Raises as :meth:`notify.transport.Transport.transmit`."""
        trace = _build_trace(envelope_from, recipient)
        name = sha256(key.encode()).hexdigest()[:40] + _SUFFIX
        # A unique name in tmp: a stale worker with the same delivery must not truncate the file that is about to move.
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
        """Do nothing: no file stays open."""

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

    def _remove_stale_drafts(self) -> None:
        """Remove the files that killed processes left in tmp."""
        oldest = now().timestamp() - _STALE_SECONDS
        for draft in (self._path / "tmp").glob(f"*{_SUFFIX}.*"):
            with suppress(OSError):
                if draft.stat().st_mtime < oldest:
                    draft.unlink()


def _build_trace(envelope_from: str, recipient: str) -> bytes:
    """Return the envelope as header lines of final delivery (RFC 5321 §4.4): a Maildir has no other place for it."""
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
