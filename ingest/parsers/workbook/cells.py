"""Convert the value of one cell to text, and keep a text from being read as a formula.

Texts round-trip: a text that :func:`escape_formula` and :func:`escape_controls` changed for a receipt is read back as the
same text. A receipt that is dropped again therefore has the same row identities.
"""

from __future__ import annotations

import datetime
import math
import re

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_ESCAPE_LIKE = re.compile(r"_(?=x[0-9A-Fa-f]{4}_)")
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORMULA = re.compile(r"'*[=+\-@\t\r\x00]")
_QUOTED_FORMULA = re.compile(r"'+[=+\-@\t\r\x00]")


def clean_cell(text: str) -> str:
    """Return ``text`` as displayed: ``_xHHHH_`` escapes (ECMA-376 part 1, 22.9.2.19) decoded, LF line ends, stripped."""
    if "_x" in text:
        text = _NO_XML.sub("", _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text))
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip()


def show_value(value: object) -> str:
    """Return a number, date, time, duration or boolean as text: ISO dates, whole numbers without ``.0``."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _show_float(value)
    if isinstance(value, datetime.datetime):
        # Excel stores a date as midnight of that day.
        return (value.date() if value.time() == datetime.time() else value).isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return clean_cell(str(value))


def _show_float(value: float) -> str:
    if not math.isfinite(value):
        return ""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    # Excel keeps 15 significant digits.
    return format(value, ".15g")


def escape_formula(text: str) -> str:
    """Return ``text`` with a leading apostrophe when a spreadsheet could read it as a formula (security.md, rule 6)."""
    return "'" + text if _FORMULA.match(text) else text


def unescape_formula(text: str) -> str:
    """Undo :func:`escape_formula`."""
    return text[1:] if _QUOTED_FORMULA.match(text) else text


def escape_controls(text: str) -> str:
    """Return ``text`` without characters that XML cannot hold.

    Text that looks like an ``_xHHHH_`` escape is escaped itself.
    """
    return _ESCAPE_LIKE.sub("_x005F_", _NO_XML.sub("", text))
