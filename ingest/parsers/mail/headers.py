"""Read header blocks within limits: split, unfold, decode (RFC 5322 §2.2, RFC 2047) and clean them for display.

A header value stays bytes until its text is needed: most values are never read.
"""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple

from ingest.parsers.mail.charsets import decode_text, find_codec, make_charset_note

#: Size of the header block (security.md, rule 1).
MAX_BLOCK_BYTES = 100_000
MAX_LINES = 1_000

NEWLINE = re.compile(rb"\r\n|\r|\n")
_BLANK = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:")
# Some programs leave question marks unencoded, which RFC 2047 §4.2 forbids. The last question mark before ``=`` ends the word.
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*+(?:\?(?!=)[^?]{0,200}+|\?(?=\?=)){0,8}+)\?=")
_WORD_GAP = re.compile(r"(\?=)\s+(?==\?[^?\s]{1,60}\?[bBqQ]\?)")
_CHARSET = re.compile(rb"charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9._:-]{2,40})", re.I)
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Bidi controls, zero-width and other invisible characters (security.md, rule 3).
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_KNOWN_FIELDS = frozenset(
    b"apparently-to authentication-results auto-submitted bcc cc comments content-disposition content-transfer-encoding"
    b" content-type date delivered-to dkim-signature envelope-to from importance in-reply-to keywords list-id"
    b" message-id mime-version organization precedence received received-spf references reply-to resent-date"
    b" resent-from resent-to return-path sender status subject thread-index thread-topic to user-agent".split()
)


class Headers:
    """The fields of one block: lower-case name → raw unfolded values, top to bottom."""

    def __init__(self) -> None:
        self._values: dict[str, list[bytes]] = {}
        self.notes: list[str] = []

    def add(self, name: bytes, value: bytes) -> None:
        """Append the raw value of a field."""
        self._values.setdefault(name.decode("ascii").lower(), []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def read_all(self, name: str) -> list[bytes]:
        """Return the raw values of a field, top to bottom."""
        return self._values.get(name, [])

    def read_first(self, name: str) -> bytes | None:
        """Return the first raw value of a field, or None."""
        values = self._values.get(name)
        return values[0] if values else None

    def read_raw_text(self, name: str) -> list[str]:
        """Return the values of a field as text without decoding encoded words.

        Raw 8-bit bytes are decoded by the charset rules of :mod:`ingest.parsers.mail.charsets`.
        """
        return [self._decode_value(value) for value in self.read_all(name)]

    def read_text(self, name: str) -> str:
        """Return the first value of a field decoded and cleaned, or ""."""
        value = self.read_first(name)
        return clean_text(decode_words(self._decode_value(value))) if value else ""

    def _decode_value(self, value: bytes) -> str:
        if value.isascii() and b"\x1b" not in value:
            return value.decode("ascii")
        text, used = decode_text(value, None)
        if used is None:
            return text
        if used != "utf-8":
            text, used = self._decode_by_body_charset(value) or (text, used)
        self.notes.append(make_charset_note(used, "header_charset"))
        return text

    def _decode_by_body_charset(self, value: bytes) -> tuple[str, str] | None:
        """Decode raw bytes by the declared charset of the body, which is mostly theirs when they are not UTF-8."""
        match = _CHARSET.search(b";".join(self.read_all("content-type")[:1])[:2_000])
        if match is None or not (codec := find_codec(match.group(1).decode("ascii"))):
            return None
        text, used = decode_text(value, codec)
        return (text, codec) if used is None else None

    @property
    def looks_like_mail(self) -> bool:
        """Whether at least one field is one that mails have. JSON and log files have colons too."""
        return any(name.encode() in _KNOWN_FIELDS or name.startswith("x-") for name in self._values)


class HeaderBlock(NamedTuple):
    """Headers and the offset at which the body begins."""

    headers: Headers
    body_start: int


def read_block(data: bytes, start: int = 0) -> HeaderBlock:
    """Read the header block at offset ``start``. Never raises.

    At most MAX_BLOCK_BYTES and MAX_LINES are read. Headers beyond a limit are left out and noted.
    """
    headers = Headers()
    end, body_start = _find_end(data, start, headers)
    lines = _split_lines(data[start:end])
    if len(lines) > MAX_LINES:
        headers.notes.append("header_lines_cut")
        del lines[MAX_LINES:]
    name, value = b"", b""
    for number, line in enumerate(lines):
        if line[:1] in (b" ", b"\t"):
            value += line
            continue
        match = _FIELD.match(line)
        if match is None:
            if not line:
                continue
            if _continues_after(lines, number + 1):
                headers.notes.append("header_line_broken")
                continue
            headers.notes.append("header_body_separator_missing")
            body_start = _find_line_start(data, start, number)
            break
        if name:
            headers.add(name, value.strip())
        name, value = match.group(1), line[match.end() :]
    if name:
        headers.add(name, value.strip())
    return HeaderBlock(headers, body_start)


def _find_end(data: bytes, start: int, headers: Headers) -> tuple[int, int]:
    """Return the end of the block and the start of the body. A block over the limit is cut at a line end."""
    found = find_empty_line(data, start, start + MAX_BLOCK_BYTES + 2)
    if found is not None:
        return found
    if len(data) - start <= MAX_BLOCK_BYTES:
        return len(data), len(data)
    headers.notes.append("headers_cut")
    cut = max(data.rfind(b"\n", start, start + MAX_BLOCK_BYTES), data.rfind(b"\r", start, start + MAX_BLOCK_BYTES))
    blank = _BLANK.search(data, start + MAX_BLOCK_BYTES)
    return (cut if cut > start else start + MAX_BLOCK_BYTES), (blank.end() if blank else len(data))


def find_empty_line(data: bytes, start: int, stop: int) -> tuple[int, int] | None:
    """Return the start of the line end before the first empty line and the end of that empty line, or None.

    The result equals a search for ``_BLANK``, which inspects each byte. Few messages end lines with a single CR, so the fast
    search for LF serves most of them.
    """
    at = _find_empty_line_feed(data, start, stop)
    if at >= 0 and not _has_bare_return(data[start : at + 1]):
        begins = at - 1 if at > start and data[at - 1 : at] == b"\r" else at
        return begins, at + (2 if data[at + 1 : at + 2] == b"\n" else 3)
    blank = _BLANK.search(data, start, stop)
    return None if blank is None else blank.span()


def _find_empty_line_feed(data: bytes, start: int, stop: int) -> int:
    """Return the offset of the LF before the first line that is empty or a single CR.

    The kind of the first line end, which is near, is searched first.
    """
    first = data.find(b"\n", start, stop)
    likely, other = (b"\n\r\n", b"\n\n") if data[first - 1 : first] == b"\r" else (b"\n\n", b"\n\r\n")
    at = data.find(likely, start, stop)
    before = data.find(other, start, stop if at < 0 else min(at + len(other) - 1, stop))
    return at if before < 0 else before


def _split_lines(block: bytes) -> list[bytes]:
    return NEWLINE.split(block) if _has_bare_return(block) else block.replace(b"\r\n", b"\n").split(b"\n")


def _has_bare_return(block: bytes) -> bool:
    return block.count(b"\r") != block.count(b"\r\n")


def _continues_after(lines: list[bytes], number: int) -> bool:
    """Whether a known field follows within three lines of a broken one: then the lines are broken and the block continues."""
    for line in lines[number : number + 3]:
        match = _FIELD.match(line)
        if match is not None:
            name = match.group(1).lower()
            return name in _KNOWN_FIELDS or name.startswith(b"x-")
    return False


def _find_line_start(data: bytes, start: int, number: int) -> int:
    position = start
    for _ in range(number):
        newline = NEWLINE.search(data, position)
        if newline is None:
            return len(data)
        position = newline.end()
    return position


def decode_words(text: str) -> str:
    """Decode RFC 2047 encoded words. Words that cannot be decoded stay as written. Linear in the length; never raises."""
    if "=?" not in text:
        return text
    text = _WORD_GAP.sub(r"\1", text)
    out: list[str] = []
    run: list[bytes] = []
    run_charset, position = "", 0
    for match in _WORD.finditer(text):
        charset, payload = match.group(1), _decode_payload(match.group(2), match.group(3))
        broken = match.start() != position or charset.lower() != run_charset.lower() or payload is None
        if broken:
            out.append(_join_run(run, run_charset))
            run = []
        out.append(text[position : match.start()])
        run_charset, position = charset, match.end()
        if payload is None:
            out.append(match.group())
        else:
            run.append(payload)
    out.append(_join_run(run, run_charset))
    out.append(text[position:])
    return "".join(out)


def _join_run(run: list[bytes], charset: str) -> str:
    # Neighbouring words of one charset are joined before decoding: mail programs cut within a character.
    if not run:
        return ""
    known = charset if find_codec(charset) else None
    return decode_text(b"".join(run), known)[0]


def _decode_payload(kind: str, payload: str) -> bytes | None:
    try:
        raw = payload.encode("ascii")
    except UnicodeEncodeError:
        return payload.encode("utf-8", "replace")
    if kind in "qQ":
        return binascii.a2b_qp(raw.replace(b" ", b"_"), header=True)
    return decode_base64(raw)


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


def decode_base64(raw: bytes) -> bytes:
    """Decode base64 as mail programs do: foreign characters and wrong padding must not lose a file. Never raises."""
    padding = raw.find(b"=")
    if 0 <= padding < len(raw) - 80 or (padding >= 0 and raw[padding:].strip(b"=\r\n \t")):
        return _decode_pieces(raw)
    try:
        return binascii.a2b_base64(raw)
    except binascii.Error:
        letters = _NOT_BASE64.sub(b"", raw.split(b"=", 1)[0])
        usable = letters[:-1] if len(letters) % 4 == 1 else letters
        return binascii.a2b_base64(usable + b"=" * (-len(usable) % 4))


_PIECE = re.compile(rb"([^=]+)=*")
_BASE64_ONLY = re.compile(rb"[A-Za-z0-9+/\r\n]*\Z")


def _decode_pieces(raw: bytes) -> bytes:
    """Decode base64 joined from pieces with their own padding. Text after the padding that is not base64 is a footer."""
    out: list[bytes] = []
    for match in _PIECE.finditer(raw):
        if out and not _BASE64_ONLY.match(match.group(1)):
            break
        letters = _NOT_BASE64.sub(b"", match.group(1))
        usable = letters[:-1] if len(letters) % 4 == 1 else letters
        out.append(binascii.a2b_base64(usable + b"=" * (-len(usable) % 4)))
    return b"".join(out)


def clean_text(text: str) -> str:
    """Return one safe line for display: control characters become a space, bidi and zero-width characters are removed."""
    if text.isascii() and text.isprintable():
        return text.strip()
    text = _INVISIBLE.sub("", _CONTROLS.sub(" ", text))
    return text.encode("utf-8", "replace").decode("utf-8").strip()


_ID = re.compile(r"<([^<>]{1,900})>")


def read_ids(headers: Headers, name: str, max_ids: int = 200) -> tuple[str, ...]:
    """Return the last ``max_ids`` message ids of a field with their angle brackets, in order, each once (RFC 5322 §3.6.4)."""
    text = " ".join(headers.read_raw_text(name))
    found = [f"<{clean_text(''.join(match.split()))}>" for match in _ID.findall(text) if match.strip()]
    if not found and text.strip() and not re.search(r"[<>\s]", text.strip()):
        found = [f"<{clean_text(text)[:900]}>"]
    return tuple(dict.fromkeys(found[-max_ids:]))
