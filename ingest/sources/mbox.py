"""Split an mbox file (RFC 4155) into its messages, as mboxrd: remove the ``>`` before a quoted ``From `` line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

#: ``From ``, a sender, and a time and year as asctime writes them; a sentence that begins with "From" has no such date.
_SEPARATOR = re.compile(rb"From [^\r\n]*\d:\d\d[^\r\n]*\d{4}[^\r\n]*\r?\n?\Z")
_FIRST_LINE = re.compile(rb"[\r\n]*From ")
_QUOTED_LINE = re.compile(rb">+From ")
#: A longer line is read in pieces.
_MAX_LINE_BYTES = 1024 * 1024


def is_mbox(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is an mbox: its first line that is not blank begins with ``From ``."""
    return _FIRST_LINE.match(head) is not None


def read_mbox(file: BinaryIO, max_bytes: int) -> Iterator[tuple[bytes, int]]:
    """Yield (message, its size in bytes) in the order of the file, without separators; nothing when it is no mbox.

    Line ends stay as they are. The blank line that closes each message (RFC 4155) is not part of it. The file may have any
    size: of a message larger than ``max_bytes`` only the beginning is returned, so that memory stays bounded.
    """
    message: _MessageLines | None = None
    at_line_start = True
    while line := file.readline(_MAX_LINE_BYTES):
        if message is None and line.strip():
            if not line.startswith(b"From "):
                return
            message = _MessageLines(max_bytes)
        elif message is not None and at_line_start and _SEPARATOR.match(line):
            yield message.join()
            message = _MessageLines(max_bytes)
        elif message is not None:
            message.add(line[1:] if at_line_start and _QUOTED_LINE.match(line) else line, at_line_start)
        at_line_start = line.endswith(b"\n")
    if message is not None:
        yield message.join()


class _MessageLines:
    """The lines of one message. A blank line is added only when another line follows, because the last one is the file's."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._blank_line = b""

    def add(self, line: bytes, at_line_start: bool) -> None:
        if self._blank_line:
            self._append(self._blank_line)
        self._blank_line = line if at_line_start and line in (b"\n", b"\r\n") else b""
        if not self._blank_line:
            self._append(line)

    def join(self) -> tuple[bytes, int]:
        return b"".join(self._parts), self._size

    def _append(self, line: bytes) -> None:
        if self._size < self._max_bytes:
            self._parts.append(line)
        self._size += len(line)
