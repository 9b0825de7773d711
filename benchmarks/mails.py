"""Generate mixed support mail from a seed: plain, HTML, 50 kB attachments, replies, other charsets; the same bytes in every run.

Each kind is a fifth of the mails: plain; HTML in Outlook's form (most with a text part, some without); with a PDF of 50 kB;
replies that quote a mail (half of them with an HTML part in Gmail's form); in charsets other than UTF-8, some undeclared.
Headers are as long as those of real mail.
"""

from __future__ import annotations

import base64
import random
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.header import Header

FIRST_DATE = datetime(2026, 11, 2, 8, tzinfo=UTC)
DOMAIN_COUNT, SENDER_COUNT = 120, 700
#: One sender writes at most this many of a thousand mails, so that no rate limit on automatic answers is reached.
MAX_MAILS_PER_SENDER = 3
ATTACHMENT_BYTES = 50_000
KINDS = ("plain", "html", "attachment", "reply", "charset")
FIRST_NAMES = ("Dana", "Lee", "Kim", "Pat", "Robin", "Alex", "Sam", "Jo", "Max", "Chris", "Maria", "Omar", "Ruth", "Ivo", "Nina")
LAST_NAMES = (
    "Ortiz", "Calder", "Haddad", "Novak", "Weber", "Rossi", "Silva", "Larsen", "Moreau", "Okafor", "Sato", "Brown", "Costa",
)  # fmt: skip
VOCABULARY = (
    "claim denied payer remittance patient balance statement invoice modifier authorization deductible copay appeal "
    "submitted rejected corrected resubmit provider facility code unit visit date of service clearing house portal "
    "please check the attached and let us know what we can do before Friday because it is the second time this week"
)
WORDS = VOCABULARY.split()
#: Charset and text. Charsets that the peer cannot read are left out, so that both sides do the same work.
CHARSETS = (
    ("iso-8859-1", "Zahlung für März fällig, Größe geändert, réponse reçue à côté"),
    ("windows-1252", "“Statement” – naïve façade, 40 € owed… señor Peña"),
    ("koi8-r", "Счёт отклонён второй раз, пожалуйста проверьте оплату"),
    ("iso-2022-jp", "請求書が拒否されました。ご確認ください。"),
    ("gb2312", "发票被拒绝，请检查付款记录"),
)


def make_mails(count: int, *, seed: int = 1, first: int = 0, kinds: Sequence[str] = KINDS) -> Iterator[bytes]:
    """Yield ``count`` messages with CRLF line ends, numbered from ``first``, so that later calls can continue the series."""
    source = random.Random(f"{seed}:{first}")  # noqa: S311 - reproducible, not secret
    # (number, sender) of mails that a reply may quote.
    recent: deque[tuple[int, int]] = deque(maxlen=200)
    mails_by_sender: Counter[int] = Counter()
    for number, kind in enumerate(source.choices(kinds, k=count), first):
        if number % 1000 == 0:
            mails_by_sender.clear()
        earlier = source.choice(recent) if kind == "reply" and recent else None
        if earlier and mails_by_sender[earlier[1]] < MAX_MAILS_PER_SENDER:
            sender = earlier[1]
        else:
            earlier, sender = None, number % SENDER_COUNT
            recent.append((number, sender))
        mails_by_sender[sender] += 1
        yield _mail(source, number, sender, "plain" if kind == "reply" and not earlier else kind, earlier and earlier[0], seed)


def sender_address(number: int) -> str:
    """Return the sender of mail ``number``, unless it is a reply."""
    return _address(number % SENDER_COUNT)


def _address(sender: int) -> str:
    return f"p{sender}@clinic{sender % DOMAIN_COUNT}.example"


def _mail(source: random.Random, number: int, sender: int, kind: str, earlier: int | None, seed: int) -> bytes:
    head = _head(source, number, sender, seed)
    subject = f"Claim {88_000 + (earlier if earlier is not None else number)} {_sentence(source, 4)}"
    if kind == "charset":
        return _charset(source, head, number)
    if kind == "reply":
        head += [f"In-Reply-To: <{seed}.{earlier}@mail.example>", f"References: <{seed}.{earlier}@mail.example>"]
        return _reply(source, head, f"Re: {subject}", sender, with_html=number % 2 == 0)
    if kind == "html":
        return _html(source, head, subject, number)
    if kind == "attachment":
        return _attachment(source, head, subject, number)
    return _assemble(head, subject, 'text/plain; charset="utf-8"', _text(source, sender))


def _head(source: random.Random, number: int, sender: int, seed: int) -> list[str]:
    """Return header lines as of a large provider: three hops, DKIM, an ARC set (RFC 8617), provider-specific fields."""
    name, domain = (
        f"{FIRST_NAMES[sender % len(FIRST_NAMES)]} {LAST_NAMES[sender % len(LAST_NAMES)]}",
        f"clinic{sender % DOMAIN_COUNT}.example",
    )
    date = (FIRST_DATE + timedelta(seconds=37 * number)).strftime("%a, %d %b %Y %H:%M:%S +0000")
    results = f"spf=pass smtp.mailfrom={domain}; dkim=pass (signature was verified) header.d={domain}; dmarc=pass action=none"
    signed = "from:date:subject:message-id:content-type:mime-version:x-provider-senderadcheck"
    return [
        f"Return-Path: <{_address(sender)}>",
        f"Received: from out{number % 9}.provider.example (out{number % 9}.provider.example [192.0.2.{number % 250}])\r\n"
        f"\tby mail.system.example with ESMTPS id {number:x} (version=TLS1_3 cipher=TLS_AES_256_GCM_SHA384);\r\n\t{date}",
        f"Received: from hub{number % 7}.provider.example (2001:db8::{number % 999:x}) by out{number % 9}.provider.example\r\n"
        f"\t(2001:db8::7) with HTTP; {date}",
        f"Received: from desk{sender}.{domain} ([198.51.100.{number % 250}]) by hub{number % 7}.provider.example; {date}",
        f"ARC-Seal: i=1; a=rsa-sha256; s=arc; d=provider.example; cv=none;\r\n\tb={_token(source, 256)}",
        f"ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=provider.example; s=arc;\r\n\th={signed};\r\n"
        f"\tbh={_token(source, 32)}; b={_token(source, 256)}",
        f"ARC-Authentication-Results: i=1; mx.provider.example 1; {results}",
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}; s=s1; t={number};\r\n\th={signed};\r\n"
        f"\tbh={_token(source, 32)}; b={_token(source, 256)}",
        f"Authentication-Results: mail.system.example; {results}",
        f"From: {name} <{_address(sender)}>",
        "To: Billing Support <support@mill.example>",
        f"Date: {date}",
        f"Message-ID: <{seed}.{number}@mail.example>",
        f"Thread-Index: {_token(source, 22)}",
        "Accept-Language: en-US",
        "Content-Language: en-US",
        "X-Provider-HasAttach: yes",
        f"X-Provider-Correlation-Id: {source.randbytes(16).hex()}",
        "X-Provider-TrafficTypeDiagnostic: hub:EE_|out:EE_",
        f"X-Provider-Antispam-Report: CIP:192.0.2.{number % 250};CTRY:US;LANG:en;SCL:1;SFV:NSPM;CAT:NONE;DIR:INB",
        f"X-Provider-Antispam-Message-Info: {_token(source, 512)}",
        "MIME-Version: 1.0",
    ]


def _token(source: random.Random, size: int) -> str:
    """Return ``size`` random bytes in the form of a signature: base64, folded."""
    token = base64.b64encode(source.randbytes(size)).decode()
    return "\r\n\t ".join(token[at : at + 70] for at in range(0, len(token), 70))


def _assemble(head: list[str], subject: str, kind: str, body: str, encoding: str = "8bit") -> bytes:
    lines = [*head, f"Subject: {subject}", f"Content-Type: {kind}", f"Content-Transfer-Encoding: {encoding}", "", body, ""]
    return "\r\n".join(lines).encode()


def _sentence(source: random.Random, words: int) -> str:
    return " ".join(source.choices(WORDS, k=words))


def _paragraphs(source: random.Random) -> list[str]:
    return [_sentence(source, source.randint(20, 60)).capitalize() + "." for _ in range(source.randint(2, 5))]


def _text(source: random.Random, sender: int) -> str:
    lines = ["Hello,", ""]
    for paragraph in _paragraphs(source):
        lines += [*_wrap(paragraph), ""]
    return "\r\n".join(
        [*lines, "Regards,", FIRST_NAMES[sender % len(FIRST_NAMES)], "-- ", f"Clinic {sender % DOMAIN_COUNT}, Tel. 555 0100"]
    )


def _wrap(paragraph: str, width: int = 72) -> list[str]:
    lines = [""]
    for word in paragraph.split():
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _reply(source: random.Random, head: list[str], subject: str, sender: int, *, with_html: bool) -> bytes:
    own, quoted = _sentence(source, source.randint(8, 40)).capitalize() + ".", _text(source, sender).split("\r\n")
    wrote = "On Mon, Nov 2, 2026 at 9:12 AM Billing Support <support@mill.example> wrote:"
    text = "\r\n".join([*_wrap(own), "", wrote, "", *(f"> {line}" for line in quoted)])
    if not with_html:
        return _assemble(head, subject, 'text/plain; charset="utf-8"', text)
    quote = '<blockquote class="gmail_quote" style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204)">'
    below = f'<div class="gmail_quote"><div class="gmail_attr">{wrote}</div>{quote}{"<br>".join(quoted)}</blockquote></div>'
    page = f'<div dir="ltr">{own}</div><br>\r\n{below}'
    return _multipart(head, subject, "alternative", [("text/plain; charset=utf-8", "8bit", text),
                                                     ("text/html; charset=utf-8", "8bit", page)])  # fmt: skip


def _html(source: random.Random, head: list[str], subject: str, number: int) -> bytes:
    page = _page(source)
    if number % 4 == 0:
        return _assemble(head, subject, 'text/html; charset="utf-8"', page)
    parts = [("text/plain; charset=utf-8", "8bit", "\r\n".join(_paragraphs(source))), ("text/html; charset=utf-8", "8bit", page)]
    return _multipart(head, subject, "alternative", parts)


def _page(source: random.Random) -> str:
    lines = [(_sentence(source, 3), source.randint(10, 999)) for _ in range(source.randint(8, 24))]
    row = '<tr><td style="padding:4px">{}</td><td align="right"><b>{}.00</b><o:p></o:p></td></tr>\r\n'
    rows = "".join(row.format(*line) for line in lines)
    span = '<span style="font-size:11.0pt;font-family:&quot;Calibri&quot;,sans-serif;color:#1F497D">'
    text = "".join(f'<p class="MsoNormal">{span}{one}<o:p></o:p></span></p>\r\n' for one in _paragraphs(source))
    classes = "".join(f"p.Style{number}{{margin:0in;font-size:11pt;font-family:Calibri,sans-serif}}\r\n" for number in range(20))
    style = f"<style><!--\r\n{classes}--></style>"
    return f"<html><head>{style}</head><body>\r\n{text}<table border=0>\r\n{rows}</table></body></html>"


def _attachment(source: random.Random, head: list[str], subject: str, number: int) -> bytes:
    content = base64.encodebytes(b"%PDF-1.4\n" + source.randbytes(ATTACHMENT_BYTES)).decode().replace("\n", "\r\n")
    name = f"remittance-{number}.pdf"
    file = f'application/pdf; name="{name}"\r\nContent-Disposition: attachment; filename="{name}"'
    text = "\r\n".join(_paragraphs(source))
    return _multipart(head, subject, "mixed", [("text/plain; charset=utf-8", "8bit", text), (file, "base64", content)])


def _multipart(head: list[str], subject: str, kind: str, parts: list[tuple[str, str, str]]) -> bytes:
    boundary = "=_part_4711_casemill"
    lines = []
    for part, encoding, content in parts:
        lines += [f"--{boundary}", f"Content-Type: {part}", f"Content-Transfer-Encoding: {encoding}", "", content]
    return _assemble(head, subject, f'multipart/{kind}; boundary="{boundary}"', "\r\n".join([*lines, f"--{boundary}--"]))


def _charset(source: random.Random, head: list[str], number: int) -> bytes:
    charset, words = CHARSETS[number % len(CHARSETS)]
    body = "\r\n".join(f"{words} {source.randint(100, 999)}" for _ in range(source.randint(4, 12)))
    subject = Header(f"{words[:20]} {number}", charset).encode().replace("\n", "\r\n")
    declared = f"text/plain; charset={charset}" if number % 5 or charset == "iso-2022-jp" else "text/plain"
    if number % 2:
        message = _assemble(head, subject, declared, "", "base64")
        return message + base64.encodebytes(body.encode(charset)).replace(b"\n", b"\r\n")
    return _assemble(head, subject, declared, "", "8bit") + body.encode(charset) + b"\r\n"
