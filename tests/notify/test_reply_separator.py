"""The reply separator: replies that quote our mails are cut exactly there."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from html import escape

import pytest

from core.reply_separator import SEPARATORS, separator_line
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import ParsedMail, ParseOptions
from notify.mailing_types import list_staff_written
from notify.render import Rendered, Renderer
from tests.notify.test_render import CONTEXTS, TEMPLATES

RENDERER = Renderer(TEMPLATES)
LETTER = {
    "number": "BS-000123", "subject": "Your claim", "paragraphs": [["Hello Ana,"], ["please send us", "the letter."]],
    "link": "https://care.example/care/cases/123", "team_name": "Billing Support",
}  # fmt: skip
ANSWERED = sorted({"ticket_created", *list_staff_written()})
US = "Billing Support <support@acme.example>"

#: Language → the new text, the attribution lines of Gmail and Apple Mail, and Outlook's labels. The parser has no word lists for
#: the last three.
LANGUAGES = {
    "English": ("It came today.", f"On Mon, Nov 2, 2026 at 9:12 AM {US} wrote:", f"On 2 Nov 2026, at 09:12, {US} wrote:",
                ("From", "Sent", "To", "Subject")),
    "German": ("Er kam heute an:\nsiehe Anlage.", f"Am Mo., 2. Nov. 2026 um 09:12 Uhr schrieb {US}:",
               f"Am 02.11.2026 um 09:12 schrieb {US}:", ("Von", "Gesendet", "An", "Betreff")),
    "Japanese": ("本日届きました。\nよろしくお願いします。", f"2026年11月2日(月) 9:12 {US}:", f"2026/11/02 9:12、{US}のメール:",
                 ("差出人", "送信日時", "宛先", "件名")),
    "Greek": ("Ήρθε σήμερα.", f"Στις Δευ 2 Νοε 2026 στις 9:12 π.μ., ο χρήστης {US} έγραψε:",
              f"Στις 2 Νοε 2026, στις 09:12, ο χρήστης {US} έγραψε:", ("Από", "Στάλθηκε", "Προς", "Θέμα")),
    "Vietnamese": ("Hôm nay đã nhận được.", f"Vào Th 2, 2 thg 11, 2026 vào lúc 09:12 {US} đã viết:",
                   f"Vào 2 thg 11, 2026, lúc 09:12, {US} đã viết:", ("Từ", "Đã gửi", "Đến", "Chủ đề")),
    "Romanian": ("A sosit astăzi.", f"În lun., 2 nov. 2026 la 09:12, {US} a scris:",
                 f"Pe 2 nov. 2026, la 09:12, {US} a scris:", ("De la", "Trimis", "Către", "Subiect")),
}  # fmt: skip


def render(mailing: str) -> Rendered:
    return RENDERER.render(mailing, CONTEXTS.get(mailing, LETTER))


def page(text: str) -> str:
    return "".join(f"<div>{escape(line)}</div>" for line in text.split("\n"))


def headers(labels: tuple[str, ...]) -> list[tuple[str, str]]:
    return list(zip(labels, (US, "02.11.2026 09:12", "Ana Bell <ana@clinic.example>", "Your claim [BS-000123]"), strict=True))


def signed(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.rstrip().split("\n"))


def gmail(language: str, ours: Rendered) -> tuple[str, str]:
    new, attribution, _, _ = LANGUAGES[language]
    above = f'<div dir="ltr" class="gmail_attr">{escape(attribution)}<br></div>'
    html = f'{page(new)}<br><div class="gmail_quote">{above}<blockquote class="gmail_quote">{ours.html}</blockquote></div>'
    return f"{new}\n\n{attribution}\n\n{signed(ours.text)}\n", html


def apple(language: str, ours: Rendered) -> tuple[str, str]:
    new, _, attribution, _ = LANGUAGES[language]
    quote = f'<blockquote type="cite"><div>{escape(attribution)}</div><br><div>{ours.html}</div></blockquote>'
    return f"{new}\n\n{attribution}\n\n{signed(ours.text)}\n", f"{page(new)}<div><br>{quote}</div>"


def outlook(language: str, ours: Rendered) -> tuple[str, str]:
    new, _, _, labels = LANGUAGES[language]
    block = "\n".join(f"{label}: {value}" for label, value in headers(labels))
    shown = "<br>".join(f"<b>{label}:</b> {escape(value)}" for label, value in headers(labels))
    rule = '<div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0in 0in 0in">'
    return f"{new}\n\n{block}\n\n{ours.text}", f'{page(new)}<p>&nbsp;</p>{rule}<p class="MsoNormal">{shown}</p></div>{ours.html}'


def plain_program(language: str, ours: Rendered) -> tuple[str, str]:
    """Quote as a program that writes nothing above the quote."""
    return f"{LANGUAGES[language][0]}\n\n{ours.text}", page(LANGUAGES[language][0]) + ours.html


CLIENTS = [gmail, apple, outlook, plain_program]


def split(text: str = "", html: str = "") -> ParsedMail:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ana Bell <ana@clinic.example>", US, "Re: Your claim [BS-000123]"
    message["Date"], message["Message-ID"] = datetime(2026, 11, 2, 9, 30, tzinfo=UTC), "<1@clinic.example>"
    if text:
        message.set_content(text)
    if html and text:
        message.add_alternative(html, subtype="html")
    elif html:
        message.set_content(html, subtype="html")
    mail = parse_mail(message.as_bytes(), ParseOptions())
    assert isinstance(mail, ParsedMail)
    return mail


@pytest.mark.parametrize("mailing", ANSWERED)
def test_answerable_mail_begins_with_reply_separator_in_text_and_html(mailing: str) -> None:
    rendered = render(mailing)
    assert rendered.text.startswith(f"{separator_line()}\n\n")
    assert rendered.text.count(separator_line()) == rendered.html.count(separator_line()) == 1


@pytest.mark.parametrize("mailing", ANSWERED)
def test_inbox_preview_shows_preheader_before_reply_separator(mailing: str) -> None:
    html = render(mailing).html
    assert html.index("BS-000123", html.index("<body")) < html.index(separator_line()), "what is hidden for the inbox comes first"


@pytest.mark.parametrize("mailing", sorted(CONTEXTS.keys() - {"ticket_created"}))
def test_other_mail_has_no_reply_separator(mailing: str) -> None:
    rendered = render(mailing)
    assert separator_line() not in rendered.text + rendered.html
    assert not rendered.text.startswith("\n")


@pytest.mark.parametrize("mailing", ANSWERED)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_reply_quoting_our_mail_is_cut_to_new_text(client: object, language: str, mailing: str) -> None:
    assert callable(client)
    text, html = client(language, render(mailing))
    for mail in (split(text), split(html=html), split(text, html)):
        assert (mail.reply, mail.signature) == (LANGUAGES[language][0], "")
        assert separator_line() in mail.quoted
        assert "BS-000123" in mail.quoted


@pytest.mark.parametrize("language", SEPARATORS)
def test_reply_separator_is_found_in_every_language(language: str) -> None:
    assert split(f"Yes.\n\n> {separator_line(language)}\n> Hello\n").reply == "Yes."
    assert split(f"Yes.\n\n{separator_line(language)}\n\nHello\n").reply == "Yes."


def test_text_above_reply_separator_that_looks_like_header_is_kept() -> None:
    kept = "Dates:\nMonday: no\nTuesday: yes\nWednesday: no"
    assert split(f"{kept}\n\n{separator_line()}\n\nHello\n").reply == kept


def test_text_below_reply_separator_is_not_lost() -> None:
    body = f"{separator_line()}\n\nHello\n\nMy answer is yes."
    assert split(body).reply == body
    quoted = f"On Mon, Nov 2, 2026 at 9:12 AM {US} wrote:\n\n{signed(body)}"
    assert split(f"{quoted}\n\nMy answer is no.").reply == "My answer is no."


def test_sentence_mentioning_reply_separator_is_not_separator() -> None:
    body = "It says: please write your reply above this line.\nWhere is that?"
    assert split(body).reply == body
