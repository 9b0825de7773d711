"""Refuse dangerous workbooks before openpyxl sees their bytes (formstack.md, "Secure-message workbooks").

openpyxl trusts what a file declares: sizes, encodings, the type of a part. This module therefore opens the container first,
unpacks every part once within a budget, and passes on only a workbook that is within the limits. Password-protected files
([MS-OFFCRYPTO] 2.3.4) are decrypted and then checked like any other.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence

import msoffcrypto
import olefile  # type: ignore[import-untyped]

from ingest.parsers.types import Refusal

MAX_UNPACKED_BYTES = 20 * 1024 * 1024
MAX_COMPRESSION_RATIO = 100
MAX_ENTRIES = 200
#: Tags of all parts together, start and end tags counted separately. The largest allowed workbook has half as many. Twenty
#: megabytes of ``<c/>`` have five million, for which the parser needs 600 MB.
MAX_TAGS = 3_000_000
#: Excel writes 100,000. The format allows ten million, which takes a minute per password.
MAX_SPIN_COUNT = 1_000_000
_CHUNK_BYTES = 64 * 1024

_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_NAME = "EncryptedPackage".encode("utf-16-le")
_CENTRAL_ENTRY = b"PK\x01\x02"
_CONTENT_TYPES = "[Content_Types].xml"
_MAIN_PARTS = (
    "spreadsheetml.sheet.main+xml",
    "spreadsheetml.template.main+xml",
    "ms-excel.sheet.macroenabled.main+xml",
    "ms-excel.template.macroenabled.main+xml",
)
_STRICT = b"http://purl.oclc.org/ooxml/spreadsheetml/main"
_XLSB_PART = "ms-excel.sheet.binary.macroenabled.main"
_DOCTYPE_MARKERS = tuple(
    mark.encode(encoding) for mark in ("<!DOCTYPE", "<!ENTITY") for encoding in ("ascii", "utf-16-le", "utf-16-be")
)
# A declared encoding decides how the parser reads what follows; any other than these could hide a DOCTYPE from
# the search above (pyexpat takes every 8-bit codec Python knows, EBCDIC among them).
_ENCODINGS = frozenset({"utf-8", "utf8", "utf-16", "us-ascii", "ascii", "iso-8859-1", "windows-1252"})
_DECLARED = re.compile(r"<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']*)[\"']")

NOT_A_WORKBOOK = "The file is not an Excel workbook (.xlsx or .xlsm)."


def open_container(data: bytes, passwords: Sequence[str]) -> bytes | Refusal:
    """Return ``data`` when it is a harmless workbook, decrypted when one of ``passwords`` opens it.

    Refusals: ``empty_file``, ``xls_workbook``, ``xlsb_workbook``, ``strict_workbook``, ``ods_workbook``, ``csv_file``,
    ``not_a_workbook``, ``workbook_encrypted``, ``workbook_damaged``, ``too_big``, ``packed_too_dense``, ``too_many_entries``,
    ``too_many_elements``, ``document_type``, ``unknown_encoding``. Never raises except MemoryError.
    """
    if data.startswith(_OLE_MAGIC):
        opened = _open_ole(data, passwords)
        if isinstance(opened, Refusal):
            return opened
        data = opened
    if not data.startswith(b"PK"):
        return _refuse_other_format(data)
    return _guard_zip(data) or data


def _open_ole(data: bytes, passwords: Sequence[str]) -> bytes | Refusal:
    """Open an OLE container: an encrypted workbook, an old .xls, or another Office file."""
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as ole:
            if ole.exists("EncryptedPackage") and ole.exists("EncryptionInfo"):
                problem = _check_encryption(ole.openstream("EncryptionInfo").read())
                return problem or _decrypt(data, passwords)
            old = ole.exists("Workbook") or ole.exists("Book")
    except MemoryError:
        # The process reached its memory limit: a retry may succeed.
        raise
    except Exception:
        # olefile raises various exceptions for a broken container.
        if _ENCRYPTED_NAME in data:
            return Refusal("workbook_damaged", "The protected workbook is damaged or was cut off.")
        old = True
    if old:
        return _refuse_format("xls_workbook", "an old Excel workbook (.xls)")
    return Refusal("not_a_workbook", NOT_A_WORKBOOK)


def _check_encryption(info: bytes) -> Refusal | None:
    """Refuse entities and excessive rounds: msoffcrypto expands the one and trusts the other."""
    if any(marker in info for marker in _DOCTYPE_MARKERS):
        return _refuse_document_type()
    rounds = re.search(rb"spinCount\s*=\s*[\"']0*(\d{1,12})", info)
    if rounds and int(rounds[1]) > MAX_SPIN_COUNT:
        return Refusal("workbook_encrypted", "The workbook's encryption asks for far too much work to open it.")
    return None


def _decrypt(data: bytes, passwords: Sequence[str]) -> bytes | Refusal:
    """Return the workbook inside, opened by the first matching password. msoffcrypto treats an empty password as none."""
    for password in filter(None, passwords):
        opened = _try_password(data, password)
        if opened is not None:
            return opened
    return Refusal("workbook_encrypted", "The workbook is protected by a password, and no configured password opens it.")


def _try_password(data: bytes, password: str) -> bytes | None:
    unpacked = io.BytesIO()
    try:
        office = msoffcrypto.OfficeFile(io.BytesIO(data))
        office.load_key(password=password, verify_password=True)
        office.decrypt(unpacked)
    except MemoryError:
        # The process reached its memory limit: a retry may succeed.
        raise
    except Exception:
        # A wrong password, or one of the many errors of a damaged container.
        return None
    return unpacked.getvalue()


def _guard_zip(data: bytes) -> Refusal | None:
    # Counted first, because zipfile creates an object for each of possibly millions of entries.
    if data.count(_CENTRAL_ENTRY) > 100 * MAX_ENTRIES:
        return _refuse_entries()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if len(archive.infolist()) > MAX_ENTRIES:
                return _refuse_entries()
            return _guard_parts(archive, len(data))
    except MemoryError:
        # The process reached its memory limit: a retry may succeed.
        raise
    except Exception:
        # zipfile, zlib and struct raise different exceptions for a broken archive.
        return Refusal("workbook_damaged", "The file is damaged or was cut off: it cannot be unpacked.")


def _guard_parts(archive: zipfile.ZipFile, packed: int) -> Refusal | None:
    """Unpack every entry: the sizes in the directory of the archive are not trusted."""
    total, tags, content_types = 0, 0, ""
    found: Refusal | None = None
    for entry in archive.infolist():
        part = bytearray()
        for chunk in _read_chunks(archive, entry):
            part += chunk
            if problem := _check_size(total + len(part), packed):
                return problem
        total += len(part)
        tags += part.count(b"<")
        if tags > MAX_TAGS:
            return Refusal("too_many_elements", "The workbook is made of far more elements than its rows need.")
        found = found or _check_part(entry.filename, part)
        if entry.filename == _CONTENT_TYPES:
            content_types = _decode_part(part).lower()
    # The format explains more than a defect inside: an old .ods has a valid DOCTYPE.
    return _check_kind(content_types, archive) or found


def _read_chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # The header of LZMA can request gigabytes.
        raise zipfile.BadZipFile("a method no workbook uses")
    with archive.open(entry) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _check_size(unpacked: int, packed: int) -> Refusal | None:
    if unpacked > MAX_UNPACKED_BYTES:
        return Refusal("too_big", f"The workbook is larger than {MAX_UNPACKED_BYTES // 1024**2} MB when unpacked.")
    if unpacked > MAX_COMPRESSION_RATIO * packed:
        return Refusal("packed_too_dense", f"The workbook unpacks to more than {MAX_COMPRESSION_RATIO} times its size.")
    return None


def _check_part(name: str, part: bytearray) -> Refusal | None:
    """Refuse a document type in any part, of any name, and an encoding that could hide one."""
    if any(marker in part for marker in _DOCTYPE_MARKERS):
        return _refuse_document_type()
    if name.lower().endswith("/workbook.xml") and _STRICT in part:
        return _refuse_format("strict_workbook", 'a "Strict Open XML" workbook')
    is_xml = name.lower().endswith((".xml", ".rels", ".vml")) or part[:64].lstrip()[:1] == b"<"
    if part.startswith((b"\x4c\x6f\xa7\x94", b"\x00\x00\x00<", b"<\x00\x00\x00", b"\xff\xfe\x00\x00")):
        return _refuse_encoding()
    declared = _DECLARED.search(_decode_part(part[:2048])) if is_xml or b"xml" in part[:64] else None
    if declared and declared[1].strip().lower() not in _ENCODINGS:
        return _refuse_encoding()
    return None


def _decode_part(part: bytes | bytearray) -> str:
    """Decode a part well enough to search it: UTF-16 by its byte order mark or zero bytes, else one character a byte."""
    if part[:2] in (b"\xff\xfe", b"<\x00"):
        return part.decode("utf-16-le", "replace")
    if part[:2] in (b"\xfe\xff", b"\x00<"):
        return part.decode("utf-16-be", "replace")
    return part.decode("latin-1")


def _check_kind(content_types: str, archive: zipfile.ZipFile) -> Refusal | None:
    """Check what the package declares to contain. The name of the file is ignored."""
    if any(kind in content_types for kind in _MAIN_PARTS):
        return None
    if _XLSB_PART in content_types:
        return _refuse_format("xlsb_workbook", "a binary Excel workbook (.xlsb)")
    if "mimetype" in archive.namelist() and b"opendocument.spreadsheet" in archive.read("mimetype")[:200]:
        return _refuse_format("ods_workbook", "an OpenDocument spreadsheet (.ods)")
    if "wordprocessingml" in content_types:
        return Refusal("not_a_workbook", f"{NOT_A_WORKBOOK} It is a Word document.")
    return Refusal("not_a_workbook", NOT_A_WORKBOOK)


def _refuse_other_format(data: bytes) -> Refusal:
    """Refuse a file that is no container and name its likely format, so that the sender knows what to do."""
    head = data[:4096]
    if not head.strip():
        return Refusal("empty_file", "The file is empty.")
    text = _decode_part(head)
    if re.search(r"<html|<table|<!doctype html|urn:schemas-microsoft-com:office:spreadsheet", text, re.IGNORECASE):
        return _refuse_format("not_a_workbook", "a web page or XML saved under an Excel name")
    is_text = not re.search(r"[\x00-\x08\x0e-\x1f]", text)
    if is_text and re.search(r"[,;\t]", text.lstrip("\r\n").split("\n", 1)[0]):
        return _refuse_format("csv_file", "a text table (.csv)")
    return Refusal("not_a_workbook", NOT_A_WORKBOOK)


def _refuse_format(code: str, kind: str) -> Refusal:
    return Refusal(code, f"The file is {kind}. Open it in Excel and save it as an Excel workbook (.xlsx).")


def _refuse_entries() -> Refusal:
    return Refusal("too_many_entries", f"The file holds more than {MAX_ENTRIES} parts; a workbook has a few dozen.")


def _refuse_document_type() -> Refusal:
    return Refusal("document_type", "A part of the workbook holds a DOCTYPE or ENTITY; Excel never writes one.")


def _refuse_encoding() -> Refusal:
    return Refusal("unknown_encoding", "A part of the workbook is in an encoding Excel does not write.")
