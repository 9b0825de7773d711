"""Read winmail.dat: the files and the text of a TNEF stream (MS-OXTNEF) as far as it is intact. Never raises."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest.parsers.mail.charsets import decode_text
from ingest.parsers.mail.text_formats import read_rtf

SIGNATURE = 0x223E9F78
MAX_FILES = 500
#: Unpacked size of a compressed RTF body.
MAX_RTF_BYTES = 300_000

_BODY, _MESSAGE_PROPS, _CODEPAGE = 0x0002800C, 0x00069003, 0x00069007
_NEW_FILE, _FILE_NAME, _FILE_DATA, _FILE_PROPS = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
_LONG_NAME, _SHORT_NAME, _DATA, _MIME_TYPE, _CONTENT_ID = 0x3707, 0x3704, 0x3701, 0x370E, 0x3712
_TEXT, _COMPRESSED_RTF, _HTML = 0x1000, 0x1009, 0x1013
#: Property type → size of a value in bytes; None means that a length precedes each value.
_SIZES = {
    0x02: 2, 0x03: 4, 0x04: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x0A: 4, 0x0B: 2, 0x14: 8, 0x40: 8, 0x48: 16,
    0x0D: None, 0x1E: None, 0x1F: None, 0x102: None,
}  # fmt: skip
_MULTIPLE = 0x1000
_RTF_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans SerifSymbolArial"
    rb"Times New RomanCourier{\colortbl\red0\green0\blue0" b"\r\n" rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)  # fmt: skip


@dataclass(slots=True)
class TnefFile:
    """One file of the stream."""

    name: str = ""
    type: str = ""
    content_id: str = ""
    content: bytes = b""


@dataclass(slots=True)
class Tnef:
    """The content of a stream. ``damaged`` is True when the stream is truncated or not TNEF."""

    text: str = ""
    html: bytes = b""
    files: list[TnefFile] = field(default_factory=list)
    damaged: bool = False


def read_tnef(data: bytes) -> Tnef:
    """Return the files and the text of a stream, at most MAX_FILES files."""
    found = Tnef()
    codec = "cp1252"
    try:
        for attribute, value in _read_attributes(data):
            if attribute == _CODEPAGE and len(value) >= 4:
                codec = f"cp{struct.unpack_from('<I', value)[0]}"
            elif attribute == _NEW_FILE:
                found.files.append(TnefFile())
            elif attribute == _BODY:
                found.text = found.text or decode_text(value.rstrip(b"\0"), codec)[0]
            elif attribute == _MESSAGE_PROPS:
                _apply_message_properties(found, value, codec)
            elif found.files:
                _apply_file_attribute(found.files[-1], attribute, value, codec)
            if len(found.files) > MAX_FILES:
                raise ValueError
    except (ValueError, IndexError, struct.error):
        found.damaged = True
    found.files = [one for one in found.files if one.content][:MAX_FILES]
    return found


def _read_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    if len(data) < 6 or struct.unpack_from("<I", data)[0] != SIGNATURE:
        raise ValueError
    position = 6
    while position < len(data):
        attribute, length = struct.unpack_from("<II", data, position + 1)
        start = position + 9
        # A checksum of two bytes follows the value.
        position = start + length + 2
        if position > len(data):
            raise ValueError
        yield attribute, data[start : start + length]


def _apply_file_attribute(file: TnefFile, attribute: int, value: bytes, codec: str) -> None:
    if attribute == _FILE_NAME:
        file.name = file.name or decode_text(value.rstrip(b"\0"), codec)[0]
    elif attribute == _FILE_DATA:
        file.content = value
    elif attribute == _FILE_PROPS:
        for tag, kind, one in _read_properties(value):
            text = _decode_property(kind, one, codec)
            if tag == _LONG_NAME and text:
                file.name = text
            elif tag == _SHORT_NAME:
                file.name = file.name or text
            elif tag == _MIME_TYPE:
                file.type = text
            elif tag == _CONTENT_ID:
                file.content_id = text
            elif tag == _DATA and not file.content:
                # An object begins with the id of its interface.
                file.content = one[16:] if kind == 0x0D else one


def _apply_message_properties(found: Tnef, value: bytes, codec: str) -> None:
    for tag, kind, one in _read_properties(value):
        if tag == _TEXT:
            found.text = _decode_property(kind, one, codec) or found.text
        elif tag == _HTML:
            found.html = one
        elif tag == _COMPRESSED_RTF and not found.text:
            found.text = read_rtf(unpack_rtf(one))


def _decode_property(kind: int, value: bytes, codec: str) -> str:
    if kind == 0x1F:
        return value.decode("utf-16-le", "replace").rstrip("\0")
    return decode_text(value.rstrip(b"\0"), codec)[0] if kind == 0x1E else ""


def _read_properties(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield id, type and first value of each MAPI property (MS-OXTNEF §2.1.3.4)."""
    (count,) = struct.unpack_from("<I", data)
    position = 4
    for _ in range(min(count, 10_000)):
        kind, tag = struct.unpack_from("<HH", data, position)
        position += 4
        if tag >= 0x8000:
            position = _skip_name(data, position)
        size = _SIZES.get(kind & ~_MULTIPLE, 0)
        if size == 0:
            raise ValueError
        number = 1
        if size is None or kind & _MULTIPLE:
            (number,) = struct.unpack_from("<I", data, position)
            position += 4
        first = b""
        for index in range(number):
            length = size
            if length is None:
                (length,) = struct.unpack_from("<I", data, position)
                position += 4
            if position + length > len(data):
                raise ValueError
            first = data[position : position + length] if index == 0 else first
            position += length + -length % 4
        yield tag, kind, first


def _skip_name(data: bytes, position: int) -> int:
    """Return the offset after the name of a named property: the id of a set, a kind, and a number or a text."""
    kind, value = struct.unpack_from("<II", data, position + 16)
    return position + 24 + (value + -value % 4 if kind else 0)


def unpack_rtf(data: bytes) -> bytes:
    """Decompress RTF (MS-OXRTFCP): runs of a 4,096-byte window, or the uncompressed text.

    Raises ValueError for anything else. Returns at most MAX_RTF_BYTES.
    """
    _, size, magic = struct.unpack_from("<III", data)
    if magic == 0x414C454D:
        return data[16 : 16 + size]
    if magic != 0x75465A4C:
        raise ValueError
    size = min(size, MAX_RTF_BYTES)
    out, prefix_length = bytearray(_RTF_START), len(_RTF_START)
    position = 16
    while position < len(data) and len(out) - prefix_length < size:
        flags = data[position]
        position += 1
        for bit in range(8):
            if position >= len(data) or len(out) - prefix_length >= size:
                break
            if not flags >> bit & 1:
                out.append(data[position])
                position += 1
                continue
            token = int.from_bytes(data[position : position + 2], "big")
            position += 2
            # The window is circular: an offset in it is a position in the last 4,096 bytes.
            back = (len(out) - (token >> 4)) % 4096
            if back == 0:
                return bytes(out[prefix_length:])
            for _ in range((token & 15) + 2):
                out.append(out[-back] if back <= len(out) else 0x20)
    return bytes(out[prefix_length : prefix_length + size])
