"""Open parts that wrap something else: winmail.dat, opaque S/MIME, uuencoded files, invites and other text formats.

Each part becomes what a person reads in it, and a note names what was found. Ordinary parts pass after a test of their type.
"""

from __future__ import annotations

import binascii
import mimetypes
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ingest.parsers.mail.charsets import decode_text
from ingest.parsers.mail.headers import clean_text, read_block
from ingest.parsers.mail.parts import Leaf
from ingest.parsers.mail.smime import is_encrypted, read_signed
from ingest.parsers.mail.text_formats import read_calendar, read_enriched, read_rtf
from ingest.parsers.mail.tnef import read_tnef

#: Containers and texts of one message that are opened. A container may hold as many parts as a message.
MAX_UNWRAPPED = 5

_ENRICHED = frozenset({"text/enriched", "text/richtext"})
_RTF = frozenset({"text/rtf", "application/rtf"})
_READABLE = frozenset({"text/plain", "text/html"})
_SMIME = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_SIGNATURES = {
    "application/pgp-signature": "pgp_signed",
    "application/pkcs7-signature": "smime_signed",
    "application/x-pkcs7-signature": "smime_signed",
    "application/pgp-encrypted": "pgp_encrypted",
}
_TNEF = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})
_SPECIAL_TYPES = (
    _ENRICHED | _RTF | _SMIME | _TNEF | _SIGNATURES.keys() | {"text/calendar", "message/partial", "message/external-body"}
)
_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]{1,200}?)[ \t]*(?:\r\n|\r|\n)", re.M)
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|\Z)")

ReadEntity = Callable[[bytes], list[Leaf]]


def unwrap_leaves(leaves: Sequence[Leaf], notes: list[str], read_entity: ReadEntity) -> list[Leaf]:
    """Return the leaves with the content of wrapped parts in their place. Never raises.

    ``read_entity`` returns the leaves of a MIME entity. At most MAX_UNWRAPPED containers and texts are opened.
    """
    if all(_is_ordinary(leaf) for leaf in leaves):
        return list(leaves)
    readable = {leaf.alternative for leaf in leaves if leaf.type in _READABLE and leaf.content.strip()} - {None}
    out: list[Leaf] = []
    invites: dict[str, Leaf] = {}
    remaining = MAX_UNWRAPPED
    pending = list(reversed(leaves))
    while pending:
        leaf = pending.pop()
        if _is_ordinary(leaf) or not remaining:
            out.append(leaf)
            continue
        remaining -= leaf.type not in _SIGNATURES
        inner = _open_signed(leaf, notes, read_entity) if leaf.type in _SMIME else None
        if inner is not None:
            pending += reversed(inner)
        elif leaf.type in _TNEF or leaf.name.lower() == "winmail.dat":
            out += _open_tnef(leaf, notes)
        else:
            out += _read_special_part(leaf, notes, readable, invites)
    return [*_drop_copies(out), *invites.values()]


def _drop_copies(leaves: list[Leaf]) -> list[Leaf]:
    """Drop the text of a winmail.dat that repeats the text of the mail."""
    if any(leaf.type in _READABLE and not leaf.name and "tnef" not in leaf.params and leaf.content.strip() for leaf in leaves):
        return [leaf for leaf in leaves if "tnef" not in leaf.params]
    return leaves


def _is_ordinary(leaf: Leaf) -> bool:
    if leaf.type == "text/plain":
        return b"begin " not in leaf.content
    return leaf.type not in _SPECIAL_TYPES and leaf.name.lower() != "winmail.dat"


def _read_special_part(leaf: Leaf, notes: list[str], readable: set[int | None], invites: dict[str, Leaf]) -> list[Leaf]:
    if leaf.type == "text/plain" and not leaf.name and leaf.disposition != "attachment":
        return _extract_uuencoded(leaf, notes)
    if leaf.type in _ENRICHED or (leaf.type in _RTF and leaf.alternative is not None and not leaf.name):
        return [] if leaf.alternative in readable else [_make_plain_leaf(leaf, _read_text_format(leaf))]
    if leaf.type == "text/calendar" and leaf.disposition != "attachment":
        text = read_calendar(decode_text(leaf.content, leaf.charset or "utf-8")[0])
        if text:
            notes.append("calendar_invite")
            invites.setdefault(text, Leaf("text/plain", text.encode(), {"charset": "utf-8"}))
    elif leaf.type in _SIGNATURES:
        notes.append(_SIGNATURES[leaf.type])
    elif leaf.type == "message/partial":
        notes.append("message_partial")
        block = read_block(leaf.content)
        start = block.body_start if block.headers.looks_like_mail else 0
        return [Leaf("text/plain", leaf.content[start:]), leaf]
    elif leaf.type == "message/external-body":
        notes.append("external_body")
        return [Leaf("text/plain", _show_external(leaf).encode(), {"charset": "utf-8"}), leaf]
    return [leaf]


def _read_text_format(leaf: Leaf) -> str:
    if leaf.type in _RTF:
        return read_rtf(leaf.content)
    return read_enriched(decode_text(leaf.content, leaf.charset)[0].replace("\r\n", "\n"))


def _make_plain_leaf(leaf: Leaf, text: str) -> Leaf:
    return replace(leaf, type="text/plain", content=text.encode("utf-8", "replace"), params={"charset": "utf-8"})


def _show_external(leaf: Leaf) -> str:
    """RFC 2046 §5.2.3: describe a file that is stored elsewhere."""
    parameters = (leaf.params.get(name, "") for name in ("name", "access-type", "url", "site", "directory", "server"))
    return "A file kept elsewhere: " + ", ".join(clean_text(value)[:500] for value in parameters if value)


def _open_signed(leaf: Leaf, notes: list[str], read_entity: ReadEntity) -> list[Leaf] | None:
    content = read_signed(leaf.content)
    if content is not None:
        notes.append("smime_signed")
        return read_entity(content)
    kind = leaf.params.get("smime-type", "").lower()
    if is_encrypted(leaf.content) or "enveloped" in kind:
        notes.append("smime_encrypted")
    elif kind == "signed-data":
        notes.append("smime_signed")
    return None


def _open_tnef(leaf: Leaf, notes: list[str]) -> list[Leaf]:
    """Return the files in place of the container. A damaged container stays beside the files that could be read."""
    found = read_tnef(leaf.content)
    if not (found.files or found.text or found.html):
        return [leaf]
    notes.append("tnef_damaged" if found.damaged else "tnef_unpacked")
    files = [
        Leaf(
            type=clean_text(one.type).lower() or mimetypes.guess_type(one.name)[0] or "application/octet-stream",
            content=one.content,
            disposition="inline" if one.content_id else "attachment",
            name=one.name,
            content_id=one.content_id or None,
            attached=True,
        )
        for one in found.files
    ]
    if found.damaged:
        return [*files, leaf]
    texts = [Leaf("text/plain", found.text.encode("utf-8", "replace"), {"charset": "utf-8", "tnef": "yes"})]
    pages = [Leaf("text/html", found.html, {"tnef": "yes"})]
    return [*([] if not found.text else texts), *([] if found.text or not found.html else pages), *files]


def _extract_uuencoded(leaf: Leaf, notes: list[str]) -> list[Leaf]:
    """Return the text without its uuencoded files, followed by these files."""
    data, texts, files, position = leaf.content, [], [], 0
    while (match := _BEGIN.search(data, position)) is not None:
        end, content = _read_uuencoded(data, match.end())
        if content is None:
            texts.append(data[position:end])
        else:
            texts.append(data[position : match.start()])
            name = decode_text(match.group(1), leaf.charset)[0]
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            files.append(Leaf(kind, content, disposition="attachment", name=name, attached=True))
        position = end
    if not files:
        return [leaf]
    notes.append("uuencoded_file")
    return [replace(leaf, content=b"".join([*texts, data[position:]])), *files]


def _read_uuencoded(data: bytes, position: int) -> tuple[int, bytes | None]:
    """Return the offset after ``end`` and the content.

    When the lines are not a file, return the offset of the first wrong line and None.
    """
    pieces: list[bytes] = []
    while position < len(data):
        match = _LINE.match(data, position)
        assert match is not None  # noqa: S101 - the pattern takes any line
        line = match.group(1)
        position = match.end()
        if line.rstrip() == b"end":
            return position, b"".join(pieces)
        length = (line[0] - 32) & 63 if line else 0
        if not line or not 32 <= line[0] <= 96 or len(line.rstrip()) > 1 + (length + 2) // 3 * 4 + 2:
            return match.start(), None
        try:
            pieces.append(binascii.a2b_uu(line[: 1 + (length + 2) // 3 * 4]))
        except binascii.Error:
            return match.start(), None
    return position, None
