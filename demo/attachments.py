"""Generated attachments of the sample mails: a PNG picture and a PDF document."""

from __future__ import annotations

import struct
import zlib


def make_png(width: int = 96, height: int = 32) -> bytes:
    """Return a picture of two coloured bands, such as a logo in a signature (PNG, W3C third edition)."""
    band = (b"\x1f\x7a\x8c", b"\xe1\xe5\xf2")
    rows = b"".join(b"\0" + band[2 * y // height] * width for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_pdf(title: str, lines: int = 780) -> bytes:
    """Return a one-page PDF of about 50 kB with ``title`` and remittance lines, uncompressed (ISO 32000-1, 7.5)."""
    shown = [title, *(f"Line {n:04d}  CPT 99213  billed 145.00  allowed 92.{n % 100:02d}  adj CO-45" for n in range(lines))]
    text = "\n".join(f"({line}) '" for line in shown)
    stream = f"BT /F1 8 Tf 10 TL 36 760 Td\n{text}\nET".encode("ascii")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>",
    ]
    return _assemble(objects)


def _assemble(objects: list[bytes]) -> bytes:
    document, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(document))
    return document + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer
