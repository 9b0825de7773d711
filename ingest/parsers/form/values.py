"""Render one answer of a form as readable text: the value shapes of Formstack (webhook setup, "Data format").

A value is what the JSON or urlencoded body held: a string (numbers keep their digits), a boolean, None, a list, or an object
as a dict. Nothing here raises; the depth of a value is checked before with :func:`find_depth`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

NAME_PARTS = ("prefix", "first", "initial", "middle", "last", "suffix")
ADDRESS_PARTS = ("address", "address2", "city", "state", "zip", "country")

# PostgreSQL cannot store NUL, UTF-8 cannot encode a lone surrogate, and the other control characters are not readable.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NEWLINE = re.compile(r"\r\n?")
_LINE = re.compile(r"([a-z_][a-z_0-9]*) =(?: (.*))?")
_TYPED_LINES = re.compile(r"value = (?P<value>.*)\n(?:field_type|type) = (?P<type>[\w-]+)\s*", re.DOTALL)


class FormAnswer(NamedTuple):
    """The readable text, the field type when the sender names it, and the subfields by name."""

    text: str
    field_type: str | None
    parts: dict[str, str]


def clean_text(text: str) -> str:
    """Return ``text`` with LF line ends and without control characters; a lone surrogate becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", _CONTROLS.sub("", _NEWLINE.sub("\n", text)))


def find_depth(value: object) -> int:
    """Return how many containers deep ``value`` is nested. Works without recursion."""
    depth, level = 0, [value]
    while level := [inner for item in level for inner in _list_children(item)]:
        depth += 1
    return depth


def _list_children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values()) or [None]
    if isinstance(value, list):
        return list(value) or [None]
    return []


def read_answer(value: object) -> FormAnswer:
    """Read any value of a field: string, list, object, null or subfield lines, with or without its field type."""
    if isinstance(value, str):
        value = _read_lines(clean_text(value))
    if not isinstance(value, dict):
        return FormAnswer(render_text(value), None, {})
    field_type, rest = _split_type(value)
    if "value" not in rest:
        return FormAnswer(render_text(rest), field_type, _render_parts(rest))
    inner = rest.pop("value")
    return FormAnswer(render_text(inner), field_type, _render_parts(inner if isinstance(inner, dict) else rest))


def render_text(value: object) -> str:
    """Return ``value`` as one text: a list joined by ", ", a name by spaces, an address on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(filter(None, map(render_text, value)))
    if isinstance(value, dict):
        return _render_object(_render_parts(value))
    return clean_text(str(value)).strip()


def _render_parts(value: Mapping[str, object]) -> dict[str, str]:
    return {clean_text(key): text for key, inner in value.items() if (text := render_text(inner))}


def _render_object(parts: dict[str, str]) -> str:
    if parts.keys() <= set(NAME_PARTS):
        return " ".join(parts[key] for key in NAME_PARTS if key in parts)
    if parts.keys() <= set(ADDRESS_PARTS):
        return _render_address(parts)
    return ", ".join(f"{key}: {text}" for key, text in parts.items())


def _render_address(parts: dict[str, str]) -> str:
    region = " ".join(filter(None, (parts.get("state"), parts.get("zip"))))
    lines = (*(parts.get(key) for key in ("address", "address2", "city")), region, parts.get("country"))
    return re.sub(r"\s*\n\s*", ", ", ", ".join(filter(None, lines)))


def _split_type(value: dict[str, object]) -> tuple[str | None, dict[str, object]]:
    """Return the field type and the rest. Older senders use ``type``, which is also the name of an ordinary subfield."""
    rest = dict(value)
    for key in ("field_type", "type"):
        named = rest.get(key)
        if isinstance(named, str) and (key == "field_type" or _is_typed(rest)):
            del rest[key]
            return clean_text(named), rest
    return None, rest


def _is_typed(value: dict[str, object]) -> bool:
    others = value.keys() - {"type"}
    return "value" in others or bool(others and (others <= set(NAME_PARTS) or others <= set(ADDRESS_PARTS)))


def _read_lines(text: str) -> object:
    """Read subfields from the lines ``first = A`` of an urlencoded form. Any other text is returned unchanged."""
    if typed := _TYPED_LINES.fullmatch(text):
        return {"value": typed["value"], "field_type": typed["type"]}
    matches = [_LINE.fullmatch(line) for line in text.strip("\n").split("\n")]
    parts = {match[1]: match[2] or "" for match in matches if match}
    subfields = parts.keys() - {"field_type", "type"}
    known = subfields <= set(NAME_PARTS) or subfields <= set(ADDRESS_PARTS)
    return dict(parts) if len(parts) == len(matches) and subfields and known else text
