"""Find the original of a forwarded mail (docs/decisions/forwarded-mail.md).

Author, recipients, date and text are read from the lines that mail programs write above the original. A mail is a forward
when its subject says so and a block of header lines follows, or when a forward banner stands above such a block. A subject
that says "reply" excludes a forward: a reply quotes. Linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ingest.parsers.forward.forward_phrases import (
    is_forward_banner,
    is_forward_end,
    is_original_banner,
    read_subject_prefix,
    strip_subject_prefix,
)
from ingest.parsers.mail.addresses import MAX_ADDRESSES, read_mailbox
from ingest.parsers.mail.header_labels import HEADER_LABELS, MAX_LABEL_LENGTH, fold_label
from ingest.parsers.mail.headers import clean_text
from ingest.parsers.types import Forward, ParsedMail

#: Characters of a body that are searched for the start of a forward.
MAX_SCANNED_LENGTH = 400_000
#: Characters of a line that are read.
MAX_LINE_LENGTH = 1_000
MAX_BLOCK_LINES = 60
MAX_VALUE_LENGTH = 20_000

_QUOTE = re.compile(r"[ \t\u00a0]{0,8}> ?")
_RULE_LINE = re.compile(r"[-_=*~─—–\s]{3,}\Z")
_MAILTO = re.compile(r"<mailto:[^<>]{0,320}>|\[mailto:[^\[\]]{0,320}\]", re.I)
_ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:*]{1,64}@[^\s<>()\[\]\"',;:*]{1,253}")
_NAME = re.compile(r"\A(.{0,300}?)[\s]*[<\[(]\s*\Z", re.S)
#: Yandex writes one line without labels: ``06.10.2025, 09:15, "Ana Bell" <ana@customer.example>:``
_ONE_LINE = re.compile(r"(\d[^\"<>@]{4,60}),\s+(\"?[^\"<>@]{0,200}\"?\s*<[^\s<>]{3,320}>)\s*:?\s*\Z")
#: When the subject does not say "forwarded", a banner must have its dashes or its colon.
_BANNER_STARTS, _BANNER_ENDS = ("--", "==", "__"), (":", ": ", "：")
_BANNER_HINTS = ("--", "==", "__", ":\n", ": \n", "：\n")


class _Block(NamedTuple):
    """The fields of a header block, the line after it, whether it is quoted, and the folded label of its From line."""

    fields: dict[str, str]
    end: int
    quoted: bool
    from_label: str = ""


def find_inline_forward(subject: str, body: str) -> Forward | None:
    """Return the forwarded mail within a body, or None when there is none. Never raises.

    The start of the forward is looked for in the first MAX_SCANNED_LENGTH characters.
    """
    prefix = read_subject_prefix(subject)
    if prefix == "reply" or (prefix is None and not any(sign in body for sign in _BANNER_HINTS)):
        return None
    lines = body[:MAX_SCANNED_LENGTH].split("\n")
    number = 0
    while number < len(lines):
        line = lines[number][:MAX_LINE_LENGTH]
        start = number + 1
        if prefix is None and not line.startswith(_BANNER_STARTS) and not line.endswith(_BANNER_ENDS):
            pass
        elif is_forward_banner(line) and (prefix is not None or not _QUOTE.match(line)):
            block = _read_block_below_banner(lines, start)
            if block.fields.get("from"):
                return _build_inline(subject, body, lines, number, block)
            start = block.end
        elif prefix is not None and _read_label(line) is not None:
            block = _read_block(lines, number)
            if _is_complete(block, prefix):
                return _build_inline(subject, body, lines, number, block)
            start = max(block.end, start)
        number = start
    return None


def _read_block_below_banner(lines: Sequence[str], start: int) -> _Block:
    """Return the block below a banner. With an author it is complete, even without further fields."""
    for number in range(start, min(start + 6, len(lines))):
        text = _unquote(lines[number]).strip()
        if not text:
            continue
        one_line = _ONE_LINE.match(text[:MAX_LINE_LENGTH])
        if one_line is not None:
            return _Block({"date": one_line.group(1), "from": one_line.group(2)}, number + 1, False)
        block = _read_block(lines, number)
        return block._replace(end=max(block.end, start))
    return _Block({}, start, False)


def _is_complete(block: _Block, prefix: str) -> bool:
    """Whether a block without a banner is a mail header: an author and two more fields.

    ``VS`` with Finnish labels is a reply.
    """
    if prefix == "either" and block.from_label != "fra":
        return False
    return bool(block.fields.get("from")) and len(block.fields.keys() & {"date", "to", "subject", "cc"}) >= 2


def _read_block(lines: Sequence[str], start: int) -> _Block:
    """Return the header lines from ``start``. A value may begin or continue on the next line."""
    fields: dict[str, str] = {}
    last, from_label, number = "", "", start
    quoted = _QUOTE.match(lines[start]) is not None
    for number in range(start, min(len(lines), start + MAX_BLOCK_LINES)):
        text = _unquote(lines[number][:MAX_VALUE_LENGTH]) if quoted else lines[number][:MAX_VALUE_LENGTH]
        found = _read_label(text)
        if found is not None and found[0] not in fields:
            last, value, label = found
            fields[last] = value
            from_label = label if last == "from" else from_label
        elif not last:
            return _Block(fields, number, quoted)
        elif not text.strip():
            if not _continues_after_blank(lines, number + 1, fields, last, quoted):
                return _Block(fields, number, quoted, from_label)
        elif found is None and _is_continuation(lines, number, fields, last, quoted):
            fields[last] = f"{fields[last]} {text.strip()}".strip()
        else:
            return _Block(fields, number, quoted, from_label)
    return _Block(fields, number + 1, quoted, from_label)


def _continues_after_blank(lines: Sequence[str], number: int, fields: dict[str, str], last: str, quoted: bool) -> bool:
    """Whether the block continues after a blank line: its author, its subject or the value of the last field is still missing."""
    if number >= len(lines) or ("from" in fields and "subject" in fields and fields[last]):
        return False
    text = _unquote(lines[number][:MAX_LINE_LENGTH]) if quoted else lines[number][:MAX_LINE_LENGTH]
    found = _read_label(text)
    return (found is not None and found[0] not in fields) or (not fields[last] and found is None and bool(text.strip()))


def _is_continuation(lines: Sequence[str], number: int, fields: dict[str, str], last: str, quoted: bool) -> bool:
    """Whether a line without a label belongs to the previous field: it is indented, lists people, or stands between fields."""
    if not fields[last]:
        return True
    text = _unquote(lines[number][:MAX_LINE_LENGTH]) if quoted else lines[number][:MAX_LINE_LENGTH]
    if text[:1] in " \t" and last != "from":
        return True
    if last in ("to", "cc", "bcc") and fields[last].rstrip().endswith((";", ",")):
        return True
    after = lines[number + 1][:MAX_LINE_LENGTH] if number + 1 < len(lines) else ""
    found = _read_label(_unquote(after) if quoted else after)
    return found is not None and found[0] not in fields and len(fields) < 4


def _read_label(line: str) -> tuple[str, str, str] | None:
    """Return field, value and folded label of a header line, or None."""
    head = line[:MAX_LABEL_LENGTH].replace("：", ":")
    position = head.find(":")
    if position < 1:
        return None
    label = fold_label(head[:position])
    name = HEADER_LABELS.get(label)
    if name is None:
        return None
    return name, line[position + 1 :].strip(" \t*\u00a0\u200e\u200f"), label


def _unquote(line: str) -> str:
    match = _QUOTE.match(line)
    return line[match.end() :] if match else line


def _build_inline(subject: str, body: str, lines: Sequence[str], banner: int, block: _Block) -> Forward:
    address, name = read_person(block.fields["from"])
    rest = "\n".join(_skip_repeated_banner(lines, block.end, lines[banner])) + body[MAX_SCANNED_LENGTH:]
    if block.quoted:
        rest = "\n".join(_unquote(line) for line in rest.split("\n"))
    text, after = _cut_end(rest)
    above = _trim_rule(lines[:banner])
    return Forward(
        kind="inline",
        from_addr=address,
        from_name=name,
        subject=clean_text(block.fields.get("subject", "")) or strip_subject_prefix(subject),
        date=clean_text(block.fields.get("date", "")) or None,
        to=read_people(block.fields.get("to", "")),
        cc=read_people(block.fields.get("cc", "")),
        body=text,
        message="\n\n".join(part for part in (above, after) if part),
    )


def _skip_repeated_banner(lines: Sequence[str], start: int, banner: str) -> Sequence[str]:
    """Return the lines from ``start`` without the banner that some programs repeat below the block."""
    first = next((number for number in range(start, min(start + 3, len(lines))) if lines[number].strip()), start)
    return lines[first + 1 :] if first < len(lines) and is_forward_banner(banner) and lines[first] == banner else lines[start:]


def _cut_end(text: str) -> tuple[str, str]:
    """Return the forwarded text, and what the forwarder wrote below it when the program marked its end."""
    lines = text.split("\n")
    if "--" in text or "==" in text:
        for number, line in enumerate(lines):
            if is_forward_end(line):
                return "\n".join(lines[:number]).strip(), "\n".join(lines[number + 1 :]).strip()
    return text.strip(), ""


def _trim_rule(lines: Sequence[str]) -> str:
    """Return the text above the block without the rule or the banner directly above the block."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or _RULE_LINE.match(lines[end - 1]) or is_original_banner(lines[end - 1])):
        end -= 1
    return "\n".join(lines[:end]).strip()


def read_person(value: str) -> tuple[str | None, str | None]:
    """Return address and name of one person as mail programs show them. The address is None when none is plain."""
    value = clean_text(_MAILTO.sub(_unwrap_mailto, value[:MAX_LINE_LENGTH])).replace("*", "")
    for match in _ADDRESS.finditer(value):
        address = read_mailbox(match.group().strip("."))
        if address is None:
            continue
        before = value[: match.start()]
        name = _NAME.sub(r"\1", before).strip(" \t\"'<[(,;")
        return address, name if name and "@" not in name else None
    return None, value.strip(" \t\"';") or None


def _unwrap_mailto(match: re.Match[str]) -> str:
    """Keep ``[mailto:a@b]``, the only address Outlook gives, and drop ``<mailto:a@b>``, which repeats one."""
    found = match.group()
    return f" <{found[8:-1]}>" if found.startswith("[") else ""


def read_people(value: str) -> tuple[str, ...]:
    """Return the plain addresses in a list of people, each once, at most MAX_ADDRESSES."""
    found = (read_mailbox(match.group().strip(".")) for match in _ADDRESS.finditer(_MAILTO.sub(_unwrap_mailto, value)))
    return tuple(dict.fromkeys(address for address in found if address))[:MAX_ADDRESSES]


def is_attached_forward(subject: str, body: str, message_count: int) -> bool:
    """Whether a mail with this number of attached messages forwards one: its subject says so, or its body is empty."""
    return message_count == 1 and (read_subject_prefix(subject) == "forward" or not body.strip())


def build_attached_forward(mail: ParsedMail, body: str) -> Forward:
    """Return the forward of an attached message. Its files are included."""
    return Forward(
        kind="attached",
        from_addr=mail.from_addr,
        from_name=mail.from_name,
        subject=mail.subject,
        date=mail.date.isoformat() if mail.date else None,
        to=mail.to,
        cc=mail.cc,
        body=mail.body,
        message=body.strip(),
        files=mail.attachments,
    )
