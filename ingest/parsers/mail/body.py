"""Build the body a person reads: text parts first, flowed text unwrapped, otherwise the text of the HTML."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct

from ingest.parsers.mail.charsets import decode_text, find_meta_charset, make_charset_note
from ingest.parsers.mail.html_text import html_to_text
from ingest.parsers.mail.parts import Leaf
from ingest.parsers.reply.html_quotes import (
    NO_QUOTE_MARKS,
    QuoteMarks,
    extract_quote_marks,
    has_quote_element,
    insert_quote_marks,
)
from ingest.parsers.reply.split import ReplyParts, split_reply

#: Characters of a body. The complete original stays in the blob store.
MAX_BODY_LENGTH = 2_000_000
#: Bytes of one part that are decoded for the body.
MAX_PART_BYTES = 4_000_000
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_PGP_ARMOURS = {
    "-----BEGIN PGP SIGNED MESSAGE-----": "pgp_signed",
    "-----BEGIN PGP MESSAGE-----": "pgp_encrypted",
}
_BASE64 = re.compile(rb"\s*(?:[A-Za-z0-9+/]{60,76}\r?\n)+[A-Za-z0-9+/]{0,76}={0,2}\s*")
#: Length of the base64 lines that mail programs write (RFC 2045 §6.8).
_BASE64_LINE_LENGTHS = range(60, 77)
_HTML = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.I)


class Body(Struct, frozen=True):
    """The body of one message.

    ``text`` is the body. ``html_text`` is the text of all HTML parts, or None when it was not rendered. ``quote_marks`` holds
    what the HTML says about quotes in the lines of ``text``. ``quoting_page`` is an HTML part that contains a quote and was
    not rendered, because there is a text beside it.
    """

    text: str
    html_text: str | None
    has_html: bool
    quote_marks: QuoteMarks = NO_QUOTE_MARKS
    quoting_page: Leaf | None = None


def build_body(leaves: Sequence[Leaf], notes: list[str], *, html_text: bool) -> Body:
    """Join the body leaves in order. Never raises.

    Of alternatives the text is taken unless it is blank (RFC 2046 §5.1.4). HTML is rendered as text only when it has no text
    alternative, or when ``html_text`` is set. The charset used, defects and limits are appended to ``notes``.
    """
    pages = [leaf for leaf in leaves if _is_html(leaf)]
    rendered: dict[int, str] = {}
    texts: list[str] = []
    for alternative, group in groupby(leaves, key=lambda leaf: leaf.alternative):
        members = list(group)
        plain = [_read_plain(leaf, notes) for leaf in members if not _is_html(leaf)]
        if alternative is not None and any(text.strip() for text in plain):
            texts += plain
        elif alternative is not None:
            texts += [_read_html(leaf, notes, rendered) for leaf in members if _is_html(leaf)]
        else:
            rest = iter(plain)
            texts += [_read_html(leaf, notes, rendered) if _is_html(leaf) else next(rest) for leaf in members]
    whole = None
    if pages and (html_text or len(rendered) == len(pages)):
        whole, _ = extract_quote_marks("\n\n".join(text for leaf in pages if (text := _read_html(leaf, notes, rendered))))
    body = "\n\n".join(text for text in (part.strip("\n") for part in texts) if text.strip())
    if len(body) > MAX_BODY_LENGTH:
        notes.append("body_cut")
        body = body[:MAX_BODY_LENGTH]
    body, quote_marks = extract_quote_marks(body) if rendered else (body, NO_QUOTE_MARKS)
    quoting_page = None if rendered else next((leaf for leaf in pages if has_quote_element(leaf.content)), None)
    return Body(body, whole, bool(pages), quote_marks, quoting_page)


def split_body(body: Body, subject: str) -> ReplyParts:
    """Return reply, quote and signature. When the text shows no quote, the HTML beside it may show where one begins."""
    parts = split_reply(body.text, subject=subject, marks=body.quote_marks)
    if parts.quoted or body.quoting_page is None:
        return parts
    page, marks = extract_quote_marks(_read_html(body.quoting_page, [], {}))
    quoted = split_reply(page, subject=subject, marks=marks).quoted
    above = page.removesuffix(quoted) if quoted else ""
    line = _find_line_after_words(body.text, above.split())
    return parts if line is None else split_reply(body.text, subject=subject, marks=QuoteMarks(rest_start=line))


def _find_line_after_words(text: str, words: Sequence[str]) -> int | None:
    """Return the number of the line after ``words``, or None when the text does not begin with them or ends there."""
    seen: list[str] = []
    for number, line in enumerate(text.split("\n")):
        if len(seen) >= len(words):
            return number if seen and seen == words else None
        seen += line.split()
    return None


def _is_html(leaf: Leaf) -> bool:
    return leaf.type == "text/html" or (leaf.type.startswith("multipart/") and _HTML.match(leaf.content) is not None)


def _decode_undeclared_base64(content: bytes, notes: list[str]) -> bytes:
    """Decode a part that is base64 throughout although no header says so. Doubtful content stays unchanged."""
    first = content[:80].lstrip().partition(b"\n")[0].rstrip()
    if len(first) not in _BASE64_LINE_LENGTHS or not _BASE64.fullmatch(content):
        return content
    try:
        text = binascii.a2b_base64(content)
        shown = text.decode("utf-8")
    except ValueError:
        return content
    if _CONTROLS.search(shown.replace("\r\n", "\n")) or not any(map(str.isspace, shown)):
        return content
    notes.append("base64_undeclared")
    return text


def _decode(leaf: Leaf, notes: list[str]) -> str:
    declared = leaf.charset
    content = _decode_undeclared_base64(leaf.content, notes)
    if leaf.type == "text/html" and (declared is None or (declared.lower() == "us-ascii" and not content.isascii())):
        declared = find_meta_charset(content) or declared
    if len(content) > MAX_PART_BYTES:
        notes.append("body_cut")
        content = content[: content.rfind(b"\n", 0, MAX_PART_BYTES) + 1] or content[:MAX_PART_BYTES]
    text, used = decode_text(content, declared)
    if used is not None:
        notes.append(make_charset_note(used))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() and text.isprintable() else _CONTROLS.sub("", text)


def _read_html(leaf: Leaf, notes: list[str], rendered: dict[int, str]) -> str:
    """Return the text of one page with its quote marks. Each page is rendered once."""
    if id(leaf) not in rendered:
        page = _decode(leaf, notes)
        marked = insert_quote_marks(page)
        text, note = html_to_text(marked)
        if marked is not page and not extract_quote_marks(text)[0].strip():
            # The page lost its text and only the marks are left: render it without marks.
            text, note = html_to_text(page)
        rendered[id(leaf)] = text
        if note is not None:
            notes.append(note)
    return rendered[id(leaf)]


def _read_plain(leaf: Leaf, notes: list[str]) -> str:
    text = _decode(leaf, notes)
    if ">From " in text:
        text = _unescape_from(text, notes)
    if "-----BEGIN PGP " in text:
        notes += [note for words, note in _PGP_ARMOURS.items() if words in text]
    if leaf.params.get("format", "").lower() == "flowed":
        return unwrap_flowed(text, del_space=leaf.params.get("delsp", "").lower() == "yes")
    return text


def _unescape_from(text: str, notes: list[str]) -> str:
    """Undo the escape of mbox files (``>From `` for a line that began with ``From ``).

    Beside quoted lines it may be a quote and stays.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        neighbours = lines[max(number - 1, 0) : number] + lines[number + 1 : number + 2]
        if line.startswith(">From ") and not any(other.startswith(">") for other in neighbours):
            lines[number] = line[1:]
            notes.append("mbox_escape")
    return "\n".join(lines)


def unwrap_flowed(text: str, *, del_space: bool) -> str:
    """Join the soft-broken lines of format=flowed text (RFC 3676 §4). Quote levels stay apart."""
    out: list[list[str]] = []
    level_before, open_line = 0, False
    for line in text.split("\n"):
        content = line.lstrip(">")
        level = len(line) - len(content)
        # Undo space-stuffing (RFC 3676 §4.4).
        content = content.removeprefix(" ")
        is_signature = content == "-- "
        if open_line and level == level_before and not is_signature:
            out[-1].append(content)
        else:
            out.append([">" * level + (" " if level else ""), content])
        open_line = content.endswith(" ") and not is_signature
        level_before = level
    return "\n".join(_join_flowed(pieces, del_space) for pieces in out)


def _join_flowed(pieces: list[str], del_space: bool) -> str:
    *soft, last = pieces[1:]
    if del_space:
        soft = [piece[:-1] for piece in soft]
    return pieces[0] + "".join(soft) + last
