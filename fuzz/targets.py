"""What is fuzzed: name → a function of bytes that must never raise, hang, or need much memory."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from ingest.parsers.types import ParseOptions, Refusal

CORPUS = Path(__file__).parents[1] / "tests" / "corpus"
HEAD = b"From: ana@customer.example\nSubject: Fwd: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"


def _mail(data: bytes) -> None:
    import msgspec

    from ingest.parsers.email_message import parse_mail

    for raw in (data, HEAD + data):
        found = parse_mail(raw, ParseOptions(html_text=True))
        if isinstance(found, Refusal) and found.code not in ("empty", "not_a_mail"):
            raise RuntimeError(found.code)
        msgspec.msgpack.encode(found)


def _forward(data: bytes) -> None:
    from ingest.parsers.forward import find_inline

    subject, _, body = data.decode("utf-8", "replace").partition("\n")
    find_inline(subject, body)
    find_inline("Fwd: s", body)


def _wrapped(data: bytes) -> None:
    from ingest.parsers.other_texts import read_calendar, read_enriched, read_rtf
    from ingest.parsers.smime import read_signed
    from ingest.parsers.tnef import read_tnef

    text = data.decode("utf-8", "replace")
    read_tnef(b"\x78\x9f\x3e\x22\x01\x00" + data)
    read_signed(b"\x30\x80\x06\x09" + bytes.fromhex("2a864886f70d010702") + data)
    read_rtf(data)
    read_enriched(text)
    read_calendar("BEGIN:VEVENT\n" + text)


def _html(data: bytes) -> None:
    from ingest.parsers.html_text import clean_html, make_text

    text = data.decode("utf-8", "replace")
    make_text(text)
    clean_html(text)


def _form(data: bytes) -> None:
    from ingest.parsers.form import parse_form

    parse_form(data, ParseOptions(content_type="application/json"))
    parse_form(data, ParseOptions(content_type="application/x-www-form-urlencoded"))


def _workbook(data: bytes) -> None:
    from ingest.parsers.workbook import parse_workbook

    parse_workbook(data, ParseOptions())


def _reply(data: bytes) -> None:
    from ingest.parsers.reply_text import split_reply  # type: ignore[import-not-found,unused-ignore]

    split_reply(data.decode("utf-8", "replace"))


def _bounce(data: bytes) -> None:
    _mail(b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n' + data)
    _mail(b"X-Failed-Recipients: a@x.example\nFrom: MAILER-DAEMON@x.example\nSubject: failed\n\n" + data)


#: Target → its function and the folder of the corpus it starts from.
TARGETS: dict[str, tuple[Callable[[bytes], None], str]] = {
    "mail": (_mail, "mail/*.eml"),
    "forward": (_forward, "mail/forward_*.eml"),
    "wrapped": (_wrapped, "mail/*.eml"),
    "html": (_html, "mail/*html*.eml"),
    "form": (_form, "forms/*"),
    "workbook": (_workbook, "workbooks/*.xls*"),
    "bounce": (_bounce, "mail/*.eml"),
}
if find_spec("ingest.parsers.reply_text") is not None:
    TARGETS["reply"] = (_reply, "mail/*.eml")
