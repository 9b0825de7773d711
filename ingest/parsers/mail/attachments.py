"""Attachments: which leaves are files, with cleaned names, sniffed types and hashes."""

from __future__ import annotations

import hashlib
import mimetypes
import re
import unicodedata
from collections.abc import Sequence

import filetype

from ingest.parsers.mail.headers import clean_text, read_block
from ingest.parsers.mail.parts import Leaf
from ingest.parsers.types import ParsedAttachment

MAX_NAME_LENGTH = 150
_SNIFFED_BYTES = 8_192
_UNSAFE = re.compile(r'[<>:"|?*\\/]+')
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{1,10}\Z")
_DEFAULT_NAMES = {
    "message/rfc822": "message.eml",
    "message/delivery-status": "delivery-status.txt",
    "message/global-delivery-status": "delivery-status.txt",
    "message/disposition-notification": "disposition-notification.txt",
    "message/feedback-report": "feedback-report.txt",
    "text/rfc822-headers": "message-headers.txt",
    "text/calendar": "invite.ics",
    "text/plain": "attachment.txt",
    "text/html": "attachment.html",
    "application/pgp-signature": "signature.asc",
    "application/pkcs7-signature": "smime.p7s",
    "application/pkcs7-mime": "smime.p7m",
    "application/ms-tnef": "winmail.dat",
}
_TEXT_FILE_TYPES = frozenset(
    {"text/csv", "text/vcard", "text/x-vcard", "text/directory", "text/xml", "text/css", "text/javascript"}
)
#: The most frequent types, recognised without running every matcher of filetype.
_COMMON_TYPES = (
    (b"%PDF", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
_TEXT_TYPES = ("text/", "message/")
# Further forms of the body for special programs. Text or HTML carries the same content.
_ALTERNATIVE_BODY_TYPES = frozenset({"text/x-amp-html", "text/watch-html"})


def split_leaves(leaves: Sequence[Leaf]) -> tuple[list[Leaf], list[Leaf]]:
    """Return the body leaves and the attachment leaves.

    When no leaf is a body, the first named text that is not marked as an attachment becomes the body.
    """
    body: list[Leaf] = []
    files: list[Leaf] = []
    for leaf in leaves:
        if leaf.type in _ALTERNATIVE_BODY_TYPES and leaf.alternative is not None:
            continue
        (body if _may_be_body(leaf) and not leaf.name else files).append(leaf)
    if not body:
        body = [leaf for leaf in files if _may_be_body(leaf)][:1] or [leaf for leaf in files if _is_unknown_text(leaf)][:1]
    return body, [leaf for leaf in files if all(leaf is not other for other in body) and (leaf.content or leaf.name)]


def _may_be_body(leaf: Leaf) -> bool:
    # A container without parts has only its text.
    readable = leaf.type in ("text/plain", "text/html") or leaf.type.startswith("multipart/")
    return readable and not leaf.attached and leaf.disposition != "attachment"


def _is_unknown_text(leaf: Leaf) -> bool:
    """Whether a leaf is a text of an unknown kind, which is shown as written when the mail has no other text."""
    named = leaf.name or leaf.disposition == "attachment" or leaf.attached
    return leaf.type.startswith("text/") and leaf.type not in _DEFAULT_NAMES and leaf.type not in _TEXT_FILE_TYPES and not named


def make_attachment(leaf: Leaf) -> ParsedAttachment:
    """Name, sniff and hash one leaf. The name never holds a path, control characters or bidi characters. Never raises."""
    sniffed = sniff_type(leaf)
    return ParsedAttachment(
        name=clean_name(leaf.name) or _make_name(leaf, sniffed),
        type=clean_text(leaf.type)[:100],
        sniffed=sniffed,
        size=len(leaf.content),
        sha256=hashlib.sha256(leaf.content).hexdigest(),
        inline=_is_inline(leaf),
        content_id=clean_text(leaf.content_id) or None if leaf.content_id else None,
        content=leaf.content,
    )


def _is_inline(leaf: Leaf) -> bool:
    """Whether a leaf is shown inside the body.

    It declares itself inline, or stands beside a page that can show it: an image, or a part with a Content-ID (RFC 2387 §4).
    """
    can_be_shown = leaf.related and (leaf.type.startswith("image/") or bool(leaf.content_id))
    return leaf.disposition == "inline" or (leaf.disposition != "attachment" and can_be_shown)


def is_message(attachment: ParsedAttachment) -> bool:
    """Whether a file is a whole message: an attached message, or a file named .eml that begins with mail headers."""
    if attachment.type in ("message/rfc822", "message/global"):
        return True
    return attachment.name.lower().endswith(".eml") and read_block(attachment.content[:20_000]).headers.looks_like_mail


def sniff_type(leaf: Leaf) -> str | None:
    """Return the media type that the first bytes show, or None when they show none (texts)."""
    if leaf.type.startswith(_TEXT_TYPES) and leaf.content[:64].isascii():
        return None
    for start, known in _COMMON_TYPES:
        if leaf.content.startswith(start):
            return known
    kind = filetype.guess(leaf.content[:_SNIFFED_BYTES])
    return str(kind.mime) if kind is not None else None


def clean_name(name: str) -> str:
    """Return a file name without path, control, bidi and reserved characters, or "".

    The name has at most MAX_NAME_LENGTH characters; its extension is kept.
    """
    flat = unicodedata.normalize("NFC", clean_text(name[:4_000])).replace("\\", "/")
    base = " ".join(_UNSAFE.sub("_", flat.rsplit("/", 1)[-1]).split()).lstrip(". ").rstrip(". ")
    if len(base) <= MAX_NAME_LENGTH:
        return base
    extension = _EXTENSION.search(base)
    ending = extension.group() if extension else ""
    return base[: MAX_NAME_LENGTH - len(ending)].rstrip() + ending


def _make_name(leaf: Leaf, sniffed: str | None) -> str:
    if leaf.type in ("message/rfc822", "message/global"):
        subject = read_block(leaf.content.lstrip(b"\r\n")).headers.read_text("subject")
        name = clean_name(subject.replace("/", "_").replace("\\", "_"))
        return clean_name(name + ".eml") if name else "message.eml"
    known = _DEFAULT_NAMES.get(leaf.type)
    if known:
        return known
    stem = "image" if leaf.type.startswith("image/") else "attachment"
    extension = mimetypes.guess_extension(sniffed or "") or mimetypes.guess_extension(leaf.type) or ".bin"
    return stem + extension
