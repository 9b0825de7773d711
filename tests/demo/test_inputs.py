"""Sample inputs: valid, reproducible, and of the kinds they stand for."""

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qs

import openpyxl
import pytest

from demo.attachments import make_pdf, make_png
from demo.inputs import build_form_posts, build_workbook, sign_body
from demo.mails import build_mails

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)


def parsed_mails() -> list[EmailMessage]:
    return [message_from_bytes(raw, policy=policy.default) for raw in build_mails(NOW)]


def find(subject: str) -> EmailMessage:
    return next(mail for mail in parsed_mails() if mail["Subject"] and mail["Subject"].startswith(subject))


def test_mails_are_valid_end_in_crlf_lines_and_are_dated_in_the_last_hours() -> None:
    for raw, mail in zip(build_mails(NOW), parsed_mails(), strict=True):
        assert raw.count(b"\n") == raw.count(b"\r\n")
        assert not [defect for part in mail.walk() for defect in part.defects]
        assert NOW - timedelta(hours=6) < parsedate_to_datetime(mail["Date"]) < NOW


def test_mails_depend_only_on_the_given_time() -> None:
    assert build_mails(NOW) == build_mails(NOW)
    assert not set(build_mails(NOW)) & set(build_mails(NOW + timedelta(days=1)))


def test_one_mail_is_repeated_and_all_others_differ() -> None:
    raw = build_mails(NOW)
    assert raw[-1] == raw[0]
    assert len(set(raw)) == len(raw) - 1
    assert len({mail["Message-ID"] for mail in parsed_mails()}) == len(raw) - 1


def test_one_mail_has_html_an_inline_picture_and_a_pdf_of_about_50_kb() -> None:
    mail = find("Remittance")
    kinds = [part.get_content_type() for part in mail.walk() if not part.is_multipart()]
    assert kinds == ["text/plain", "text/html", "image/png", "application/pdf"]
    pdf = next(mail.iter_attachments()).get_content()
    assert pdf.startswith(b"%PDF-")
    assert 45_000 < len(pdf) < 55_000


def test_the_reply_names_the_first_mail() -> None:
    assert find("Re: ")["In-Reply-To"] == parsed_mails()[0]["Message-ID"]


def test_automatic_mails_have_the_headers_of_their_standards() -> None:
    assert find("Automatic reply")["Auto-Submitted"] == "auto-replied"
    assert find("This week")["List-Id"]
    bounce = find("Undelivered")
    assert bounce.get_content_type() == "multipart/report"
    assert [part.get_content_type() for part in bounce.iter_parts()] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers",
    ]  # fmt: skip


def test_one_mail_has_no_subject_and_one_is_undeclared_latin_1() -> None:
    assert len([mail for mail in parsed_mails() if mail["Subject"] is None]) == 1
    raw = next(raw for raw in build_mails(NOW) if b"Invoice question" in raw)
    assert b"charset" not in raw
    with pytest.raises(UnicodeDecodeError):
        raw.decode("utf-8")
    assert "Désolée" in raw.decode("latin-1")


def test_form_posts_carry_the_signatures_of_the_contract() -> None:
    assert [headers["X-FS-Signature"] for _, headers in build_form_posts()] == [
        "sha256=7cbebfd54453f620c31e18a37aefe2d60aabbf8a42b5cff1bf97166c2c42a388",
        "sha256=96cdd498c856573f61da64206c2061f7470100f06b1edaac86cf84e712c7d49f",
        "sha256=cb99e6753be30c050ed70618af3bdac609026db17c2d59929650b50b368bc1dd",
    ]


def test_form_posts_can_be_signed_with_another_key() -> None:
    body = b"FormID=6606394&UniqueID=1500878955&HandshakeKey=test"
    assert sign_body(body, "test1") == "sha256=30dff7f180b6d69eab397a5d51719474df490b730514c253e8b5832d3b51b970"
    assert build_form_posts("other")[0][1] != build_form_posts()[0][1]


def test_form_posts_are_three_submissions_of_the_form_in_both_content_types() -> None:
    found = []
    for body, headers in build_form_posts():
        if headers["Content-Type"] == "application/json":
            found.append(json.loads(body)["UniqueID"])
        else:
            found.append(parse_qs(body.decode())["UniqueID"][0])
    assert found == ["1512345678", "1512345679", "1512345680"]


def test_workbook_has_two_visible_sheets_and_a_hidden_one() -> None:
    book = openpyxl.load_workbook(io.BytesIO(build_workbook(NOW)))
    assert [(sheet.title, sheet.sheet_state) for sheet in book] == [
        ("Inbox", "visible"), ("Follow-ups", "visible"), ("Archive", "hidden"),
    ]  # fmt: skip
    rows = list(book["Inbox"].iter_rows(min_row=4, values_only=True))
    assert len(rows) == 12
    assert [row[0] for row in rows if not row[5]] == ["SM-1007"]
    assert len(set(rows)) == 11
    assert all(row[1] < NOW.replace(tzinfo=None) for row in rows)


def test_account_numbers_in_the_workbook_are_text() -> None:
    book = openpyxl.load_workbook(io.BytesIO(build_workbook(NOW)))
    assert {type(row[3]) for row in book["Inbox"].iter_rows(min_row=4, values_only=True)} == {str}


def test_generated_png_and_pdf_are_reproducible() -> None:
    assert hashlib.sha256(make_png()).digest() == hashlib.sha256(make_png()).digest()
    assert make_png().startswith(b"\x89PNG\r\n\x1a\n")
    pdf = make_pdf("A")
    start = int(pdf.rsplit(b"startxref\n", 1)[1].split()[0])
    assert pdf[start:].startswith(b"xref\n0 6")
