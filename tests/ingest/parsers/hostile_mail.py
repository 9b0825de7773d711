"""Messages built in memory to exhaust a parser, and the corpus, from which several tests make damaged messages."""

from __future__ import annotations

import random
from pathlib import Path

CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parents[2] / "corpus" / "mail").glob("*.eml"))]
HEAD = b"From: ana@customer.example\nSubject: s\nDate: Mon, 06 Oct 2025 09:15:00 +0200\n"
MIXED = HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n"
HTML = HEAD + b"Content-Type: text/html\n\n"


def _nest(depth: int) -> bytes:
    levels = (b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (n, n + 1) for n in range(depth))
    return HEAD + b"Content-Type: multipart/mixed; boundary=b0\n\n" + b"".join(levels) + b"--b%d\n\ndeep\n" % depth


def _nest_continued(depth: int) -> bytes:
    """Boundaries as RFC 2231 continuations, which a search for ``boundary=`` would miss."""
    field = b"Content-Type: multipart/mixed; boundary*0=b; boundary*1=%d\n\n"
    levels = (b"--b%d\n" % n + field % (n + 1) for n in range(depth))
    return HEAD + field % 0 + b"".join(levels) + b"--b%d\n\ndeep\n" % depth


def _list_addresses(count: int) -> bytes:
    return b", ".join(b"u%d@x.example" % n for n in range(count))


def _list_params(count: int) -> bytes:
    return b"; ".join(b"p%d=v" % n for n in range(count))


def _continue_name(count: int) -> bytes:
    return b"".join(b";filename*%d*=%%41" % n for n in range(count))


def build_hostile() -> dict[str, bytes]:
    """Return name → message. Each of them crashed or starved some parser."""
    return {
        "100,000 addresses in To": HEAD + b"To: " + _list_addresses(100_000) + b"\n\nhi",
        "100,000 addresses in From": b"From: " + _list_addresses(100_000) + b"\nSubject: s\n\nhi",
        "50,000 parameters": HEAD + b"Content-Type: text/plain; " + _list_params(50_000) + b"\n\nhi",
        "50,000 parameters of a part": MIXED + b"--b\nContent-Type: text/plain; " + _list_params(50_000) + b"\n\nhi\n",
        "many parameters of many parts": MIXED + (b"--b\nContent-Type: text/plain; " + _list_params(1_800) + b"\n\nhi\n") * 400,
        "a name in 900 pieces": MIXED + (b"--b\nContent-Disposition: attachment" + _continue_name(900) + b"\n\nhi\n") * 200,
        "500 parts in a quadratic charset": MIXED
        + (b"--b\nContent-Type: text/plain; charset=punycode\n\nabc-" + b"9" * 15_900 + b"\n") * 500,
        "a boundary number of 6,000 digits": HEAD + b"Content-Type: multipart/mixed; boundary*" + b"9" * 6_000 + b"=b\n\nhi",
        "depth 10,000": _nest(10_000),
        "depth 3,000 by continuations": _nest_continued(3_000),
        "5,000 messages in messages": (HEAD + b"Content-Type: message/rfc822\n\n") * 5_000 + b"hi",
        "100,000 parts": MIXED + b"--b\nContent-Type: text/plain\n\nx\n" * 100_000 + b"--b--",
        "100,000 parts of a digest": MIXED.replace(b"mixed", b"digest") + b"--b\n\nSubject: a\n\nx\n" * 100_000,
        "1 MB of nested divs": HTML + b"<div>" * 200_000 + b"text",
        "400 kB of nested divs": HTML + b"<div>" * 80_000 + b"text",
        "1 MB of opening brackets": HTML + b"<" * 1_000_000,
        "100,000 unclosed scripts": HTML + b"<script>" * 100_000 + b"x",
        "200,000 unclosed comments": HTML + b"<!--" * 200_000 + b"x",
        "formatting to reopen": HTML + b"".join(b"<b a=%d>" % n for n in range(49)) + b"<p>x" * 100_000,
        "500 parts of RTF": MIXED.replace(b"mixed", b"alternative")
        + (b"--b\nContent-Type: text/rtf\n\n" + b"{\\b" * 12_000 + b"\n") * 500,
        "400 winmail.dat of nothing but beginnings": MIXED
        + (b"--b\nContent-Type: application/ms-tnef\n\n\x78\x9f\x3e\x22\1\0" + b"\2\2\x90\6\0\0\0\0\0\0\0" * 4_000 + b"\n") * 400,
        "500 invites": MIXED + (b"--b\nContent-Type: text/calendar\n\nBEGIN:VEVENT\n" + b'A;B="' * 9_000 + b"\n") * 500,
        "8 MB of uuencoded beginnings": HEAD + b"\n" + b"begin 644 a\nM\n" * 570_000,
        "a forward of 1 MB of markers": b"From: a@x.example\nSubject: Fwd: s\n\n"
        + b"From: a\nTo: b\n----- Forwarded message -----\n" * 22_000,
        "40 kB lines of who wrote when": b"From: a@x.example\nSubject: Fw: s\n\n"
        + (b"On Mon, Oct 6 Ana wrote: " * 1_600 + b"\n") * 50,
        "500 ends with parts after them": MIXED + b"--b--\n--b\n\nx\n" * 250_000,
        "question marks in an encoded word": b"Subject: " + b"=?a?q?" + b"?x" * 40_000 + b"\n" + HEAD + b"\nhi",
        "an encoded CRLF in Subject": b"Subject: =?utf-8?Q?s=0D=0ABcc:_x@x.example?=\nFrom: a@x.example\n\nhi",
        "5 angles in Message-ID": HEAD + b"Message-ID: <<<<<\n\nhi",
        "100,000 header lines": HEAD + b"X-A: b\n" * 100_000 + b"\nhi",
        "a header of 5 MB": HEAD + b"X-A: " + b"b" * 5_000_000,
        "90,000 angles in Message-ID": HEAD + b"Message-ID: " + b"<" * 90_000 + b"\n\nhi",
        "quotes and backslashes": b"From: " + b'"\\' * 45_000 + b"\nSubject: s\n\nhi",
        "90,000 quotes": b"From: " + b'"' * 90_000 + b"\nSubject: s\n\nhi",
        "90,000 open comments": b"From: " + b"(" * 90_000 + b"\nSubject: s\n\nhi",
        "comments in Auto-Submitted": HEAD + b"Auto-Submitted: " + b"(" * 90_000 + b"\n\nhi",
        "half encoded words": b"Subject: " + b"=?a?q?" * 15_000 + b"\n" + HEAD + b"\nhi",
        "1,000,000 dashed lines": MIXED + b"--b\n\nhi\n" + b"--x\n" * 1_000_000,
        "5,000,000 carriage returns": HEAD + b"\n" + b"\r" * 5_000_000,
        "8 MB of random bytes after a header": HEAD + b"\n" + random.Random(7).randbytes(8_000_000),
        "60 MB": HEAD + b"\n" + b"hello world this is text\n" * 2_400_000,
    }
