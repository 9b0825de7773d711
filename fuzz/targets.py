"""The fuzz targets: name → a function of bytes that must never raise, hang, or need much memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from ingest.parsers.types import ParseOptions, Refusal

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
SHEET = "xl/worksheets/sheet1.xml"
MAIL_HEAD = b"From: ana@customer.example\nSubject: Fwd: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"


def _mail(data: bytes) -> None:
    import msgspec

    from ingest.parsers.mail.message import parse_mail

    for raw in (data, MAIL_HEAD + data):
        found = parse_mail(raw, ParseOptions(html_text=True))
        if isinstance(found, Refusal) and found.code not in ("empty", "not_a_mail"):
            raise RuntimeError(found.code)
        msgspec.msgpack.encode(found)


def _forward(data: bytes) -> None:
    from ingest.parsers.forward.original import find_inline_forward

    subject, _, body = data.decode("utf-8", "replace").partition("\n")
    find_inline_forward(subject, body)
    find_inline_forward("Fwd: s", body)


def _wrapped(data: bytes) -> None:
    from ingest.parsers.mail.smime import read_signed
    from ingest.parsers.mail.text_formats import read_calendar, read_enriched, read_rtf
    from ingest.parsers.mail.tnef import read_tnef

    text = data.decode("utf-8", "replace")
    read_tnef(b"\x78\x9f\x3e\x22\x01\x00" + data)
    read_signed(b"\x30\x80\x06\x09" + bytes.fromhex("2a864886f70d010702") + data)
    read_rtf(data)
    read_enriched(text)
    read_calendar("BEGIN:VEVENT\n" + text)


def _html(data: bytes) -> None:
    from ingest.parsers.mail.html_text import html_to_text, sanitise_html
    from ingest.parsers.reply.html_quotes import extract_quote_marks, has_quote_element, insert_quote_marks

    text = data.decode("utf-8", "replace")
    html_to_text(text)
    sanitise_html(text)
    has_quote_element(data)
    extract_quote_marks(html_to_text(insert_quote_marks(text))[0])


def _form(data: bytes) -> None:
    from ingest.parsers.form.submission import parse_form

    parse_form(data, ParseOptions(content_type="application/json"))
    parse_form(data, ParseOptions(content_type="application/x-www-form-urlencoded"))


def _workbook(data: bytes) -> None:
    from ingest.parsers.workbook.parse import parse_workbook

    parse_workbook(data, ParseOptions())


def _sheet(data: bytes) -> None:
    """Fuzz the XML of a sheet in a sound container: mutated containers seldom get past the checksums of the zip."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as container:
        for name, part in _sound_parts().items():
            container.writestr(name, data if name == SHEET else part)
    _workbook(made.getvalue())


@cache
def _sound_parts() -> dict[str, bytes]:
    with zipfile.ZipFile(CORPUS / "workbooks" / "plain.xlsx") as container:
        return {name: container.read(name) for name in container.namelist()}


def _reply(data: bytes) -> None:
    from ingest.parsers.reply.split import split_reply
    from ingest.parsers.reply.thanks import find_thanks

    text = data.decode("utf-8", "replace")
    split = split_reply(text, subject="Re: s")
    find_thanks(split.reply, "Ana Beispiel")
    find_thanks(text)


def _sender(data: bytes) -> None:
    from ingest.parsers.mail.addresses import read_list, read_mailbox, scan_addresses
    from ingest.parsers.mail.authentication import read_authentication

    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    scan_addresses(text)
    read_mailbox(text)
    read_list(lines)
    read_authentication(lines, "mx.casemill.example", "customer.example")
    read_authentication(["mx.casemill.example; " + text], "mx.casemill.example", "customer.example")
    _mail(b"From: " + data + b"\nTo: " + data + b"\nSubject: " + data + b"\n\nx\n")


def _bounce(data: bytes) -> None:
    _mail(b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n' + data)
    _mail(b"X-Failed-Recipients: a@x.example\nFrom: MAILER-DAEMON@x.example\nSubject: failed\n\n" + data)


#: Target → its function and the corpus files it starts from.
TARGETS: dict[str, tuple[Callable[[bytes], None], str]] = {
    "mail": (_mail, "mail/*.eml"),
    "forward": (_forward, "mail/forward_*.eml"),
    "wrapped": (_wrapped, "mail/*.eml"),
    "html": (_html, "mail/*html*.eml"),
    "form": (_form, "forms/*"),
    "workbook": (_workbook, "workbooks/*.xls*"),
    "sheet": (_sheet, "workbooks/*.xlsx"),
    "bounce": (_bounce, "mail/*.eml"),
    "reply": (_reply, "mail/*.eml"),
    "sender": (_sender, "mail/*.eml"),
}


def read_seeds(name: str, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the corpus files that target ``name`` starts from, at most ``max_bytes`` each."""
    for path in CORPUS.glob(TARGETS[name][1]):
        if path.suffix == ".py" or path.name.endswith(".expected.json"):
            continue
        data = path.read_bytes()
        if name == "sheet":
            data = _read_sheet(data)
        if 0 < len(data) <= max_bytes:
            yield path.name, data


def _read_sheet(data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as container:
            return container.read(SHEET)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError):
        # The corpus also holds files that are no container or lack this sheet.
        return b""
