"""Split a mail body into the new text, the quote and the signature (docs/decisions/reply-text.md).

The split works by lines, in linear time, and loses no word. Everything here is pure. The reply is the text above a quote;
when a quote with signs has nothing above it, the text below. Between quotes, and whenever it is not certain, the whole body
is the reply. A forwarded message is not a quote. Together and in order the three parts hold every word of the body, and
splitting a reply again returns the reply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ingest.parsers.reply.html_quotes import NO_QUOTE_MARKS, QuoteMarks
from ingest.parsers.reply.lines import (
    MAX_FOLDED_LINES,
    ends_like_attribution,
    find_attribution,
    find_quote_start,
    is_dashed_attribution,
    is_forward_line,
    is_forward_subject,
    is_header_block,
    is_original_line,
    is_quoted,
    is_reply_separator,
    is_rule,
    read_label,
)
from ingest.parsers.reply.signature import find_signature

MAX_ROUNDS = 3
MAX_BLANK_LINES = 2
#: Quoted lines in which the reply separator is looked for: it is the first line of our mails.
MAX_LINES_TO_SEPARATOR = 4
_RULE_DISTANCE = 4
_BEFORE_SIGN = "> \t\ufeff\u200e\u200f\u202a\u202b\u2067\u2068"
_DASHES = ("--", "__", "==", "**", "##", "~~", "\u2014", "\u2013", "\uff0d")


class ReplyParts(NamedTuple):
    """The three parts with their lines as written, without surrounding blank lines; "" for an absent part."""

    reply: str
    quoted: str
    signature: str


class _Quote(NamedTuple):
    """A quote from line ``first`` on.

    ``to_end``: it extends to the end; otherwise its lines carry signs from line ``signs`` on.
    """

    first: int
    signs: int
    to_end: bool


def split_reply(body: str, *, subject: str = "", marks: QuoteMarks = NO_QUOTE_MARKS) -> ReplyParts:
    """Split a body. Never raises.

    ``subject`` distinguishes forwards from replies. ``marks`` holds what the HTML says about the lines.
    """
    found = _split_once(body, subject, marks)
    for _ in range(MAX_ROUNDS):
        if found.reply == body or not found.reply:
            return found
        again = _split_once(found.reply, subject, NO_QUOTE_MARKS)
        if again.reply == found.reply:
            return found
        found = ReplyParts(
            again.reply, _join_parts([again.quoted, found.quoted]), _join_parts([again.signature, found.signature])
        )
    return ReplyParts(body, "", "")


def _split_once(body: str, subject: str, marks: QuoteMarks) -> ReplyParts:
    lines = body.split("\n")
    quote = _find_quote(lines, 0, subject, marks)
    if quote is None:
        return _compose(body, lines, (0, len(lines)), [], marks)
    if quote.to_end:
        if not _has_text(lines, 0, quote.first):
            return ReplyParts(body, "", "")
        return _compose(body, lines, (0, quote.first), [(quote.first, len(lines))], marks)
    return _split_by_signs(body, lines, quote, subject, marks)


def _compose(
    body: str,
    lines: Sequence[str],
    reply: tuple[int, int],
    quoted: Sequence[tuple[int, int]],
    marks: QuoteMarks,
    below: tuple[int, int] = (0, 0),
) -> ReplyParts:
    """Return the parts as texts.

    The signature is cut from the reply; ``below`` is a signature that stands below the quote.
    """
    start, end = reply
    signature = find_signature(lines, start, end, marks.signature)
    if signature == end and not quoted and below[0] == below[1]:
        return ReplyParts(body, "", "")
    return ReplyParts(
        _join_lines(lines, start, signature),
        _join_parts(_join_lines(lines, first, last) for first, last in quoted),
        _join_parts([_join_lines(lines, signature, end), _join_lines(lines, *below)]),
    )


def _join_lines(lines: Sequence[str], first: int, last: int) -> str:
    return "\n".join(lines[first:last]).strip()


def _join_parts(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part)


def _has_text(lines: Sequence[str], first: int, last: int) -> bool:
    return any(line.strip() for line in lines[first:last])


def _find_quote(lines: Sequence[str], start: int, subject: str, marks: QuoteMarks) -> _Quote | None:
    """Return the first quote at or below ``start``, or None. A forwarded message that comes first also gives None."""
    for number in range(start, len(lines)):
        line = lines[number]
        if not line:
            if number == marks.rest_start:
                return _Quote(number, number, True)
            continue
        quote = _detect_quote(lines, start, number, subject, marks)
        if quote is not None:
            return quote if quote.first >= 0 else None
    return None


#: A forwarded message begins here: no line after it is a quote.
_FORWARD = _Quote(-1, -1, True)


def _detect_quote(lines: Sequence[str], start: int, number: int, subject: str, marks: QuoteMarks) -> _Quote | None:
    """Return the quote that begins at a line that is not empty. Cheap for a line without any sign of a quote."""
    line = lines[number]
    if number in marks.quoted:
        return _FORWARD if is_forward_line(line) else _quote_with_signs(lines, start, number, marks)
    if line[0] in _BEFORE_SIGN and is_quoted(line):
        return _quote_with_signs(lines, start, number, marks)
    if number == marks.rest_start:
        return _quote_to_end(lines, start, number, subject)
    if ":" in line or "\uff1a" in line:
        return _detect_quote_at_colon(lines, start, number, subject, marks)
    if line.lstrip().startswith(_DASHES):
        return _detect_quote_at_dashes(lines, start, number, subject)
    return None


def _detect_quote_at_colon(lines: Sequence[str], start: int, number: int, subject: str, marks: QuoteMarks) -> _Quote | None:
    line = lines[number]
    if read_label(line) is not None and is_header_block(lines, number):
        return _quote_to_end(lines, start, number, subject)
    if not ends_like_attribution(line):
        return _detect_quote_at_dashes(lines, start, number, subject) if line.lstrip().startswith(_DASHES) else None
    if is_forward_line(line):
        return _FORWARD
    first = find_attribution(lines, number, strict=True)
    if first is None or _has_quote_sign(lines, _next_text_line(lines, number + 1), marks):
        return None
    return _Quote(max(first, start), number, True)


def _detect_quote_at_dashes(lines: Sequence[str], start: int, number: int, subject: str) -> _Quote | None:
    line = lines[number]
    if is_reply_separator(line):
        return _Quote(find_quote_start(lines, start, number), number, True)
    if is_original_line(line) or is_dashed_attribution(line):
        return _quote_to_end(lines, start, number, subject)
    return _FORWARD if is_forward_line(line) else None


def _quote_to_end(lines: Sequence[str], start: int, number: int, subject: str) -> _Quote:
    """Return a quote without signs, with the rule above it.

    In a forwarded mail it is the forwarded text.
    """
    if is_forward_subject(subject, lines[number]):
        return _FORWARD
    first = number
    for above in range(number - 1, max(number - _RULE_DISTANCE, start) - 1, -1):
        if is_rule(lines[above]):
            first = above
        elif lines[above].strip():
            break
    return _Quote(first, number, True)


def _quote_with_signs(lines: Sequence[str], start: int, number: int, marks: QuoteMarks) -> _Quote | None:
    """Return a quote whose lines carry signs, with its attribution.

    A single line among others may begin with ``>`` for another reason.
    """
    above = number - 1
    while above >= start and above >= number - MAX_BLANK_LINES and not lines[above].strip():
        above -= 1
    first = find_attribution(lines, above, strict=False) if above >= start and lines[above].strip() else None
    if first is not None:
        return _Quote(max(first, start), number, False)
    if any(is_reply_separator(line) for line in lines[number : number + MAX_LINES_TO_SEPARATOR]):
        return _Quote(find_quote_start(lines, start, number), number, False)
    stands_apart = (number == start or not lines[number - 1].strip()) and not "".join(lines[number + 1 : number + 2]).strip()
    if stands_apart or number in marks.quoted or _has_quote_sign(lines, number + 1, marks):
        return _Quote(number, number, False)
    return None


def _has_quote_sign(lines: Sequence[str], number: int, marks: QuoteMarks) -> bool:
    return number < len(lines) and (number in marks.quoted or is_quoted(lines[number]))


def _next_text_line(lines: Sequence[str], number: int) -> int:
    """Return the first line that is not blank, at most MAX_BLANK_LINES further on."""
    last = min(number + MAX_BLANK_LINES, len(lines) - 1)
    while number < last and not lines[number].strip():
        number += 1
    return number


def _split_by_signs(body: str, lines: Sequence[str], quote: _Quote, subject: str, marks: QuoteMarks) -> ReplyParts:
    """Split at a quote with signs. The reply stands above it, below it, or in between."""
    last, stop, is_mixed = _scan_signs(lines, quote, subject, marks)
    rest = [(stop, len(lines))] if stop < len(lines) else []
    text = next((number for number in range(last + 1, stop) if lines[number].strip()), stop)
    is_answered_above = _has_text(lines, 0, quote.first)
    if text == stop and not is_mixed:
        return _compose(body, lines, (0, quote.first), [(quote.first, len(lines))], marks)
    if is_answered_above and not is_mixed and find_signature(lines, text, stop, marks.signature) == text:
        return _compose(body, lines, (0, quote.first), [(quote.first, text), *rest], marks, below=(text, stop))
    if not is_answered_above and not is_mixed:
        return _compose(body, lines, (text, stop), [(quote.first, text), *rest], marks)
    if not rest:
        return ReplyParts(body, "", "")
    return ReplyParts(_join_lines(lines, 0, stop), _join_lines(lines, stop, len(lines)), "")


def _scan_signs(lines: Sequence[str], quote: _Quote, subject: str, marks: QuoteMarks) -> tuple[int, int, bool]:
    """Scan the lines of a quote with signs.

    Return the last line with a sign, the start of a quote without signs below it (or the end), and whether text stands in
    between.
    """
    last, run, is_mixed = quote.signs, -1, False
    for number in range(quote.signs + 1, len(lines)):
        if _has_quote_sign(lines, number, marks):
            is_mixed = is_mixed or (run >= 0 and not _is_attribution_of(lines, run, number))
            last, run = number, -1
        elif lines[number].strip():
            run = number if run < 0 else run
            found = _detect_quote(lines, run, number, subject, marks)
            if found == _FORWARD:
                break
            if found is not None:
                return last, found.first, is_mixed
    return last, len(lines), is_mixed


def _is_attribution_of(lines: Sequence[str], first: int, signs: int) -> bool:
    """Whether the lines from ``first`` up to a quote are exactly its attribution."""
    last = signs - 1
    while not lines[last].strip():
        last -= 1
    return last - first < MAX_FOLDED_LINES and find_attribution(lines, last, strict=False) in range(first + 1)
