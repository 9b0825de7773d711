"""Wrapped parts beyond the corpus: damaged and hostile containers."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parsers.mail.parts import Leaf
from ingest.parsers.mail.smime import is_encrypted, read_signed
from ingest.parsers.mail.text_formats import read_calendar, read_enriched, read_rtf
from ingest.parsers.mail.tnef import SIGNATURE, read_tnef, unpack_rtf
from ingest.parsers.mail.wrapped_parts import MAX_UNWRAPPED, unwrap_leaves

TNEF_HEADER = struct.pack("<IH", SIGNATURE, 1)
SIGNED = bytes.fromhex("06092a864886f70d010702")
READERS: dict[str, Callable[[bytes], object]] = {
    "tnef": lambda data: read_tnef(TNEF_HEADER + data),
    "signed": lambda data: read_signed(b"\x30\x80" + SIGNED + data),
    "rtf": lambda data: read_rtf(b"{\\rtf1 " + data),
    "enriched": lambda data: read_enriched(data.decode("latin-1")),
    "calendar": lambda data: read_calendar("BEGIN:VEVENT\n" + data.decode("latin-1")),
    "uuencoded": lambda data: unwrap_leaves([Leaf("text/plain", b"begin 644 a\n" + data)], [], lambda _: []),
}
HOSTILE = {
    "tnef": struct.pack("<BII", 2, 0x00069002, 0) * 100_000,
    "signed": b"\x30\x80" * 100_000,
    "rtf": b"{\\b" * 300_000 + b"}" * 300_000,
    "enriched": b"<param>" * 100_000 + b"<<" * 100_000,
    "calendar": b'A;B="' * 100_000 + b"\nEND:VEVENT\nBEGIN:VEVENT" * 30_000,
    "uuencoded": b"begin 644 a\nMxx\n" * 50_000,
}


@pytest.mark.parametrize("name", READERS)
@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_bytes_raise(name: str, data: bytes) -> None:
    READERS[name](data)


@pytest.mark.parametrize("name", READERS)
def test_a_hostile_container_takes_linear_time(name: str) -> None:
    start = time.process_time()
    READERS[name](HOSTILE[name])
    assert time.process_time() - start < 3


def test_compressed_rtf_is_unpacked_by_its_window() -> None:
    # MS-OXRTFCP §4.1.1: the first example of the specification. It refers to the initial text of the window.
    packed = bytes.fromhex("2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0")
    assert unpack_rtf(packed) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert read_rtf(unpack_rtf(packed)) == "hello world"


def test_other_data_is_not_opened() -> None:
    leaf = Leaf("application/ms-tnef", b"no stream", name="winmail.dat")
    notes: list[str] = []
    assert unwrap_leaves([leaf], notes, lambda _: []) == [leaf]
    assert (read_signed(b"no structure"), is_encrypted(b"no structure")) == (None, False)


def test_nested_containers_are_opened_up_to_the_limit() -> None:
    content = b"\x30\x2a" + SIGNED + b"\xa0\x1d\x30\x1b\x02\x01\x01\x31\x00\x30\x14" + bytes.fromhex("06092a864886f70d010701")
    content += b"\xa0\x07\x04\x05again"
    opened: list[bytes] = []

    def read_entity(data: bytes) -> list[Leaf]:
        opened.append(data)
        return [Leaf("application/pkcs7-mime", content)]

    found = unwrap_leaves([Leaf("application/pkcs7-mime", content)], [], read_entity)
    assert (opened, len(found)) == ([b"again"] * MAX_UNWRAPPED, 1)
