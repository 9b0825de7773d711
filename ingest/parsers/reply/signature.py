"""Find where the signature of a text begins: delimiter, line added by a telephone, closing above a name, disclaimer. Pure.

Only the last lines are read. A closing counts only when it is certain: short lines to the end, a name below it, no sentence
and no question below it, and a text above it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ingest.parsers.reply.lines import fold, is_rule
from ingest.parsers.reply.phrases import CONFIDENTIAL, DISCLAIMER, RECIPIENT, REGARDS, SENT_FROM, THANKS_CLOSINGS

#: Lines from the end that are read.
MAX_SCANNED_LINES = 40
MAX_ROUNDS = 6
_MAX_LINES_BELOW_DELIMITER, _MAX_LINES_BELOW_DASHES, _MAX_LINES_BELOW_CLOSING = 25, 10, 10
_MAX_LINE_LENGTH, _MAX_CLOSING_LENGTH, _MAX_NAME_LENGTH, _MAX_SENT_FROM_LENGTH, _MAX_NAME_WORDS = 80, 60, 40, 160, 5
_ENDS = " \t,.!-\u2013\u2014:;\uff0c\u3001\u3002\uff01*_"
_SENTENCE_ENDS = frozenset(".!?;\u2026\u3002\uff01\uff1f")
_CLOSERS = " \t)]\"'*_\u201d\u00bb\u300d"
_ABBREVIATION = re.compile(
    r"\b(?:inc|ltd|llc|co|corp|m\.?d|d\.?o|ph\.?d|jr|sr|dr|esq|s\.?a|s\.?l|b\.?v|n\.?v|a\.?s|e\.?v|r\.?o|p\.?a|p\.?c)\.\Z"
)
_LINK = re.compile(r"<[^<>]{1,300}>|https?://\S{1,300}")
_POSTSCRIPT = re.compile(r"p\.?\s?s\.?\b|n\.?b\.?\b")
_MIN_CONTENT_LENGTH, _MAX_INLINE_NAME_WORDS, _DISCLAIMER_START_LENGTH = 20, 3, 60


def find_signature(lines: Sequence[str], start: int, end: int, marked: Collection[int] = ()) -> int:
    """Return the first line of the signature at the end of ``lines[start:end]``, or ``end`` when there is none. Never raises.

    ``marked`` holds the lines that the HTML declares as a signature.
    """
    for _ in range(MAX_ROUNDS):
        last = end
        while last > start and not lines[last - 1].strip():
            last -= 1
        if last == start:
            break
        found = _find_last_signature(lines, start, last, marked)
        if found is None:
            break
        while found > start and (is_rule(lines[found - 1]) or lines[found - 1].rstrip() == "--"):
            found -= 1
        end = found
    return end


def _find_last_signature(lines: Sequence[str], start: int, last: int, marked: Collection[int]) -> int | None:
    if last - 1 in marked:
        return _find_marked(lines, start, last, marked)
    for rule in (_find_delimiter, _find_sent_from, _find_disclaimer, _find_closing):
        found = rule(lines, start, last)
        if found is not None:
            return found
    return None


def _find_marked(lines: Sequence[str], start: int, last: int, marked: Collection[int]) -> int:
    first = last - 1
    while first > start and (first - 1 in marked or not lines[first - 1].strip()):
        first -= 1
    return next(number for number in range(first, last) if number in marked)


def _find_delimiter(lines: Sequence[str], start: int, last: int) -> int | None:
    """Find ``-- `` (RFC 3676 §4.3).

    A delimiter without its space counts only when it is the only one and few lines follow.
    """
    found = None
    below = 0
    for number in range(last - 1, max(start, last - MAX_SCANNED_LINES) - 1, -1):
        line = lines[number]
        if not line.startswith("--") or line.rstrip() != "--":
            below += bool(line)
        elif line == "-- " and below <= _MAX_LINES_BELOW_DELIMITER and number < last - 1:
            return number
        elif found is not None or below > _MAX_LINES_BELOW_DASHES or number == last - 1:
            return None
        else:
            found = number
    return found


def _find_sent_from(lines: Sequence[str], start: int, last: int) -> int | None:
    line = lines[last - 1]
    if len(line) > _MAX_SENT_FROM_LENGTH:
        return None
    text = _LINK.sub("", fold(line)).strip(" \t_*-")
    return last - 1 if len(text) <= _MAX_LINE_LENGTH and SENT_FROM.match(text) else None


def _find_disclaimer(lines: Sequence[str], start: int, last: int) -> int | None:
    """Find a paragraph that begins like a disclaimer and mentions confidentiality and the recipient.

    Everything below it belongs to it.
    """
    for number in range(max(start + 1, last - MAX_SCANNED_LINES), last):
        above = lines[number - 1]
        if lines[number] and (not above or above.isspace() or is_rule(above)):
            if not DISCLAIMER.match(fold(lines[number][:_DISCLAIMER_START_LENGTH])) or not _has_text(lines, start, number):
                continue
            below = "\n".join(lines[number:last])
            if _has_any(below, CONFIDENTIAL) and _has_any(below, RECIPIENT):
                return number
    return None


def _has_any(text: str, stems: Collection[str]) -> bool:
    folded = text.lower()
    return any(stem in folded for stem in stems)


def _ends_sentence(text: str) -> bool:
    return not text[-1].isalnum() and text.rstrip(_CLOSERS)[-1:] in _SENTENCE_ENDS


def _find_closing(lines: Sequence[str], start: int, last: int) -> int | None:
    """Find the topmost closing that has only short lines below it, the first of them a name."""
    found = None
    below = ""
    count = 0
    for number in range(last - 1, max(start, last - MAX_SCANNED_LINES) - 1, -1):
        line = lines[number].strip()
        if not line:
            continue
        if len(line) > _MAX_LINE_LENGTH or count > _MAX_LINES_BELOW_CLOSING:
            break
        text = fold(line).strip()
        if not text:
            continue
        if len(text) <= _MAX_CLOSING_LENGTH and _is_closing(lines, start, number, text, below):
            found = number
        elif (_ends_sentence(text) and not _ABBREVIATION.search(text)) or _POSTSCRIPT.match(text):
            break
        below = text
        count += 1
    return found


def _is_closing(lines: Sequence[str], start: int, number: int, text: str, below: str) -> bool:
    key = text.strip(_ENDS)
    if key in REGARDS:
        return bool(below) and _is_name(below) and _has_text(lines, start, number)
    if key in THANKS_CLOSINGS:
        return bool(below) and _is_name(below) and _has_content(lines, start, number)
    if below or "," not in text:
        return False
    closing, _, name = text.partition(",")
    is_one_line = closing in REGARDS and 0 < len(name.split()) <= _MAX_INLINE_NAME_WORDS
    return is_one_line and _is_name(name) and _has_text(lines, start, number)


def _is_name(text: str) -> bool:
    """Whether a line can be a name (or another closing): few words, no digit, no address."""
    text = text.strip()
    if len(text) > _MAX_NAME_LENGTH or "@" in text or "?" in text or any(character.isdigit() for character in text):
        return False
    return len(text.split()) <= _MAX_NAME_WORDS


def _has_text(lines: Sequence[str], start: int, end: int) -> bool:
    return any(line.strip() for line in lines[max(start, end - MAX_SCANNED_LINES) : end])


def _has_content(lines: Sequence[str], start: int, end: int) -> bool:
    """Whether the text above is more than a greeting."""
    above = (line.strip() for line in lines[max(start, end - MAX_SCANNED_LINES) : end])
    return any(len(line) >= _MIN_CONTENT_LENGTH or _ends_sentence(line) for line in above if line)
