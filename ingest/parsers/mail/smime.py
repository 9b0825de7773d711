"""Unwrap opaque S/MIME (RFC 8551 §3.5): return the signed content. No signature is checked. Never raises."""

from __future__ import annotations

from collections.abc import Iterator

_SIGNED = bytes.fromhex("2a864886f70d010702")
_ENCRYPTED = (bytes.fromhex("2a864886f70d010703"), bytes.fromhex("2a864886f70d0109100117"))
_OID, _OCTETS, _CONTENT = 0x06, 0x04, 0xA0
MAX_DEPTH, MAX_ELEMENTS = 12, 10_000


def read_signed(data: bytes) -> bytes | None:
    """Return the content of a SignedData (RFC 5652 §5), DER or BER, or None when there is none."""
    if data[:20].find(_SIGNED) < 0:
        return None
    try:
        inner = _open_element(_open_element(data, 0x30), _CONTENT)
        encapsulated = _open_element(_open_element(inner, 0x30), 0x30)
        return _join_octets(_open_element(encapsulated, _CONTENT), 0)
    except (ValueError, IndexError, RecursionError):
        return None


def is_encrypted(data: bytes) -> bool:
    """Whether the data is an EnvelopedData or AuthEnvelopedData."""
    return any(oid in data[:30] for oid in _ENCRYPTED)


def _open_element(data: bytes, wanted: int) -> bytes:
    for tag, value in _iterate_elements(data):
        if tag == wanted:
            return value
    raise ValueError


def _join_octets(data: bytes, depth: int) -> bytes:
    """Return the octets of a string. Large mail programs write a string in pieces."""
    if depth > MAX_DEPTH:
        raise ValueError
    pieces = []
    for tag, value in _iterate_elements(data):
        if tag == _OCTETS:
            pieces.append(value)
        elif tag == _OCTETS | 0x20:
            pieces.append(_join_octets(value, depth + 1))
    return b"".join(pieces)


def _iterate_elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and value of each element of a sequence."""
    position = count = 0
    while position < len(data):
        tag, start, end, after = _read_element(data, position, 0)
        count += 1
        if count > MAX_ELEMENTS or (tag, start) == (0, end):
            return
        yield tag, data[start:end]
        position = after


def _read_element(data: bytes, position: int, depth: int) -> tuple[int, int, int, int]:
    """Return the tag, the start and end of the value, and the offset after the element (X.690 §8.1).

    The end of an indefinite length is searched.
    """
    if depth > MAX_DEPTH:
        raise ValueError
    tag, length, start = data[position], data[position + 1], position + 2
    if length == 0x80:
        end = start
        while data[end : end + 2] != b"\0\0":
            end = _read_element(data, end, depth + 1)[3]
        return tag, start, end, end + 2
    if length > 0x80:
        octets = length & 0x7F
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    return tag, start, min(start + length, len(data)), start + length
