"""Workbooks refused before openpyxl reads them: the edges of the limits. The corpus holds one file of most formats."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import pytest

from ingest.parsers.types import Refusal
from ingest.parsers.workbook.guard import MAX_COMPRESSION_RATIO, MAX_ENTRIES, MAX_UNPACKED_BYTES, open_container
from tests.corpus.workbooks.build import (
    DATA,
    FOLDER,
    PASSWORD,
    build_encrypted,
    build_plain,
    make_parts,
    with_sheet,
    zip_parts,
)

PLAIN = zip_parts(make_parts(DATA))


def refuse(data: bytes, *passwords: str) -> str:
    refusal = open_container(data, passwords)
    assert isinstance(refusal, Refusal)
    return refusal.code


def make_noise(size: int) -> bytes:
    """Return bytes that deflate to about a twentieth."""
    pieces = [random.Random(number).randbytes(50) for number in range(size // 1000)]
    return b"".join(piece.ljust(1000, b" ") for piece in pieces)


def test_harmless_workbook_is_returned_unchanged() -> None:
    assert open_container(PLAIN, ()) == PLAIN


def test_encrypted_workbook_is_returned_decrypted() -> None:
    opened = open_container((FOLDER / "encrypted.xlsx").read_bytes(), ("", "wrong", PASSWORD))
    assert isinstance(opened, bytes)
    assert opened.startswith(b"PK")


@pytest.mark.parametrize("passwords", [(), ("",), ("wrong", "worse")])
def test_encrypted_workbook_is_refused_without_its_password(passwords: tuple[str, ...]) -> None:
    assert refuse((FOLDER / "encrypted.xlsx").read_bytes(), *passwords) == "workbook_encrypted"


def test_decrypted_workbook_is_checked_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zip_parts({**make_parts(DATA), "xl/a.bin": bytes(5_000_000)})
    monkeypatch.setattr("tests.corpus.workbooks.build.build_plain", lambda: bomb)
    assert refuse(build_encrypted(), PASSWORD) == "packed_too_dense"


def test_encryption_with_excessive_rounds_is_refused() -> None:
    sealed = (FOLDER / "encrypted.xlsx").read_bytes()
    assert sealed.count(b'spinCount="100000"') == 1
    endless = open_container(sealed.replace(b'spinCount="100000" ', b'spinCount="9999999"'), (PASSWORD,))
    assert isinstance(endless, Refusal)
    assert "work" in endless.text


def test_twenty_megabytes_are_counted_over_all_parts() -> None:
    noise = make_noise(MAX_UNPACKED_BYTES // 2 + 1000)
    parts = make_parts(DATA)
    assert isinstance(open_container(zip_parts({**parts, "a": noise, "b": noise[:-100_000]}), ()), bytes)
    assert refuse(zip_parts({**parts, "a": noise, "b": noise})) == "too_big"


def test_declared_size_of_a_part_is_not_trusted() -> None:
    """The directory declares 10 bytes; the part unpacks to 200,000."""
    packed = bytearray(zip_parts({**make_parts(DATA), "xl/big.xml": b"<a>" + b"x" * 200_000 + b"</a>"}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = packed.rindex(signature) + offset
        packed[at : at + 4] = struct.pack("<I", 10)
    assert refuse(bytes(packed)) == "workbook_damaged"


def test_a_ratio_of_a_hundred_is_the_limit() -> None:
    padding = random.Random(1).randbytes(30_000)
    parts = {**make_parts(DATA), "pad.bin": padding}
    size = len(zip_parts({**parts, "z.bin": bytes(2_500_000)}))
    assert isinstance(open_container(zip_parts({**parts, "z.bin": bytes(2_500_000)}), ()), bytes)
    assert refuse(zip_parts({**parts, "z.bin": bytes(MAX_COMPRESSION_RATIO * size + 100_000)})) == "packed_too_dense"


def test_two_hundred_entries_are_the_limit() -> None:
    parts = make_parts(DATA)
    more = {f"x/{number}": random.Random(number).randbytes(9) for number in range(MAX_ENTRIES - len(parts))}
    assert isinstance(open_container(zip_parts({**parts, **more}), ()), bytes)
    assert refuse(zip_parts({**parts, **more, "x/last": b"1"})) == "too_many_entries"


def test_a_sheet_of_millions_of_empty_elements_is_refused() -> None:
    padding = random.Random(1).randbytes(130_000)
    for content in (b"<c/>" * 3_100_000, b"<c>" * 1_550_000 + b"</c>" * 1_550_000):
        parts = {**make_parts(DATA), "pad.bin": padding, "xl/worksheets/sheet1.xml": b"<row>" + content + b"</row>"}
        assert refuse(zip_parts(parts)) == "too_many_elements"


def test_a_directory_of_millions_is_refused_before_it_is_read() -> None:
    assert refuse(PLAIN + b"PK\x01\x02" * 100_000) == "too_many_entries"


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_compression_method_is_refused(method: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, part in make_parts(DATA).items():
            archive.writestr(name, part)
    assert refuse(packed.getvalue()) == "workbook_damaged"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("marker", ["<!DOCTYPE w>", '<!ENTITY a "b">'])
def test_a_document_type_is_found_in_any_encoding(encoding: str, marker: str) -> None:
    assert refuse(with_sheet(f"<?xml version='1.0'?>{marker}<worksheet/>".encode(encoding))) == "document_type"


@pytest.mark.parametrize("distance", range(65_536 - 12, 65_536 + 2, 3))
def test_a_document_type_is_found_where_two_chunks_meet(distance: int) -> None:
    assert refuse(with_sheet(b"<?xml version='1.0'?>".ljust(distance) + b"<!DOCTYPE w><worksheet/>")) == "document_type"


def test_a_document_type_is_found_in_a_part_of_any_name() -> None:
    assert refuse(zip_parts({**make_parts(DATA), "xl/sheet.bin": b"<!DOCTYPE w><w/>"})) == "document_type"


@pytest.mark.parametrize("name", ["UTF-7", "cp037", "utf_8", "rot13", "utf-32", ""])
@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/sheet.bin"])
def test_encoding_that_could_hide_a_document_type_is_refused(name: str, part: str) -> None:
    content = f"<?xml version='1.0' encoding='{name}'?><worksheet/>".encode()
    assert refuse(zip_parts({**make_parts(DATA), part: content})) == "unknown_encoding"


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be", "utf-32", "cp037"])
def test_a_part_in_wide_or_foreign_characters_is_refused(encoding: str) -> None:
    content = "<?xml version='1.0'?><worksheet/>".encode(encoding)
    assert refuse(with_sheet(content)) in ("unknown_encoding", "workbook_damaged")


@pytest.mark.parametrize("length", range(0, 5_100, 300))
def test_a_file_cut_off_anywhere_is_refused(length: int) -> None:
    assert refuse(build_plain()[:length]) in ("workbook_damaged", "empty_file")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xef\xbb\xbfSubject;Message\n1;2\n", "csv_file"),
        ("Subject\tMessage\r\n".encode("utf-16"), "csv_file"),
        (b"\r\n\r\n", "empty_file"),
        (b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>', "not_a_workbook"),
        (b"one line of prose", "not_a_workbook"),
        (b"PK", "workbook_damaged"),
    ],
)
def test_other_formats_are_named_by_their_code(data: bytes, code: str) -> None:
    assert refuse(data) == code
