"""Read the arrivals in a file, or the reason why it is refused. Pure except for reading the file."""

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

WORKBOOK_SUFFIXES = {".xlsx", ".xlsm"}
ACCEPTED_KINDS = ".xlsx and .xlsm workbooks, .eml and .mbox mail, and .json form submissions"
#: First bytes of zip, OLE container (an encrypted workbook is one), PDF, GIF, PNG, JPEG and gzip files: no mail begins so.
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_BINARY = (_ZIP, _OLE, b"%PDF-", b"GIF8", b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b")
_HEADER_FIELD = re.compile(rb"^[!-9;-~]+[ \t]*:", re.MULTILINE)
HEAD_BYTES = 4096
MAX_HEADER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin that a file's arrivals record. ``place`` names the file with its inode and time."""

    source: str
    place: str
    extra: dict[str, Any]
    received_at: datetime


def read_arrivals(path: Path, suffix: str, origin: Origin, limits: Limits) -> Iterator[Arrival] | Reason:
    """Return the arrivals in a file, in its order, or why it is refused. ``suffix`` is the lower-case suffix of its name.

    The file is read while the caller iterates, so a large mbox is never in memory as a whole. Raises ``OSError``.
    """
    size = path.stat().st_size
    if size == 0:
        return Reason("empty_file", "The file is empty.")
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if suffix in (".mbox", ".eml") and is_mbox(head):
        return _read_mbox_arrivals(path, origin, limits.message_bytes)
    refusal = _find_refusal(suffix, head, size, limits)
    if refusal is not None:
        return refusal
    raw = path.read_bytes()
    if suffix == ".json":
        return _read_form(raw, origin)
    family, kind = (WORKBOOK, "workbook") if suffix in WORKBOOK_SUFFIXES else (MAIL, "mail")
    return iter([Arrival(family, kind, origin.source, origin.place, raw, origin.received_at, extra=origin.extra)])


def _find_refusal(suffix: str, head: bytes, size: int, limits: Limits) -> Reason | None:
    if suffix in (".xls", ".csv"):
        return Reason("unsupported_format", f"{suffix} files are not accepted: open the file in Excel and save it as .xlsx.")
    if suffix == ".mbox":
        return Reason("not_an_mbox", 'The file is not an mbox: it does not begin with a "From " line.')
    if suffix not in {*WORKBOOK_SUFFIXES, ".eml", ".json"}:
        return Reason("unsupported_format", f"Files of this kind are not accepted; accepted are {ACCEPTED_KINDS}.")
    max_bytes = limits.form_bytes if suffix == ".json" else limits.message_bytes
    if size > max_bytes:
        return Reason("too_large", f"The file has {size:,} bytes; the limit is {max_bytes:,}.")
    if suffix in WORKBOOK_SUFFIXES and not head.startswith((_ZIP, _OLE)):
        return Reason("not_a_workbook", f"The file name ends in {suffix}, but the file is not an Excel workbook.")
    if suffix == ".eml" and (head.startswith(_BINARY) or not _HEADER_FIELD.search(head)):
        return Reason("not_a_mail", "The file name ends in .eml, but the file is not a mail: it has no header.")
    return None


def _read_form(raw: bytes, origin: Origin) -> Iterator[Arrival] | Reason:
    envelope = split_envelope(raw, "application/json")
    if isinstance(envelope, Refusal):
        return Reason(envelope.code, envelope.text)
    extra = origin.extra | {"content_type": "application/json"}
    place, received_at = origin.place, origin.received_at
    return iter([Arrival(FORMSTACK, "form", origin.source, place, envelope.stored, received_at, envelope.identity, extra=extra)])


def _read_mbox_arrivals(path: Path, origin: Origin, max_bytes: int) -> Iterator[Arrival]:
    with path.open("rb") as file:
        for index, (raw, size) in enumerate(read_mbox(file, max_bytes)):
            place = f"{origin.place}:{index}"
            if size <= max_bytes:
                yield Arrival(MAIL, "mail", origin.source, place, raw, origin.received_at, extra=origin.extra)
            else:
                yield _make_oversize_arrival(raw, size, place, origin)


def _make_oversize_arrival(raw: bytes, size: int, place: str, origin: Origin) -> Arrival:
    """Return the arrival of an oversize message: only its header, under an identity of its own."""
    ends = [end for end in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n")) if end >= 0]
    header = raw[: min([*ends, MAX_HEADER_BYTES])] + b"\r\n\r\n"
    extra = origin.extra | {"size": size, "oversize": True}
    identity = f"oversize:{blobs.digest(header)}"
    return Arrival(MAIL, "oversize", origin.source, place, header, origin.received_at, identity, extra=extra)
