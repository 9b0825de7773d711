"""The tree of a message, from the skeleton of its outline.

The standard library's feed parser goes line by line and made a tenth of all a message costs. Most messages are plain in their
structure (RFC 2046 §5.1.1: parts between delimiter lines, the last one closed, each a block of well-formed fields, an empty
line and a body), and of those the same tree is made here. Whatever is not, is left to the feed parser.
"""

from __future__ import annotations

import email
import re
from contextlib import suppress
from email.message import Message
from email.policy import compat32

from ingest.parsers.mail.mime_outline import find_simple_boundary

#: Parts within parts; a plain message has two or three levels.
MAX_TREE_LEVELS = 5

# Possessive: a block that is no block of fields is given up at once.
_FIELDS = re.compile(r"(?:[!-9;-~]++:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+")
_FIELD = re.compile(r"[^\n]*+\n(?:[ \t][^\n]*+\n)*+")


class _IrregularStructureError(Exception):
    """Of this structure only the feed parser knows what to make."""


def build_tree(skeleton: bytes) -> Message:
    """What ``email.message_from_bytes`` makes of it, but for preambles, epilogues and defects that nobody asks for.

    Raises what the standard library raises for what it does not survive.
    """
    text = skeleton.decode("ascii", "surrogateescape")
    fields, _, body = text.partition("\n\n")
    message = Message()
    for line in fields.split("\n"):
        name, _, value = line.partition(": ")
        message.set_raw(name, value)
    main = message.get_content_maintype()
    if main not in ("multipart", "message"):
        message.set_payload(body)
        return message
    if main == "multipart" and "\r" not in fields:
        with suppress(_IrregularStructureError):
            _attach_parts(message, body, MAX_TREE_LEVELS)
            return message
    return email.message_from_bytes(skeleton)


def _attach_parts(message: Message, body: str, levels: int) -> None:
    """Give ``message`` the parts that are in ``body``."""
    boundary = find_simple_boundary(str(message["content-type"])) or message.get_boundary()
    # A bare CR ends a line too, and a digest's parts have another type unless they name one.
    if not boundary or levels == 0 or message.get_content_subtype() == "digest" or body.count("\r") != body.count("\r\n"):
        raise _IrregularStructureError
    for section in _split_sections(body, "--" + boundary):
        message.attach(_make_part(section, levels - 1))


def _split_sections(text: str, delimiter: str) -> list[str]:
    """What is between the delimiter lines, without the line end before each, which is the delimiter's."""
    sections: list[str] = []
    begin, at = -1, 0
    while (found := text.find(delimiter, at)) >= 0:
        at = found + len(delimiter)
        is_end = text.startswith("--", at)
        end = text.find("\n", at)
        rest = text[at + 2 if is_end else at : end if end >= 0 else len(text)]
        if (found and text[found - 1] != "\n") or rest.strip(" \t\r"):
            continue
        if begin == found or (not is_end and end < 0):
            break  # two delimiters in a row, or nothing behind the last
        if begin >= 0:
            sections.append(text[begin : found - (2 if text[found - 2] == "\r" else 1)])
        if is_end and sections:
            return sections
        if is_end:
            break
        begin = end + 1
    raise _IrregularStructureError


def _make_part(section: str, levels: int) -> Message:
    block = _FIELDS.match(section)
    start = block.end() if block else 0
    if section.startswith("\r\n", start):
        body = section[start + 2 :]
    elif section.startswith("\n", start):
        body = section[start + 1 :]
    else:
        raise _IrregularStructureError
    part = Message()
    for field in _FIELD.findall(section, 0, start):
        part.set_raw(*compat32.header_source_parse(field.splitlines(keepends=True)))
    main = part.get_content_maintype()
    if main == "message":
        raise _IrregularStructureError
    if main == "multipart":
        _attach_parts(part, body, levels)
    else:
        part.set_payload(body)
    return part
