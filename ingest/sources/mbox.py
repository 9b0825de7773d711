"""Splitting an mbox file (RFC 4155) into its messages, as mboxrd: the ``>`` before a quoted ``From `` line is taken off."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

#: A separator is ``From `` with a sender and a time and year as asctime writes them; a sentence that begins with "From" is none.
_SEPARATOR = re.compile(rb"From [^\r\n]*\d:\d\d[^\r\n]*\d{4}[^\r\n]*\r?\n?\Z")
_FIRST = re.compile(rb"[\r\n]*From ")
_QUOTED = re.compile(rb">+From ")
#: Longer lines are read in pieces.
_LINE_BYTES = 1024 * 1024


def is_mbox(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is an mbox: blank lines aside, its first line begins with ``From ``."""
    return _FIRST.match(head) is not None


def split_mbox(data: bytes) -> Iterator[bytes]:
    """The messages in the order of the file, without separators; nothing when ``data`` is no mbox.

    Line ends stay as they are. The blank line that closes each message (RFC 4155) is not part of it.
    """
    return (raw for raw, _ in read_mbox(io.BytesIO(data), len(data)))


def read_mbox(file: BinaryIO, limit: int) -> Iterator[tuple[bytes, int]]:
    """As :func:`split_mbox` from an open file of any size: (message, its size in bytes).

    Of a message larger than ``limit`` only the beginning is answered, so that memory stays bounded.
    """
    message: _Message | None = None
    at_start = True
    while line := file.readline(_LINE_BYTES):
        if message is None and line.strip():
            if not line.startswith(b"From "):
                return
            message = _Message(limit)
        elif message is not None and at_start and _SEPARATOR.match(line):
            yield message.finish()
            message = _Message(limit)
        elif message is not None:
            message.add(line[1:] if at_start and _QUOTED.match(line) else line, at_start)
        at_start = line.endswith(b"\n")
    if message is not None:
        yield message.finish()


class _Message:
    """Lines of one message. A blank line is held back until another follows, because the last one is the file's."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._held = b""

    def add(self, line: bytes, at_start: bool) -> None:
        if self._held:
            self._keep(self._held)
        self._held = line if at_start and line in (b"\n", b"\r\n") else b""
        if not self._held:
            self._keep(line)

    def finish(self) -> tuple[bytes, int]:
        return b"".join(self._parts), self._size

    def _keep(self, line: bytes) -> None:
        if self._size < self._limit:
            self._parts.append(line)
        self._size += len(line)
