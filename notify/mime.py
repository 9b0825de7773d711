"""Write mail messages as bytes: the same message always gives the same bytes, for the first attempt and every later one.

The standard library's ``EmailMessage.as_bytes`` writes a few hundred messages a second, so casemill writes its own
(docs/decisions/mime-writer.md); the tests read every message back with the standard library. Formats: RFC 5322 (message),
2045 and 2046 (MIME), 2047 (encoded words), 3834 (automatic mail), 2369 and 8058 (unsubscribing).
"""

from __future__ import annotations

import re
from base64 import b64encode, encodebytes
from binascii import b2a_qp
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final

from core.errors import CasemillError
from notify.addresses import AddressError, wire_address

_MAX_LINE: Final = 76
# An encoded word has at most 75 characters (RFC 2047 §2): 12 of frame leave 60 of base64, which are 45 bytes.
_WORD_BYTES: Final = 45
# The first line of a header also holds its name; the longest name here is "Subject: ".
_FIRST_WORD_BYTES: Final = 36
# RFC 5321 §4.5.3.1.6 allows 998 octets, RFC 5322 §2.1.1 asks for 78: only a body of longer lines is encoded.
_MAX_PLAIN_LINE: Final = 78
_UNPRINTABLE: Final = re.compile(
    # C0, DEL, C1 and line separators would end or split a header once decoded; lone surrogates cannot be encoded;
    # bidi overrides and zero-width marks make a name read as another.
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200b\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff]+"
)
_MESSAGE_ID: Final = re.compile(r"<[!-;=?A-~]+@[!-;=?A-~]+>")
_MAX_ID_CHARS: Final = 900
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")
_TOKEN: Final = re.compile(r"[!-~]+")


class MessageError(CasemillError):
    """A message cannot be written; ``field`` names the part. The text never holds its content."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message to one recipient.

    ``html`` may be empty; the message then has a text part only. ``loop`` names the installation in the X-Loop header.
    ``automatic`` is false for a staff message: auto-responders may answer it (RFC 3834 §2). ``unsubscribe`` is a URL that
    ends surveys to the recipient when it receives a POST.
    """

    from_address: str
    to_address: str
    subject: str
    date: datetime
    message_id: str
    text: str
    html: str
    loop: str
    from_name: str = ""
    reply_to: str = ""
    in_reply_to: str = ""
    references: tuple[str, ...] = ()
    precedence: str = "bulk"
    automatic: bool = True
    unsubscribe: str = ""


def build_message(message: OutgoingMessage) -> bytes:
    """Return the message as bytes with CRLF line ends, not yet dot-stuffed. The same input gives the same bytes.

    The result is ASCII unless an address has a non-ASCII local part (RFC 6532).

    Raises :class:`MessageError` for an address that is not one plain mailbox, a malformed Message-ID, or a date without a
    time zone.
    """
    headers = "\r\n".join(_headers(message)).encode("utf-8")
    return headers + b"\r\n" + _body(message)


def _headers(message: OutgoingMessage) -> Iterator[str]:
    if message.date.tzinfo is None:
        raise MessageError("date", "has no time zone")
    if not _is_message_id(message.message_id):
        raise MessageError("message_id", "is not a Message-ID")
    yield f"From: {_mailbox(message.from_name, message.from_address)}"
    yield f"To: {_address('to', message.to_address)}"
    yield f"Subject: {_unstructured(message.subject)}"
    yield f"Date: {format_datetime(message.date.astimezone(UTC).replace(microsecond=0))}"
    yield f"Message-ID: {message.message_id}"
    if message.reply_to:
        yield f"Reply-To: {_address('reply_to', message.reply_to)}"
    # The customer's Message-ID may be malformed: then it is left out, and the mail is sent without it.
    if _is_message_id(message.in_reply_to):
        yield f"In-Reply-To: {message.in_reply_to}"
    if references := list(filter(_is_message_id, message.references)):
        # One for each line: a thread can be longer than a header line may be.
        yield "References: " + "\r\n ".join(references)
    if message.automatic:
        yield "Auto-Submitted: auto-generated"
        yield "X-Auto-Response-Suppress: All"
        yield f"Precedence: {_token('precedence', message.precedence)}"
    yield f"X-Loop: {_token('loop', message.loop)}"
    if message.unsubscribe:
        yield f"List-Unsubscribe: <{_token('unsubscribe', message.unsubscribe)}>"
        # One-click unsubscribing is for HTTPS only (RFC 8058 §3.1).
        if message.unsubscribe.startswith("https://"):
            yield "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
    yield "MIME-Version: 1.0"


def _body(message: OutgoingMessage) -> bytes:
    """Return the rest from Content-Type on: text and HTML as alternatives, HTML last (RFC 2046 §5.1.4), or text alone."""
    text = _part(b"plain", message.text)
    if not message.html:
        return text
    html = _part(b"html", message.html)
    boundary = _boundary(message.message_id, text + html)
    opening = b'Content-Type: multipart/alternative;\r\n boundary="%b"\r\n\r\n' % boundary
    return opening + b"--%b\r\n%b\r\n--%b\r\n%b\r\n--%b--\r\n" % (boundary, text, boundary, html, boundary)


def _part(subtype: bytes, content: str) -> bytes:
    encoding, body = _encode_body(content)
    return b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (subtype, encoding, body)


def _encode_body(content: str) -> tuple[bytes, bytes]:
    """Return the name of the encoding and the encoded body with CRLF: 7bit, quoted-printable, or base64 where shorter."""
    unix = content.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    raw = (unix if unix.endswith("\n") else unix + "\n").encode("utf-8", "replace")
    if raw.isascii() and max(map(len, raw.split(b"\n"))) <= _MAX_PLAIN_LINE:
        return b"7bit", raw.replace(b"\n", b"\r\n")
    crlf = raw.replace(b"\n", b"\r\n")
    if not raw.isascii() and len(raw) > 1.25 * len(unix):
        return b"base64", encodebytes(crlf).replace(b"\n", b"\r\n")
    return b"quoted-printable", b2a_qp(crlf, istext=True)


def _boundary(message_id: str, parts: bytes) -> bytes:
    """Return a delimiter that occurs in none of the parts. It depends on the content alone, so that it is reproducible."""
    seed = message_id
    while True:
        boundary = b"=_" + sha256(seed.encode()).hexdigest()[:32].encode()
        if boundary not in parts:
            return boundary
        seed += "."


def _address(field: str, address: str) -> str:
    try:
        return wire_address(address)
    except AddressError as error:
        raise MessageError(field, error.text) from None


def _mailbox(name: str, address: str) -> str:
    plain = _address("from", address)
    return f"{_phrase(name)} <{plain}>" if name.strip() else plain


@lru_cache(maxsize=64)
def _phrase(name: str) -> str:
    """Return a display name as atoms, a quoted string or encoded words (RFC 5322 §3.2.5, RFC 2047 §5)."""
    clean = _strip_unprintable(name)
    if not clean.isascii() or "=?" in clean or len(clean) > _MAX_PLAIN_LINE - len("From: "):
        return _encoded_words(clean)
    if _ATOMS.fullmatch(clean):
        return clean
    escaped = clean.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unstructured(text: str) -> str:
    """Return a folded header text: ASCII as it is; other text, and text that looks encoded, as encoded words."""
    clean = _strip_unprintable(text)
    words = clean.split(" ")
    if not clean.isascii() or "=?" in clean or max(map(len, words)) > _MAX_LINE - len("Subject: "):
        return _encoded_words(clean)
    lines, width = [""], len("Subject:")
    for word in words:
        if width + 1 + len(word) > _MAX_LINE:
            lines.append("")
            width = 0
        lines[-1] += f" {word}"
        width += 1 + len(word)
    return "\r\n".join(lines)[1:]


def _encoded_words(text: str) -> str:
    words = [f"=?utf-8?b?{b64encode(piece).decode()}?=" for piece in _split_utf8(text)]
    return "\r\n ".join(words)


def _split_utf8(text: str) -> Iterator[bytes]:
    """Yield UTF-8 in pieces that fit one encoded word each, without splitting a character (RFC 2047 §5)."""
    piece, limit = b"", _FIRST_WORD_BYTES
    for character in text:
        octets = character.encode()
        if len(piece) + len(octets) > limit:
            yield piece
            piece, limit = b"", _WORD_BYTES
        piece += octets
    yield piece


def _strip_unprintable(text: str) -> str:
    return " ".join(_UNPRINTABLE.sub(" ", text).split())


def _is_message_id(value: str) -> bool:
    return len(value) <= _MAX_ID_CHARS and _MESSAGE_ID.fullmatch(value) is not None


def _token(field: str, value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise MessageError(field, "is not one word of ASCII")
    return value
