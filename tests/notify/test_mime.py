"""Built messages, read back with the standard library."""

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.mime import MessageError, OutgoingMessage, build_message

PLAIN = OutgoingMessage(
    from_address="support@care.example",
    from_name="Billing Support",
    to_address="pat@clinic.example",
    subject="We received your request [BS-000123]",
    date=datetime(2026, 11, 22, 14, 14, 5, 999, tzinfo=UTC),
    message_id="<t123.d456.abcdef@care.example>",
    text="Hello,\n\nA line.\n",
    html="<p>Hello, <b>a line</b>.</p>\n",
    loop="care.example",
)
BODIES = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=2000)


def changed(field: str, value: str) -> dict[str, Any]:
    return {field: value}


def read(message: OutgoingMessage) -> EmailMessage:
    data = build_message(message)
    assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")
    assert data.endswith(b"\r\n")
    assert max(len(line) for line in data.split(b"\r\n")) <= 998
    assert data.isascii() or not message.to_address.isascii()
    parsed = email.message_from_bytes(data, policy=email.policy.default)
    assert not parsed.defects
    return parsed


def bodies(message: OutgoingMessage) -> tuple[str, str]:
    text, html = read(message).iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content_charset() == html.get_content_charset() == "utf-8"
    decoded = [cast(bytes, part.get_payload(decode=True)).decode() for part in (text, html)]
    return decoded[0].replace("\r\n", "\n"), decoded[1].replace("\r\n", "\n")


def test_automatic_mail_has_all_headers() -> None:
    parsed = read(
        replace(
            PLAIN,
            reply_to="support+t123.mac@care.example",
            in_reply_to="<x@clinic.example>",
            references=("<w@clinic.example>", "<x@clinic.example>"),
        )
    )
    assert dict(parsed.items()) == {
        "From": "Billing Support <support@care.example>",
        "To": "pat@clinic.example",
        "Subject": "We received your request [BS-000123]",
        "Date": "Sun, 22 Nov 2026 14:14:05 +0000",
        "Message-ID": "<t123.d456.abcdef@care.example>",
        "Reply-To": "support+t123.mac@care.example",
        "In-Reply-To": "<x@clinic.example>",
        "References": "<w@clinic.example> <x@clinic.example>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "Precedence": "bulk",
        "X-Loop": "care.example",
        "MIME-Version": "1.0",
        "Content-Type": parsed["Content-Type"],
    }
    assert parsed.get_content_type() == "multipart/alternative"


def test_headers_without_value_are_absent() -> None:
    parsed = read(PLAIN)
    assert not {"Reply-To", "In-Reply-To", "References", "Bcc", "Cc"} & set(parsed)
    assert read(replace(PLAIN, from_name=""))["From"] == "support@care.example"


def test_same_message_gives_same_bytes() -> None:
    assert build_message(PLAIN) == build_message(replace(PLAIN))


def test_date_is_written_in_utc() -> None:
    date = datetime(2026, 11, 22, 9, 14, tzinfo=timezone(timedelta(hours=-5)))
    assert read(replace(PLAIN, date=date))["Date"] == "Sun, 22 Nov 2026 14:14:00 +0000"


@given(BODIES, BODIES.filter(bool))
def test_any_body_survives_round_trip(text: str, html: str) -> None:
    def settled(body: str) -> str:
        unix = body.replace("\r\n", "\n").replace("\r", "\n")
        return unix if unix.endswith("\n") else unix + "\n"

    assert bodies(replace(PLAIN, text=text, html=html)) == (settled(text), settled(html))


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ("Short lines of ASCII\n", "7bit"),
        ("x" * 5000, "quoted-printable"),
        ("Grüße an alle, " * 3, "quoted-printable"),
        ("謝謝您的來信" * 40, "base64"),
    ],
)
def test_lightest_safe_encoding_is_chosen(body: str, encoding: str) -> None:
    message = replace(PLAIN, text=body)
    part = next(iter(read(message).iter_parts()))
    assert part["Content-Transfer-Encoding"] == encoding
    assert bodies(message)[0].rstrip("\n") == body.rstrip("\n")


def test_body_cannot_end_its_part_early() -> None:
    boundary = read(PLAIN).get_boundary()
    message = replace(PLAIN, text=f"a\n--{boundary}--\nb\n")
    assert bodies(message)[0] == message.text
    twice = replace(PLAIN, text=f"{message.text}--{read(message).get_boundary()}\n")
    assert bodies(twice)[0] == twice.text


def test_nul_and_lone_surrogate_in_body_do_not_raise() -> None:
    assert bodies(replace(PLAIN, text="a\0b\ud800c\n"))[0] == "ab?c\n"


def test_message_without_html_has_text_part_only() -> None:
    parsed = read(replace(PLAIN, html=""))
    assert parsed.get_content_type() == "text/plain"
    assert parsed.get_content() == "Hello,\r\n\r\nA line.\r\n"


@pytest.mark.parametrize(
    "subject",
    [
        "Café [BS-000123]",
        "謝謝" * 60,
        "😀" * 40,
        "=?utf-8?q?not_encoded?=",
        "word " * 60 + "end",
        "x" * 300,
        "y" * 67,
        "",
        "a: b",
        "Ihre Anfrage über die Abrechnung vom 3. März ist bei uns eingegangen und wird bearbeitet [BS-000123]",
    ],
)
def test_subject_of_any_length_and_script_survives_round_trip(subject: str) -> None:
    message = replace(PLAIN, subject=subject)
    assert read(message)["Subject"] == subject
    head = build_message(message).partition(b"\r\n\r\n")[0]
    assert max(len(line) for line in head.split(b"\r\n")) <= 78 or "x" * 60 in subject


@given(st.text(max_size=300))
def test_subject_never_adds_header(subject: str) -> None:
    parsed = read(replace(PLAIN, subject=subject + "\r\nBcc: x@evil.example", from_name=subject))
    assert list(parsed.keys()) == list(read(PLAIN).keys())
    assert "Bcc" not in parsed
    assert all(char.isprintable() or char in "\u200c\u200d" or ord(char) > 0xA0 for char in parsed["Subject"])


def test_control_and_bidi_characters_are_removed_from_subject() -> None:
    assert read(replace(PLAIN, subject="a\r\n\0b\x85c\u202ed\u200be"))["Subject"] == "a b c d e"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Billing Support", "Billing Support <"),
        ("Support, Billing", '"Support, Billing" <'),
        ('The "Best" \\ Team', '"The \\"Best\\" \\\\ Team" <'),
        ("Büro", "=?utf-8?b?QsO8cm8=?= <"),
        ("x@y.example", '"x@y.example" <'),
    ],
)
def test_display_name_survives_round_trip(name: str, written: str) -> None:
    message = replace(PLAIN, from_name=name)
    assert f"From: {written}" in build_message(message).decode()
    (address,) = read(message)["From"].addresses
    assert (address.display_name, address.addr_spec) == (name, "support@care.example")


def test_international_domain_is_written_in_ascii() -> None:
    assert read(replace(PLAIN, to_address="pat@münchen.example"))["To"] == "pat@xn--mnchen-3ya.example"


def test_non_ascii_local_part_is_written_in_utf8() -> None:
    assert "To: müller@clinic.example\r\n".encode() in build_message(replace(PLAIN, to_address="müller@clinic.example"))


@pytest.mark.parametrize("field", ["from_address", "to_address", "reply_to"])
@pytest.mark.parametrize(
    "address",
    [
        "pat",
        "pat@",
        "@x.example",
        "a@b@c.example",
        "pat@x.example\r\nBcc: y@z.example",
        "pat@x.example, y@z.example",
        "p p@x.example",
        "<pat@x.example>",
        "pat@x.example\u2028",
        "Pat <pat@x.example>",
    ],
)
def test_malformed_address_error_names_field_and_not_address(field: str, address: str) -> None:
    with pytest.raises(MessageError) as caught:
        build_message(replace(PLAIN, **changed(field, address)))
    assert caught.value.field in field
    assert "example" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "<x>",
        "<a@b",
        "<a b@c.example>",
        "<a@b.example>\r\nBcc: x@y.example",
        f"<{'a' * 999}@b>",
    ],
)
def test_own_message_id_must_be_valid_and_malformed_foreign_one_is_omitted(value: str) -> None:
    with pytest.raises(MessageError, match="message_id"):
        build_message(replace(PLAIN, message_id=value))
    parsed = read(replace(PLAIN, in_reply_to=value, references=(value, "<good@clinic.example>")))
    assert "In-Reply-To" not in parsed
    assert parsed["References"] == "<good@clinic.example>"


def test_long_references_header_is_folded() -> None:
    references = tuple(f"<{number}.{'r' * 60}@clinic.example>" for number in range(50))
    assert read(replace(PLAIN, references=references))["References"].split() == list(references)


def test_naive_date_is_refused() -> None:
    with pytest.raises(MessageError, match="date"):
        build_message(replace(PLAIN, date=datetime(2026, 11, 22)))  # noqa: DTZ001


@pytest.mark.parametrize("field", ["loop", "precedence"])
def test_token_headers_accept_one_word_only(field: str) -> None:
    with pytest.raises(MessageError, match=field):
        build_message(replace(PLAIN, **changed(field, "a\r\nBcc: x@y.example")))
