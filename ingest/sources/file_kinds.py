"""What a dropped file is: its arrivals, or the reason why it is not taken. Pure but for reading the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from core import blobs
from core.reasons import Reason
from core.settings.sections import Limits
from ingest.ledger.types import FORMSTACK, MAIL, WORKBOOK, Arrival
from ingest.parsers.types import Refusal
from ingest.sources.formstack_envelope import split_envelope
from ingest.sources.mbox import is_mbox, read_mbox

WORKBOOKS = {".xlsx", ".xlsm"}
TAKEN = "taken are .xlsx and .xlsm workbooks, .eml and .mbox mail, and .json form submissions"
#: The zip and the OLE container (an encrypted workbook is one), PDF, GIF, PNG, JPEG, gzip: no mail begins like that.
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BINARY = (_ZIP, _OLE, b"%PDF-", b"GIF8", b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b")
_HEADER_FIELD = re.compile(rb"^[!-9;-~]+[ \t]*:", re.MULTILINE)
HEAD_BYTES = 4096
HEADER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a file's arrivals say they come from. ``place`` names the file with its inode and time."""

    source: str
    place: str
    extra: dict[str, Any]
    received_at: datetime


def read_arrivals(path: Path, ending: str, origin: Origin, limits: Limits) -> Iterator[Arrival] | Reason:
    """The arrivals in a file, in its order, or why it is refused. ``ending`` is the lower-case suffix.

    Reading goes on while the answer is used, so a large mbox is never in memory as a whole. Raises ``OSError``.
    """
    size = path.stat().st_size
    if size == 0:
        return Reason("empty_file", "The file is empty.")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if ending in (".mbox", ".eml") and is_mbox(head):
        return _mbox_arrivals(path, origin, limits.message_bytes)
    refusal = _refusal(ending, head, size, limits)
    if refusal is not None:
        return refusal
    raw = path.read_bytes()
    if ending == ".json":
        return _form_arrivals(raw, origin)
    family, kind = (WORKBOOK, "workbook") if ending in WORKBOOKS else (MAIL, "mail")
    return iter([Arrival(family, kind, origin.source, origin.place, raw, origin.received_at, extra=origin.extra)])


def _refusal(ending: str, head: bytes, size: int, limits: Limits) -> Reason | None:
    if ending in (".xls", ".csv"):
        return Reason("unsupported_format", f"{ending} files are not read: open the file in Excel and save it as .xlsx.")
    if ending == ".mbox":
        return Reason("not_an_mbox", 'The file is no mbox: it does not begin with a "From " line.')
    if ending not in {*WORKBOOKS, ".eml", ".json"}:
        return Reason("unsupported_format", f"Files of this kind are not read: {TAKEN}.")
    limit = limits.form_bytes if ending == ".json" else limits.message_bytes
    if size > limit:
        return Reason("too_large", f"The file has {size:,} bytes; the limit is {limit:,}.")
    if ending in WORKBOOKS and not head.startswith((_ZIP, _OLE)):
        return Reason("not_a_workbook", f"The file is called {ending} but is no Excel workbook.")
    if ending == ".eml" and (head.startswith(_BINARY) or not _HEADER_FIELD.search(head)):
        return Reason("not_a_mail", "The file is called .eml but is no mail: it has no header.")
    return None


def _form_arrivals(raw: bytes, origin: Origin) -> Iterator[Arrival] | Reason:
    envelope = split_envelope(raw, "application/json")
    if isinstance(envelope, Refusal):
        return Reason(envelope.code, envelope.text)
    identity = f"{envelope.form_id}/{envelope.submission_id}"
    extra = origin.extra | {"content_type": "application/json"}
    place, received_at = origin.place, origin.received_at
    return iter([Arrival(FORMSTACK, "form", origin.source, place, envelope.stored, received_at, identity, extra=extra)])


def _mbox_arrivals(path: Path, origin: Origin, limit: int) -> Iterator[Arrival]:
    with path.open("rb") as file:
        for index, (raw, size) in enumerate(read_mbox(file, limit)):
            place = f"{origin.place}:{index}"
            if size <= limit:
                yield Arrival(MAIL, "mail", origin.source, place, raw, origin.received_at, extra=origin.extra)
            else:
                yield _oversize(raw, size, place, origin)


def _oversize(raw: bytes, size: int, place: str, origin: Origin) -> Arrival:
    """A message too large to take: its header stands for it, under an identity of its own."""
    ends = [end for end in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n")) if end >= 0]
    header = raw[: min([*ends, HEADER_BYTES])] + b"\r\n\r\n"
    extra = origin.extra | {"size": size, "oversize": True}
    identity = f"oversize:{blobs.digest(header)}"
    return Arrival(MAIL, "oversize", origin.source, place, header, origin.received_at, identity, extra=extra)
