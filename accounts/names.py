"""Names as they are compared."""

from __future__ import annotations

import re
import unicodedata

_LEGAL_FORMS = {"inc", "llc", "llp", "ltd", "pc", "pa", "pllc", "corp", "co"}


def fold_name(name: str) -> str:
    """A company's name without case, accents, punctuation, doubled spaces and trailing legal forms."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold() or name.casefold()
    words = re.sub(r"[^\w\s]", "", plain.replace("&", " and ")).split()
    while len(words) > 1 and words[-1] in _LEGAL_FORMS:
        words.pop()
    return " ".join(words)
