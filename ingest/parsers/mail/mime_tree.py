"""Build the tree of a message from the skeleton of its outline.

The feed parser of the standard library works line by line and took a tenth of the time of a message. Most messages have a
regular structure (RFC 2046 §5.1.1): parts between delimiter lines, the last one closed, each a block of well-formed fields,
an empty line and a body. For those this module builds the same tree. Every other structure is left to the feed parser.
"""

from __future__ import annotations

import email
import re
from contextlib import suppress
from email.message import Message
from email.policy import compat32

from ingest.parsers.mail.mime_outline import find_simple_boundary

#: Depth of parts within parts; a regular message has two or three levels.
MAX_TREE_LEVELS = 5

# Possessive quantifiers: a block that is not a block of fields fails at once.
_FIELDS = re.compile(r"(?:[!-9;-~]++:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+")
_FIELD = re.compile(r"[^\n]*+\n(?:[ \t][^\n]*+\n)*+")


class _IrregularStructureError(Exception):
    """Only the feed parser knows the tree of this structure."""


def build_tree(skeleton: bytes) -> Message:
    """Return the tree that ``email.message_from_bytes`` builds, without preambles, epilogues and defects, which are not used.

    Raises the exceptions of the standard library for input that it does not survive.
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
    """Attach the parts in ``body`` to ``message``."""
    boundary = find_simple_boundary(str(message["content-type"])) or message.get_boundary()
    # A bare CR ends a line too, and the parts of a digest have another default type.
    if not boundary or levels == 0 or message.get_content_subtype() == "digest" or body.count("\r") != body.count("\r\n"):
        raise _IrregularStructureError
    for section in _split_sections(body, "--" + boundary):
        message.attach(_make_part(section, levels - 1))


def _split_sections(text: str, delimiter: str) -> list[str]:
    """Return the text between the delimiter lines. The line end before a delimiter line belongs to the delimiter."""
    sections: list[str] = []
    section_start, at = -1, 0
    while (found := text.find(delimiter, at)) >= 0:
        at = found + len(delimiter)
        is_end = text.startswith("--", at)
        end = text.find("\n", at)
        rest = text[at + 2 if is_end else at : end if end >= 0 else len(text)]
        if (found and text[found - 1] != "\n") or rest.strip(" \t\r"):
            continue
        if section_start == found or (not is_end and end < 0):
            # Two delimiters in a row, or nothing after the last one.
            break
        if section_start >= 0:
            sections.append(text[section_start : found - (2 if text[found - 2] == "\r" else 1)])
        if is_end and sections:
            return sections
        if is_end:
            break
        section_start = end + 1
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
