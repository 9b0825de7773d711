"""Repair what programs add to a message in a file: byte order mark, mbox line, changed line ends and encodings."""

from __future__ import annotations

import re

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_MBOX = re.compile(rb">?From (?![ \t]*:)")


def repair_file(data: bytes) -> tuple[bytes, list[str]]:
    """Return the message before a program saved it as UTF-16 or doubled its carriage returns, and the notes. Never raises."""
    if data[:2] in _UTF_16:
        return data.decode("utf-16", "replace").encode("utf-8", "replace"), ["file_utf_16"]
    end = data.find(b"\n", 0, 2_000)
    if end > 1 and data[end - 2 : end] == b"\r\r":
        return data.replace(b"\r\r\n", b"\r\n"), ["line_ends_doubled"]
    return data, []


def find_first_header(data: bytes) -> int:
    """Return the offset of the first header line, after a byte order mark, blank lines and an mbox ``From `` line."""
    start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    while data[start : start + 1] in (b"\r", b"\n"):
        start += 1
    if _MBOX.match(data, start):
        ends = [end for end in (data.find(b"\n", start), data.find(b"\r", start)) if end >= 0]
        start = min(ends, default=len(data)) + 1
        start += data[start - 1 : start + 1] == b"\r\n"
    return start
