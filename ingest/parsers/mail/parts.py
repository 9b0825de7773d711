"""The leaves of a parsed message, in order: type, name, disposition and decoded bytes."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import lru_cache

from ingest.parsers.mail.charsets import decode_text, find_codec
from ingest.parsers.mail.headers import decode_base64, decode_words
from ingest.parsers.mail.mime_outline import Outline, find_detached_leaf, restore_leaves

Params = Mapping[str, str]
#: Length of a field whose parsed parameters are cached for later mails.
MAX_CACHED_LENGTH = 120
_ENCODINGS = frozenset({"", "7bit", "8bit", "binary", "base64", "quoted-printable"})
_ENCODING_WORD = re.compile(r"[\s\"']*(?:\([^()]{0,100}\)\s*)?([a-z0-9-]+)")
_SOFT_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")


@dataclass(slots=True)
class Leaf:
    """One part without children. ``alternative`` is the number of the outermost multipart/alternative around it."""

    type: str
    content: bytes
    params: Params = field(default_factory=dict)
    disposition: str = ""
    name: str = ""
    content_id: str | None = None
    attached: bool = False
    related: bool = False
    alternative: int | None = None

    @property
    def charset(self) -> str | None:
        """The declared charset, or None."""
        return self.params.get("charset") or None


@dataclass(slots=True)
class _Position:
    """The position of a part in the tree."""

    attached: bool = False
    related: bool = False
    alternative: int | None = None


def collect_leaves(message: Message, outline: Outline) -> list[Leaf]:
    """Return all leaves, top to bottom. An attached message is one leaf with all that it holds. Never raises."""
    leaves: list[Leaf] = []
    pending: list[tuple[Message, _Position]] = [(message, _Position())]
    alternatives = 0
    while pending:
        part, position = pending.pop()
        kind = part.get_content_type()
        children = _read_payload(part)
        if not isinstance(children, list) or kind.startswith("message/"):
            leaves.append(_read_leaf(part, kind, position, outline))
            continue
        if kind == "multipart/alternative" and position.alternative is None:
            alternatives += 1
            position = _Position(position.attached, position.related, alternatives)
        related = position.related or kind == "multipart/related"
        # RFC 2183 §2.9: the disposition of a container applies to all parts in it.
        attached = position.attached or part.get_content_disposition() == "attachment"
        inner = _Position(attached, related, position.alternative)
        pending.extend((child, inner) for child in reversed(children))
    return leaves


def _read_leaf(part: Message, kind: str, position: _Position, outline: Outline) -> Leaf:
    fields = _read_fields(part)
    params = _read_params(fields.get("content-type"))
    disposition = _read_params(fields.get("content-disposition"))
    encoding = read_encoding(fields.get("content-transfer-encoding", ""))
    content_id = fields.get("content-id", "").strip().strip("<>").strip()
    return Leaf(
        type=kind,
        content=_read_content(part, encoding, outline),
        params=params,
        disposition=disposition.get("", "").lower(),
        name=decode_words(disposition.get("filename") or params.get("name") or ""),
        content_id=content_id[:300] or None,
        attached=position.attached,
        related=position.related,
        alternative=position.alternative,
    )


def read_encoding(value: str) -> str:
    """Return the transfer encoding that a field names, without quotes, comments and other additions."""
    value = value.strip().lower()
    if value in _ENCODINGS:
        return value
    match = _ENCODING_WORD.match(value)
    return match.group(1) if match else value


def _read_fields(part: Message) -> dict[str, str]:
    """Return the first occurrence of each MIME field. Raw 8-bit bytes become text by the charset rules."""
    fields: dict[str, str] = {}
    for name, value in part.raw_items():
        lower = name.lower()
        if lower.startswith("content-") and lower not in fields:
            text = str(value)
            if not text.isascii():
                text = decode_text(text.encode("ascii", "surrogateescape"), None)[0]
            fields[lower] = text
    return fields


def _read_params(value: str | None) -> Params:
    """Return the parameters of a field by lower-case name; "" holds the value itself."""
    if value is None:
        return {}
    return _parse_params(value) if len(value) > MAX_CACHED_LENGTH else _parse_params_cached(value)


def _parse_params(value: str) -> Params:
    view = Message()
    view["x"] = " ".join(value.splitlines())
    try:
        pairs = view.get_params([], header="x")
    except (ValueError, LookupError, TypeError, RecursionError):
        return {"": value.partition(";")[0].strip()}
    params: dict[str, str] = {"": pairs[0][0].strip()} if pairs else {}
    for key, text in pairs[1:]:
        if isinstance(text, str):
            params.setdefault(key.lower(), text)
        else:
            # RFC 6266 §4.3: the form with a charset takes precedence.
            params[key.lower()] = _decode_rfc2231(text)
    return params


#: Cached, because most leaves share a few values such as ``text/plain; charset=utf-8``.
_parse_params_cached = lru_cache(512)(_parse_params)


def _decode_rfc2231(value: tuple[str | None, str | None, str]) -> str:
    """Return an RFC 2231 value as text. The value carries its charset."""
    charset = value[0] if value[0] and find_codec(value[0]) else None
    try:
        return decode_text(value[2].encode("latin-1"), charset)[0]
    except UnicodeEncodeError:
        return value[2]


def _read_payload(part: Message) -> list[Message] | str:
    """Return the payload as parsed. ``get_payload()`` would decode it by the declared charset, and some codecs raise."""
    payload: object = part._payload  # type: ignore[attr-defined]
    if isinstance(payload, list):
        return [child for child in payload if isinstance(child, Message)]
    return payload if isinstance(payload, str) else ""


def _read_content(part: Message, encoding: str, outline: Outline) -> bytes:
    detached = _find_detached(part, outline)
    if detached is not None:
        return decode_transfer(detached, encoding)
    payload = _read_payload(part)
    if isinstance(payload, str):
        return decode_transfer(restore_leaves(outline, payload.encode("ascii", "surrogateescape")), encoding)
    if not payload or not (payload[0].keys() or _read_payload(payload[0])):
        return b""
    try:
        return restore_leaves(outline, payload[0].as_bytes())
    except (ValueError, LookupError, TypeError, AttributeError):
        # Only a part with a broken header reaches this line: the library read it in another way.
        return b""


def _find_detached(part: Message, outline: Outline) -> bytes | None:
    """Return the bytes that the outline detached from this part, or None when its payload is no placeholder."""
    payload = _read_payload(part)
    # A delivery status is a message in a message.
    for _ in range(2):
        if isinstance(payload, list):
            payload = _read_payload(payload[-1]) if payload else ""
    if isinstance(payload, list) or len(payload) > 60 or not payload.isascii():
        return None
    return find_detached_leaf(outline, payload.encode("ascii"))


def decode_transfer(raw: bytes, encoding: str) -> bytes:
    """Undo a Content-Transfer-Encoding (RFC 2045 §6). An unknown encoding leaves the bytes unchanged. Never raises."""
    if encoding == "base64":
        return decode_base64(raw)
    if encoding == "quoted-printable":
        if b"= " in raw or b"=\t" in raw:
            # Some relays add white space after a soft line break.
            raw = _SOFT_BREAK.sub(b"=", raw)
        return binascii.a2b_qp(raw)
    if encoding in ("x-uuencode", "uuencode", "uue", "x-uue"):
        message = Message()
        message["Content-Transfer-Encoding"] = encoding
        message.set_payload(raw.decode("ascii", "surrogateescape"))
        decoded = message.get_payload(decode=True)
        return decoded if isinstance(decoded, bytes) else raw
    return raw
