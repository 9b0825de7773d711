"""Classify the lines of a mail: attribution, start of a header block, of an original or of a forwarded message. Pure.

Every function reads at most MAX_LINE_LENGTH characters of a line, which bounds the cost of a line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.reply_separator import SEPARATORS
from ingest.parsers.forward.forward_phrases import read_subject_prefix
from ingest.parsers.mail.header_labels import FORWARD_PHRASES, ORIGINAL_PHRASES, make_reply_labels
from ingest.parsers.reply.phrases import ATTRIBUTION_START, ATTRIBUTION_VERB, FINNISH_SENDER

#: Characters of a line that are read.
MAX_LINE_LENGTH = 1_000
#: Lines over which an attribution may be folded.
MAX_FOLDED_LINES = 4
MAX_HEADER_LINES = 25
_MAX_LABEL_LENGTH, _MAX_FOLDED_LENGTH = 30, 100
_SENTENCE_ENDS = ".!?\u3002"

#: Zero-width characters, direction marks, byte order marks: they hide the start or the end of a line.
_INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF, 0xAD, 0x307])
_FOLD_TABLE: dict[int, str | None] = {
    **_INVISIBLE, 0xA0: " ", 0x202F: " ", 0x2009: " ", 0x2019: "'", 0x2018: "'", 0x3000: " ", 0xFF0D: "-",
}  # fmt: skip
_DECORATION = " \t*_\"'|"
_RULE = re.compile(r"[-_=*\u2013\u2014\u2500\s]{5,}\Z")
_BETWEEN_DASHES = re.compile(r"[-_=*#>~\u2013\u2014\s]{2,}([^-_=*#].*?)[-_=*#<~\u2013\u2014\s:]{2,}\Z")
_ENDS_IN_COLON = re.compile(r"[:\uff1a][\s*_\"'\u201d\u00bb]*\Z")
_ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:]@[^\s<>()\[\]\"',;:]")
_TIME = re.compile(r"\d{1,2}[:.h]\d{2}(?!\d)")
_DAY = re.compile(r"(?<!\d)(?:(?:19|20)\d{2}(?!\d)|\d{1,2}[./-]\s?\d{1,2}[./-]\s?\d{2})")
#: A line that can be a header in any language: up to three short words and a colon.
_HEADER = re.compile(r"[ *]{0,3}[^\s:：>][^:：>]{0,28}[:：]")
_MIN_HEADERS = 3
#: Filler after the hidden first words of our mails: inboxes show nothing else beside them (``_base/body.html``).
_PREHEADER_FILLER = "\u034f"
_HAS_DIGIT = re.compile(r"\d")


def fold(line: str) -> str:
    """Return a line as the tables have it: lower case, plain spaces and apostrophes, no invisible characters."""
    line = line[:MAX_LINE_LENGTH]
    return line.lower() if line.isascii() else line.translate(_FOLD_TABLE).casefold().translate(_INVISIBLE)


_LABELS = make_reply_labels(fold)
_SEPARATOR = re.compile("|".join(re.escape(fold(separator)) for separator in SEPARATORS.values()))
_MIN_SEPARATOR_LENGTH = min(map(len, SEPARATORS.values()))


def is_quoted(line: str) -> bool:
    """Whether a line begins with a quote sign."""
    return line[:20].lstrip(" \t\ufeff\u200e\u200f\u202a\u202b\u2067\u2068").startswith(">")


def is_rule(line: str) -> bool:
    """Whether a line consists of dashes, underscores or similar characters."""
    return len(line) < 200 and bool(line.strip()) and _RULE.match(line) is not None


def read_label(line: str) -> str | None:
    """Return the field of a header line (``from``, ``date``, ``to``, ``cc``, ``bcc``, ``subject``), or None."""
    head = line[:_MAX_LABEL_LENGTH].translate({0xFF1A: ":"}).partition(":")
    return _LABELS.get(fold(head[0]).strip(_DECORATION)) if head[1] else None


def is_header_block(lines: Sequence[str], start: int) -> bool:
    """Whether a block of headers as Outlook writes it above an original message begins at ``start``.

    It needs a sender, a subject, and a date or a recipient. Values may continue on the next lines, and HTML leaves a blank
    line between headers.
    """
    found: set[str] = set()
    folded = blanks = 0
    for line in lines[start : start + MAX_HEADER_LINES]:
        if not line.strip():
            blanks += 1
            if blanks > 1:
                break
            continue
        label = read_label(line)
        if label is not None and label not in found:
            found.add(label)
            folded = 0
        elif label is not None or blanks or folded >= MAX_FOLDED_LINES:
            break
        else:
            folded += 1
        blanks = 0
    return {"from", "subject"} <= found and bool(found & {"date", "to"})


def is_original_line(line: str) -> bool:
    """Whether a line reads like ``-----Original Message-----``."""
    match = _BETWEEN_DASHES.match(line) if len(line) < 200 else None
    return match is not None and fold(match[1]).strip(_DECORATION) in ORIGINAL_PHRASES


def is_dashed_attribution(line: str) -> bool:
    """Whether a line is an attribution between dashes: ``---- On … Ana <a@b.example> wrote ---`` (Zoho)."""
    match = _BETWEEN_DASHES.match(line) if len(line) < MAX_LINE_LENGTH else None
    return match is not None and _is_attribution(fold(match[1]), strict=True)


def is_forward_line(line: str) -> bool:
    """Whether a line is a forward banner: ``---------- Forwarded message ---------``, ``Begin forwarded message:``."""
    if len(line) > 200:
        return False
    return fold(line).strip(" \t-_=*>#:\uff1a\u2013\u2014.") in FORWARD_PHRASES


def is_reply_separator(line: str) -> bool:
    """Whether this is the line above which a notice asks people to write (:mod:`core.reply_separator`)."""
    return _MIN_SEPARATOR_LENGTH <= len(line) < 200 and _SEPARATOR.search(fold(line)) is not None


def find_quote_start(lines: Sequence[str], start: int, separator: int) -> int:
    """Return the first line of the quote that holds our reply separator.

    It is the separator itself, or what a mail program wrote above it in any language: an attribution, or at least three
    headers with an address among them. The hidden first words of our mail may stand in between. ``start`` is the first line
    that can belong to the quote.
    """
    above = separator
    for number in range(separator - 1, max(separator - MAX_FOLDED_LINES, start) - 1, -1):
        if lines[number].strip() and _PREHEADER_FILLER not in lines[number]:
            above = number
            break
    if above == separator:
        return separator
    attribution = find_attribution(lines, above, strict=False)
    if attribution is not None:
        return max(attribution, start)
    first = above
    while first > start and above - first < MAX_HEADER_LINES and _HEADER.match(lines[first - 1]):
        first -= 1
    block = lines[first : above + 1]
    has_address = any(_ADDRESS.search(line[:MAX_LINE_LENGTH]) for line in block)
    if len(block) < _MIN_HEADERS or not _HEADER.match(lines[above]) or not has_address:
        return separator
    return first - 1 if first > start and is_rule(lines[first - 1]) else first


def is_forward_subject(subject: str, sender_label: str = "") -> bool:
    """Whether the outermost prefix of a subject says "forwarded". ``VS`` does so unless the mail is Finnish."""
    prefix = read_subject_prefix(subject)
    return prefix == "forward" or (prefix == "either" and not fold(sender_label).startswith(FINNISH_SENDER))


def ends_like_attribution(line: str) -> bool:
    """Whether a line ends in a colon. A cheap test before :func:`find_attribution`."""
    return _ENDS_IN_COLON.search(fold(line[-40:]) if not line.isascii() else line[-40:]) is not None


def find_attribution(lines: Sequence[str], last: int, *, strict: bool, allow_verb_alone: bool = True) -> int | None:
    """Return the first line of the attribution ("On … wrote:") that ends at line ``last``, or None.

    ``strict``: no mark or sign shows that a quote follows, so the attribution must have verb, time and address. Otherwise two
    of verb, address and date suffice, or the verb alone when ``allow_verb_alone`` is True.
    """
    if len(lines[last]) > MAX_LINE_LENGTH or not ends_like_attribution(lines[last]):
        return None
    text = ""
    for first in range(last, max(last - MAX_FOLDED_LINES, -1), -1):
        line = lines[first]
        if not line.strip() or is_quoted(line) or len(line) + len(text) > MAX_LINE_LENGTH:
            break
        text = f"{fold(line).strip()} {text}"
        if _is_attribution(text, strict):
            return _extend_upward(lines, first, last, text)
    return last if allow_verb_alone and not strict and ATTRIBUTION_VERB.search(fold(lines[last])) else None


def _is_attribution(text: str, strict: bool) -> bool:
    wrote, address = ATTRIBUTION_VERB.search(text) is not None, _ADDRESS.search(text) is not None
    if strict:
        return wrote and address and _TIME.search(text) is not None
    dated = _DAY.search(text) is not None or _TIME.search(text) is not None
    return wrote + address + dated >= 2


def _extend_upward(lines: Sequence[str], first: int, last: int, text: str) -> int:
    """Return the line above that holds the start which the text lacks: its opening word or its day."""
    if ATTRIBUTION_START.match(text):
        return first
    is_dated, dated = _DAY.search(text) is not None, first
    for above in range(first - 1, max(last - MAX_FOLDED_LINES, -1), -1):
        line = fold(lines[above]).strip()
        if not line or len(line) > _MAX_FOLDED_LENGTH or line[-1] in _SENTENCE_ENDS or is_quoted(line):
            break
        if ATTRIBUTION_START.match(line) and (not is_dated or _HAS_DIGIT.search(line)):
            return above
        if above == first - 1 and not is_dated and _DAY.search(line):
            dated = above
    return dated
