"""Carry what the HTML of a mail program says about quotes and signatures over into its text, as marks. Pure and linear.

A mark is a noncharacter (Unicode §23.7), which no text contains. Marks are inserted at the start and end of an element before
the page is rendered, and removed from the text line by line. A wrong mark hides a line behind a click; it never loses one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ingest.parsers.reply.lines import MAX_FOLDED_LINES, find_attribution

#: Characters of HTML that are scanned.
MAX_MARKED_LENGTH = 512_000
_ELEMENT_HINTS = (
    "blockquote", "_quote", "yahoo_quoted", "divRplyFwdMsg", "appendonsend", "OLK_SRC_BODY", "ignature", "moz-cite", "zwchr",
    'name="quote"',
)  # fmt: skip
#: Strings in the bytes of a page that only a quote has.
_QUOTE_HINTS = (
    b"gmail_quote", b'type="cite"', b"divRplyFwdMsg", b"appendonsend", b"yahoo_quoted", b"OLK_SRC_BODY", b"protonmail_quote",
)  # fmt: skip
_QUOTE, _BLOCKQUOTE, _ATTRIBUTION, _QUOTE_END, _SIGNATURE, _SIGNATURE_END, _REST_START = map(chr, range(0xFDD0, 0xFDD7))
_MARK = re.compile("([\ufdd0-\ufdd6])")
_TAG = re.compile(r"<(/?)(blockquote|div|span|pre|table|td|p|hr)\b([^<>]{0,600})>", re.I)
_IS_CITE = re.compile(r"type=[\"']?cite|gmail_quote|protonmail_quote|isReplyContent|zmail_extra", re.I)
_IS_ATTRIBUTION = re.compile(r"class=[\"']?[^\"'>]*(?:gmail_quote|gmail_attr|moz-cite-prefix|protonmail_quote|zmail_extra)", re.I)
_IS_REST = re.compile(
    r"(?:id|class)=[\"']?(?:x_)*(?:divRplyFwdMsg|appendonsend|OLK_SRC_BODY_SECTION|yahoo_quoted|zwchr)|name=\"quote\"", re.I
)
_IS_SIGNATURE = re.compile(
    r"(?:class|id)=[\"']?[^\"'>]*(?:gmail_signature\b|moz-signature|AppleMailSignature|ms-outlook-mobile-signature"
    r"|protonmail_signature_block\b|(?<=[\"'=])Signature(?=[\"'\s]))",
    re.I,
)


class QuoteMarks(NamedTuple):
    """What the HTML says about the lines of a text, as line numbers.

    ``quoted`` are the lines in a quote, ``signature`` those of a signature. ``rest_start`` is the first line of a quote that
    extends to the end, or -1.
    """

    quoted: frozenset[int] = frozenset()
    signature: frozenset[int] = frozenset()
    rest_start: int = -1


NO_QUOTE_MARKS = QuoteMarks()


def has_quote_element(page: bytes) -> bool:
    """Whether a page has an element in which mail programs put quotes."""
    return any(hint in page for hint in _QUOTE_HINTS)


def insert_quote_marks(html: str) -> str:
    """Return the page with marks, or the page itself when it has no such element. Never raises."""
    if len(html) > MAX_MARKED_LENGTH or not any(hint in html for hint in _ELEMENT_HINTS) or _MARK.search(html):
        return html
    return _MarkWriter(html).mark()


class _MarkWriter:
    """One pass over the tags. Of nested quotes only the outermost is marked. A signature includes everything in it."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.quotes = 0
        self.signature: tuple[str, int] | None = None

    def mark(self) -> str:
        out: list[str] = []
        position = 0
        for match in _TAG.finditer(self.html):
            mark = self._close(match[2].lower()) if match[1] else self._open(match[2].lower(), match[3])
            if mark:
                at = match.start() if match[1] else match.end()
                out += [self.html[position:at], mark]
                position = at
        return "".join([*out, self.html[position:]])

    def _open(self, name: str, attributes: str) -> str:
        if self.signature is not None:
            if name == self.signature[0]:
                self.signature = (name, self.signature[1] + 1)
            return ""
        if name == "blockquote":
            self.quotes += 1
            return "" if self.quotes > 1 else _QUOTE if _IS_CITE.search(attributes) else _BLOCKQUOTE
        if self.quotes or not attributes:
            return ""
        if _IS_REST.search(attributes):
            return _REST_START
        if _IS_SIGNATURE.search(attributes):
            self.signature = (name, 1)
            return _SIGNATURE
        return _ATTRIBUTION if _IS_ATTRIBUTION.search(attributes) else ""

    def _close(self, name: str) -> str:
        if self.signature is not None:
            if name != self.signature[0]:
                return ""
            depth = self.signature[1] - 1
            self.signature = (name, depth) if depth else None
            return "" if depth else _SIGNATURE_END
        if name != "blockquote" or not self.quotes:
            return ""
        self.quotes -= 1
        return "" if self.quotes else _QUOTE_END


def extract_quote_marks(text: str) -> tuple[str, QuoteMarks]:
    """Return the text without marks, and the lines that they describe. Never raises."""
    if not _MARK.search(text):
        return text, NO_QUOTE_MARKS
    reader = _MarkReader()
    for line in text.split("\n"):
        reader.read(line)
    lines = reader.lines
    quoted = {number for first, last in reader.find_quotes() for number in range(first, last)}
    return "\n".join(lines), QuoteMarks(frozenset(quoted), frozenset(reader.signature), reader.rest_start)


class _MarkReader:
    """Collects the lines and the marks between them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.signature: set[int] = set()
        self.rest_start = -1
        self._in_signature = False
        self._attribution = -1
        # First line, end, and whether the quote is certain.
        self._quotes: list[tuple[int, int, bool]] = []
        self._open: tuple[int, bool] | None = None

    def read(self, line: str) -> None:
        """Read one line. A line that holds only marks does not count."""
        pieces = _MARK.split(line)
        if len(pieces) > 1 and not "".join(pieces[::2]).strip():
            for mark in pieces[1::2]:
                self._apply_mark(mark, len(self.lines))
            return
        seen = False
        number = len(self.lines)
        for place, piece in enumerate(pieces):
            if place % 2:
                # An element that starts after text starts on the next line. An element that ends after text ends with this line.
                self._apply_mark(piece, number + seen)
            elif piece.strip():
                seen = True
                if self._in_signature:
                    self.signature.add(number)
        self.lines.append("".join(pieces[::2]).rstrip() if len(pieces) > 1 else line)

    def _apply_mark(self, mark: str, number: int) -> None:
        if mark in (_QUOTE, _BLOCKQUOTE):
            self._open = (number, mark == _QUOTE)
        elif mark == _QUOTE_END and self._open is not None:
            self._quotes.append((self._find_quote_start(self._open[0]), number, self._open[1]))
            self._open = None
        elif mark == _ATTRIBUTION:
            self._attribution = number
        elif mark == _REST_START:
            self.rest_start = number if self.rest_start < 0 else self.rest_start
        else:
            self._in_signature = mark == _SIGNATURE

    def _find_quote_start(self, first: int) -> int:
        """Return the first line of a quote: the attribution that was marked shortly above it, if any."""
        attribution, self._attribution = self._attribution, -1
        between = [line for line in self.lines[attribution:first] if line.strip()] if 0 <= attribution <= first else []
        return attribution if 0 < len(between) <= MAX_FOLDED_LINES else first

    def find_quotes(self) -> list[tuple[int, int]]:
        """Return the quotes. A plain blockquote is a quote when an attribution stands above it or at its start."""
        if self._open is not None:
            self._quotes.append((self._find_quote_start(self._open[0]), len(self.lines), self._open[1]))
        return [(first, end) for first, end, is_certain in self._quotes if is_certain or _is_attributed(self.lines, first, end)]


def _is_attributed(lines: Sequence[str], first: int, end: int) -> bool:
    above = first - 1
    while above >= max(first - MAX_FOLDED_LINES, 0) and not lines[above].strip():
        above -= 1
    candidates = [above, *range(first, min(first + MAX_FOLDED_LINES, end))]
    # "They wrote this to us:" above a blockquote that the author made is a sentence of the author.
    return any(
        lines[number].strip() and find_attribution(lines, number, strict=False, allow_verb_alone=False) is not None
        for number in candidates
        if number >= 0
    )
