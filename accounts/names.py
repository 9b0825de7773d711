"""Fold company names, so that different spellings of one name compare equal."""

from __future__ import annotations

import re
import unicodedata

_ABBREVIATION = re.compile(r"(?<=\b\w)\.(?=\w\b|\W|\Z)")

_LEGAL_FORMS = frozenset(
    {
        "inc", "incorporated", "llc", "llp", "lllp", "lp", "pc", "pllc", "plc", "pa", "psc", "apc", "corp", "corporation", "co",
        "company", "ltd", "limited",
    }
)  # fmt: skip


def fold_name(name: str) -> str:
    """Return a company's name without case, accents, punctuation, extra spaces and the legal form at its end.

    ``"St. Mary's Clinic, P.C."`` and ``"ST MARYS CLINIC"`` fold to the same. Empty when the name has no letter or digit.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not 0x300 <= ord(c) <= 0x36F)
    plain = _ABBREVIATION.sub("", plain.replace("&", " and ").replace("'", "").replace("’", ""))
    words = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in plain).split()
    while (length := _count_legal_form_words(words)) and length < len(words):
        del words[-length:]
    return " ".join(words)


def _count_legal_form_words(words: list[str]) -> int:
    """How many words at the end are a legal form; ``P. C.`` comes as two."""
    if words and words[-1] in _LEGAL_FORMS:
        return 1
    for length in (2, 3, 4):
        tail = words[-length:]
        if len(tail) == length and all(len(word) == 1 for word in tail) and "".join(tail) in _LEGAL_FORMS:
            return length
    return 0
