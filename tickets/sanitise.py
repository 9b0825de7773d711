"""Remove from a submission, of any source, what a database cannot store.

PostgreSQL refuses NUL, UTF-8 has no lone surrogates, and an index entry has a size limit: such a character must cost a character,
not the item.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter, is_
from typing import Any

from core.reasons import Reason
from tickets.submission import Submission, SubmittedFile

#: RFC 5321 §4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
MAX_ADDRESS_OCTETS = 254
MAX_LINE_CHARACTERS, MAX_SUBJECT_CHARACTERS, MAX_FILE_NAME_CHARACTERS = 300, 998, 255
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def sanitise(submission: Submission) -> Submission:
    """Return the submission with storable texts and short values cut to length; what was left out is listed as missing."""
    changes: dict[str, Any] = {}
    for name, value, sanitise_value in zip(_SANITISERS, _VALUES(submission), _SANITISERS.values(), strict=True):
        if value:
            changed = sanitise_value(value)
            if changed is not value:
                changes[name] = changed
        elif value == "" and name in _OPTIONAL:
            changes[name] = None
    if submission.email and changes.get("email", submission.email) is None:
        missing = changes.get("missing", submission.missing)
        changes["missing"] = (*missing, "the sender's address is longer than an address can be")
    return replace(submission, **changes) if changes else submission


def _text(value: str) -> str:
    # Nearly all texts are ASCII, and this check costs a fraction of the search.
    if value.isascii() and "\0" not in value:
        return value
    return _UNSTORABLE.sub(_REPLACEMENT, value)


def _line(value: str) -> str:
    return _text(value)[:MAX_LINE_CHARACTERS]


def _address(value: str) -> str | None:
    """None for what cannot be an address: cut to length it would be another one."""
    if _UNSTORABLE.search(value) or len(value.encode()) > MAX_ADDRESS_OCTETS:
        return None
    return value


def _key(value: str) -> str:
    """Replace a long key by its hash, which finds a thread as well."""
    text = _text(value)
    return text if len(text) <= MAX_LINE_CHARACTERS else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _reason(reason: Reason) -> Reason:
    text = _text(reason.text)
    return reason if text is reason.text else Reason(reason.code, text)


def _file(file: SubmittedFile) -> SubmittedFile:
    name, kind = _text(file.name)[-MAX_FILE_NAME_CHARACTERS:], _line(file.type)
    sniffed = _line(file.sniffed) if file.sniffed else None
    if (name, kind, sniffed) == (file.name, file.type, file.sniffed):
        return file
    return replace(file, name=name, type=kind, sniffed=sniffed)


def _detail(detail: tuple[str, str]) -> tuple[str, str]:
    name, value = map(_text, detail)
    return detail if name is detail[0] and value is detail[1] else (name, value)


def _each(sanitise_value: Callable[[Any], Any]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Apply to the members of a tuple; return the same tuple when nothing changes. A member that becomes None is left out."""

    def sanitise_all(values: tuple[Any, ...]) -> tuple[Any, ...]:
        sanitised = tuple(map(sanitise_value, values))
        return values if all(map(is_, sanitised, values)) else tuple(one for one in sanitised if one is not None)

    return sanitise_all


#: Field → its function, which returns the same object when there is nothing to change.
_SANITISERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("name", "phone", "company", "account_number", "category", "issue", "issue_detail"), _line),
    "preferred_contact": _line,
    "subject": lambda value: _text(value)[:MAX_SUBJECT_CHARACTERS],
    **dict.fromkeys(("text", "quoted", "signature", "link"), _text),
    "email": _address,
    "files": _each(_file),
    "missing": _each(_text),
    "reasons": _each(_reason),
    "silence": _reason,
    "thread_key": _key,
    "contacts": _each(_address),
    "details": _each(_detail),
}
_OPTIONAL = frozenset({"email", "link", "thread_key"})
_VALUES = attrgetter(*_SANITISERS)
