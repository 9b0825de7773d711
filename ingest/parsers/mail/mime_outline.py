"""Scan the raw bytes before a library parses them: limit depth and number of parts, detach large leaves.

The outline follows the delimiter lines of RFC 2046 §5.1.1 as the standard library does. A message over a limit is cut at the
offending part. Attached messages and large bodies are replaced by short placeholders. The library then parses a small
skeleton, an attached message keeps its exact bytes, and its parts cannot leak into the body around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import NamedTuple

from ingest.parsers.mail.headers import Headers, find_empty_line

MAX_DEPTH = 20
MAX_PARTS = 500
#: Size of one part's header block: the standard library reads parameters in quadratic time.
MAX_PART_HEADER_BYTES = 16_000
MAX_ALL_PART_HEADERS_BYTES = 256_000
#: Larger base64 bodies, and other bodies over MIN_DETACHED_BYTES, are detached. Some codecs that a part may name take quadratic
#: time, so that a library must not decode large bodies.
MIN_DETACHED_BASE64_BYTES = 1_000
MIN_DETACHED_BYTES = 2_000

PLACEHOLDER_PREFIX = "casemillsetaside"
PLACEHOLDER = re.compile(rb"casemillsetaside([0-9]{1,4})leaf")
# A literal first character lets the engine skip a large base64 body many times faster than a set of line ends.
_AFTER_LF = re.compile(rb"\n--[^\r\n]{1,300}")
_AFTER_ANY = re.compile(rb"[\r\n]--[^\r\n]{1,300}")
_FOLDED = rb":((?:[^\r\n]*)(?:(?>\r\n|\r|\n)[ \t][^\r\n]*)*)"
_TYPE = re.compile(rb"(?:\A|[\r\n])content-type" + _FOLDED, re.I)
_ENCODING = re.compile(rb"(?:\A|[\r\n])content-transfer-encoding" + _FOLDED, re.I)
_SIMPLE_BOUNDARY = re.compile(r"multipart/[a-z]+;[ \t\r\n]+boundary=\"([!#-\[\]-~]+)\"", re.I)
_LIKELY_BOUNDARY = re.compile(rb"(?:\A|[\r\n])--([!-~]{1,70})[ \t]*(?:\r\n|[\r\n])content-[a-z-]+:", re.I)


class Outline(NamedTuple):
    """``skeleton`` is what a library may parse; ``leaves[n]`` holds the raw bytes that placeholder ``n`` stands for."""

    skeleton: bytes
    leaves: list[bytes]
    notes: list[str]


class _Part(NamedTuple):
    type: str
    encoding: str
    boundary: bytes | None
    is_digest: bool


def find_dashed_lines(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and text of every line that begins with two dashes. A bare CR ends a line too."""
    pattern = _AFTER_LF if data.find(b"\r--", start) < 0 else _AFTER_ANY
    for match in pattern.finditer(data, max(start - 1, 0)):
        yield match.start() + 1, match.group()[1:]


class _BoundaryWalk:
    """One pass over the delimiter lines. ``stack`` holds the open delimiters, outermost first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.stack: list[bytes] = []
        self.digests: list[bool] = []
        self.level_of: dict[bytes, tuple[int, bool]] = {}
        self.leaf: int | None = None
        self.detached: list[tuple[int, int]] = []
        self.notes: list[str] = []
        self.leaf_min_bytes = 0
        self.parts = self.header_bytes = 0

    def walk(self, part: _Part, start: int) -> int:
        """Walk from the start of the body. Return the offset at which a limit cuts the message, or the length of the data."""
        self._open_part(part, start)
        for first, line in find_dashed_lines(self.data, start):
            known = self.level_of.get(line.rstrip(b" \t"))
            if known is None:
                continue
            end = first - 1 - (self.data[first - 2 : first] == b"\r\n")
            self._close_leaf(end)
            level, is_end = known
            self._close_levels(level if is_end else level + 1)
            if not is_end and not self._start_part(first + len(line)):
                return end
        if self.stack:
            self.notes.append("end_boundary_missing")
        self._close_leaf(len(self.data))
        return len(self.data)

    def _start_part(self, start: int) -> bool:
        """Read the header block of a part. Return False when a limit is reached and the rest is left out."""
        end, body = self._find_header_end(start)
        self.parts += 1
        self.header_bytes += end - start
        if self.parts > MAX_PARTS:
            self.notes.append("parts_cut")
        elif end - start > MAX_PART_HEADER_BYTES or self.header_bytes > MAX_ALL_PART_HEADERS_BYTES:
            self.notes.append("part_headers_cut")
        else:
            block = self.data[start:end].lstrip(b"\r\n")
            part = _read_part(block, in_digest=self.digests[-1])
            if part.boundary is None or len(self.stack) < MAX_DEPTH:
                self._open_part(part, body)
                return True
            self.notes.append("depth_cut")
        return False

    def _find_header_end(self, start: int) -> tuple[int, int]:
        limit = start + MAX_PART_HEADER_BYTES + 2
        end, body = find_empty_line(self.data, start, limit) or (min(limit, len(self.data)), len(self.data))
        # A part may end before its header block does.
        for newline in (b"\n", b"\r"):
            found = self.data.find(newline + self.stack[-1], start, end)
            if found >= 0:
                return found, found
        return end, body

    def _open_part(self, part: _Part, start: int) -> None:
        self.leaf = None
        if part.boundary is not None:
            delimiter = b"--" + part.boundary
            level = len(self.stack)
            self.stack.append(delimiter)
            self.digests.append(part.is_digest)
            self.level_of.setdefault(delimiter, (level, False))
            self.level_of.setdefault(delimiter + b"--", (level, True))
            return
        self.leaf = start
        if part.type.startswith("message/"):
            self.leaf_min_bytes = 0
        else:
            self.leaf_min_bytes = MIN_DETACHED_BASE64_BYTES if part.encoding == "base64" else MIN_DETACHED_BYTES

    def _close_levels(self, level: int) -> None:
        for delimiter in self.stack[level:]:
            for form in (delimiter, delimiter + b"--"):
                if self.level_of.get(form, (-1, False))[0] >= level:
                    del self.level_of[form]
        del self.stack[level:]
        del self.digests[level:]

    def _close_leaf(self, end: int) -> None:
        if self.leaf is not None and end - self.leaf > self.leaf_min_bytes:
            self.detached.append((self.leaf, end))
        self.leaf = None


def _read_part(block: bytes, *, in_digest: bool) -> _Part:
    """Return type, encoding and boundary of a part, read as ``email.message`` reads them."""
    match = _TYPE.search(block)
    value = match.group(1).strip(b" \t") if match else b""
    kind = value.partition(b";")[0].strip().lower().decode("ascii", "replace")
    if kind.count("/") != 1:
        kind = "message/rfc822" if in_digest and match is None else "text/plain"
    encoding = _ENCODING.search(block)
    return _Part(
        kind,
        encoding.group(1).strip().lower().decode("ascii", "replace") if encoding else "",
        _read_boundary(value) if kind.startswith("multipart/") else None,
        kind == "multipart/digest",
    )


def find_simple_boundary(value: str) -> str | None:
    """Return the boundary of a Content-Type in its most common form (quoted, first and only parameter), or None."""
    match = _SIMPLE_BOUNDARY.fullmatch(value)
    return match.group(1) if match else None


def _read_boundary(value: bytes) -> bytes | None:
    text = value.decode("ascii", "replace")
    if simple := find_simple_boundary(text):
        return simple.encode()
    message = Message()
    message["Content-Type"] = text
    try:
        boundary = message.get_boundary()
    except (ValueError, LookupError, TypeError):
        return None
    return boundary.encode("ascii", "replace") if boundary else None


def build_outline(data: bytes, headers: Headers, body_start: int) -> Outline:
    """Check the limits on the raw bytes and return the skeleton with the detached leaves. Never raises.

    The header block of the skeleton holds only what a library needs: MIME fields and Date. Trace and address fields stay with
    :class:`Headers`.
    """
    lines, notes = _select_fields(headers)
    block = b"\n".join(lines)
    part = _read_part(block, in_digest=False)
    if part.type.startswith("multipart/"):
        part = _repair_boundary(data, body_start, part, lines, notes)
    if part.boundary is not None:
        data = _reopen_early_ends(data, body_start, b"--" + part.boundary, notes)
    walk = _BoundaryWalk(data)
    end = walk.walk(part, body_start)
    skeleton = b"\n".join(lines) + b"\n\n" + _insert_placeholders(data, body_start, end, walk.detached)
    return Outline(skeleton, [data[first:last] for first, last in walk.detached], notes + walk.notes)


def _insert_placeholders(data: bytes, start: int, end: int, detached: list[tuple[int, int]]) -> bytes:
    pieces = []
    for number, (first, last) in enumerate(detached):
        pieces += [data[start:first], b"casemillsetaside%dleaf" % number]
        start = last
    return b"".join([*pieces, data[start:end]])


def _select_fields(headers: Headers) -> tuple[list[bytes], list[str]]:
    notes: list[str] = []
    lines = [b"MIME-Version: 1.0"]
    for name in ("date", "content-type", "content-transfer-encoding", "content-disposition", "content-id"):
        value = headers.read_first(name)
        if value is not None and len(value) > MAX_PART_HEADER_BYTES:
            notes.append("header_field_cut")
            value = value[:MAX_PART_HEADER_BYTES].rpartition(b";")[0]
        if value is not None:
            lines.append(b"%s: %s" % (name.title().encode(), value))
    return lines, notes


def _repair_boundary(data: bytes, start: int, part: _Part, lines: list[bytes], notes: list[str]) -> _Part:
    """Return a multipart whose boundary is missing or never used with the boundary that its body uses.

    The boundary is taken only from a dashed line directly above a Content- field.
    """
    if part.boundary is not None and data.find(b"--" + part.boundary, max(start - 2, 0)) >= 0:
        return part
    found = _LIKELY_BOUNDARY.search(data, max(start - 1, 0))
    if found is None:
        notes.append("boundary_unused" if part.boundary is not None else "boundary_missing")
        return part
    notes.append("boundary_guessed")
    field = b'content-type: %s; boundary="%s"' % (
        part.type.encode("ascii", "replace"),
        found.group(1).replace(b'"', b""),
    )
    lines[:] = [line for line in lines if not line.lower().startswith(b"content-type:")] + [field]
    return part._replace(boundary=found.group(1))


def _reopen_early_ends(data: bytes, start: int, delimiter: bytes, notes: list[str]) -> bytes:
    """Turn end delimiters that are followed by further parts into plain delimiters.

    Some programs close a multipart too early.
    """
    first = data.find(delimiter + b"--", start)
    if first < 0 or data.rfind(delimiter) <= first:
        return data
    ends: list[int] = []
    early: list[int] = []
    for offset, line in find_dashed_lines(data, first):
        text = line.rstrip(b" \t")
        if text == delimiter + b"--":
            ends.append(offset)
        elif text == delimiter:
            early += ends
            ends.clear()
    if not early:
        return data
    notes.append("parts_after_end")
    pieces, position = [], 0
    for offset in early[:MAX_PARTS]:
        pieces += [data[position:offset], delimiter]
        position = offset + len(delimiter) + 2
    return b"".join([*pieces, data[position:]])


def find_detached_leaf(outline: Outline, payload: bytes) -> bytes | None:
    """Return the bytes a payload stands for when it is exactly one placeholder of this outline, else None."""
    match = PLACEHOLDER.fullmatch(payload.strip())
    number = int(match.group(1)) if match else -1
    return outline.leaves[number] if 0 <= number < len(outline.leaves) else None


def restore_leaves(outline: Outline, payload: bytes) -> bytes:
    """Replace the placeholders in a payload by their bytes. Needed when the library saw another structure."""
    if not outline.leaves or PLACEHOLDER_PREFIX.encode() not in payload:
        return payload
    count = len(outline.leaves)
    return PLACEHOLDER.sub(lambda m: outline.leaves[int(m.group(1))] if int(m.group(1)) < count else m.group(), payload)
