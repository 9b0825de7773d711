"""Recognise a reply that only says thanks; such a reply needs no answer and does not reopen a ticket (mail-rules.md).

The text is consumed from its start by the phrases of :mod:`ingest.parsers.reply.thanks_phrases`. A name may follow thanks, a
greeting, a title or a closing. Any remaining text, a question mark, a digit, an address or a link means that the reply says more.
Every function is pure and never raises.
"""

from __future__ import annotations

import re
import unicodedata

from core.reasons import Reason
from ingest.parsers.reply.phrases import REGARDS
from ingest.parsers.reply.thanks_phrases import ASIDES, GREETINGS, NAME_ENDINGS, NON_NAME_WORDS, THANKS, TITLES

#: Characters of a reply. A longer reply says more than thanks.
MAX_REPLY_LENGTH = 400
_MAX_NAME_WORDS, _MAX_STRANGER_NAME_WORDS = 4, 2
_HAS_CONTENT = re.compile(r"[?\uff1f\u061f\u00bf\d@]|://|www\.")
_EMOTICON = re.compile(r"[:;=][-']?[)DdPp*]+|<3|\^_?\^|\(:|:-?\)")
_BREAKS = re.compile(r"[\s,.!\u00a1;:\u2026\u2013\u2014\uff0c\u3002\uff01\u3001\u00b7*_()\"'&+~\uff5e-]+")
_WORD = re.compile(r"\S+")
_SPACED = r"(?!\w)"
_UNSPACED = frozenset({"Chinese", "Japanese", "Korean"})
_LANGUAGES = list(THANKS)


def _join_patterns(patterns: tuple[str, ...]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)


_CJK_END = r"(?:(?<=[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af])|(?!\w))"
_CLOSINGS = "|".join(map(re.escape, sorted(REGARDS, key=len, reverse=True)))
_THANKS = re.compile(
    "|".join(f"(?P<L{n}>(?:{THANKS[name]}){'' if name in _UNSPACED else _SPACED})" for n, name in enumerate(_LANGUAGES)), re.I
)
_OTHER = re.compile(
    f"(?P<greeting>(?:{_join_patterns(GREETINGS)}){_CJK_END})|(?P<closing>(?:{_CLOSINGS}){_CJK_END})"
    f"|(?P<aside>(?:{_join_patterns(ASIDES)}){_CJK_END})|(?P<title>(?:{_join_patterns(TITLES)}){_CJK_END})",
    re.I,
)
_NAME = re.compile(r"[^\W\d_][^\W\d_'.-]*(?:['.-][^\W\d_]+)*\.?(?:[ ]+[^\W\d_][^\W\d_'-]*(?:['-][^\W\d_]+)*)*")


def find_thanks(reply: str, sender: str = "") -> Reason | None:
    """Return why a reply is known to say only thanks, or None when it may say more. Never raises.

    ``sender`` is the display name of the sender: its words count as a name wherever a name may stand.
    """
    if not reply or len(reply) > MAX_REPLY_LENGTH:
        return None
    text = unicodedata.normalize("NFC", reply)
    text = _EMOTICON.sub(" ", text if text.isascii() else "".join(map(_simplify, text)))
    if _HAS_CONTENT.search(text):
        return None
    known = frozenset(re.findall(r"[^\W\d_]+", sender.casefold()))
    language = _match_phrases(text, known)
    return Reason("only_thanks", f"It only says thanks ({language})") if language else None


def _simplify(character: str) -> str:
    """Return a character as the tables have it: no emoji, no invisible characters, straight apostrophes."""
    if character in "\u2019\u2018":
        return "'"
    if character == "\n" or character.isascii():
        return character
    kind = unicodedata.category(character)
    return " " if kind in ("So", "Sk", "Zs", "Cf", "Cn", "Cs", "Me") or character == "\ufe0f" else character


def _match_phrases(text: str, known: frozenset[str]) -> str | None:
    """Return the language of the thanks when the text holds nothing else, else None."""
    language: str | None = None
    position, previous = 0, ""
    while True:
        gap = _BREAKS.match(text, position)
        if gap is not None:
            position = gap.end()
        if position >= len(text):
            return language
        begins_line = position == 0 or (gap is not None and "\n" in gap.group())
        thanks = _THANKS.match(text, position)
        if thanks is not None and thanks.end() > position:
            language = language or _LANGUAGES[int(str(thanks.lastgroup)[1:])]
            position, previous = thanks.end(), "thanks"
            continue
        other = _OTHER.match(text, position)
        if other is not None and other.end() > position:
            position, previous = other.end(), str(other.lastgroup)
            continue
        end = _find_name_end(
            text, position, known, is_close=_can_precede_name(gap, previous), is_line=begins_line and language is not None
        )
        if end is None:
            return None
        position, previous = end, "name"


def _can_precede_name(gap: re.Match[str] | None, previous: str) -> bool:
    """Whether a name may follow: on the same line and without a full stop in between."""
    if previous == "title":
        return True
    between = gap.group() if gap is not None else ""
    return previous in ("thanks", "greeting", "closing") and not set(between) & set("\n.!;\u3002\uff01")


def _find_name_end(text: str, start: int, known: frozenset[str], *, is_close: bool, is_line: bool) -> int | None:
    """Return the end of the name that begins here, or None.

    After thanks a whole line may be a name.
    """
    match = _NAME.match(text, start)
    if match is None:
        return None
    if is_line:
        return match.end() if _is_name(match.group(), known) and _fills_line(text, match.end()) else None
    end = start
    for word in _WORD.finditer(match.group()) if is_close else ():
        if word.start() > 0 and _THANKS.match(text, start + word.start()):
            break
        if not _is_name(match.group()[: word.end()], known):
            break
        end = start + word.end()
    return end if end > start else None


def _fills_line(text: str, end: int) -> bool:
    return not text[end:].partition("\n")[0].strip(" ,.!-")


def _is_name(text: str, known: frozenset[str]) -> bool:
    """Whether the words are the name of the sender, or look like another name: one or two capitalised words."""
    words = text.split()
    if len(words) > _MAX_NAME_WORDS:
        return False
    if text.endswith(NAME_ENDINGS) or {word.strip(".").casefold() for word in words} & known:
        return True
    return len(words) <= _MAX_STRANGER_NAME_WORDS and all(
        word[0].isupper() and word.casefold() not in NON_NAME_WORDS for word in words
    )
