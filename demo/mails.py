"""Sample mails: raw bytes as in a mailbox, dated before ``now``, the same bytes for the same ``now``."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256

from core import clock
from demo.attachments import make_pdf, make_png
from demo.configuration import DOMAIN, SUPPORT

DANA = "Dana Ortiz <dana.ortiz@riverside.example>"
INTERVAL = timedelta(minutes=15)
HELEN = "Helen Cho <helen.cho@oakhillpeds.example>"


def build_mails(now: datetime | None = None) -> list[bytes]:
    """Return fourteen mails of the last hours, oldest first. The last one repeats the first, byte for byte."""
    now = now or clock.now()
    builders = (
        write_question, write_with_files, write_reply, write_out_of_office, write_bounce, write_newsletter, write_stranger,
        write_undeclared_latin, write_telemedicine, write_without_subject, write_forward, write_denial, write_credentialing,
    )  # fmt: skip
    messages = [write(now - INTERVAL * (len(builders) - index)) for index, write in enumerate(builders)]
    return [*messages, messages[0]]


def write_question(at: datetime) -> bytes:
    """A customer's question in plain text."""
    message = _start(DANA, "Claim 88-2041 denied twice", at)
    message.set_content(
        "Hello,\n\nclaim 88-2041 was denied again, now with CO-16. We sent the corrected modifier two weeks ago.\n"
        "Could somebody look at what the payer is still missing?\n\n"
        "Thank you,\nDana Ortiz\nRiverside Family Clinic\n(555) 010-4477\n"
    )
    return message.as_bytes()


def write_with_files(at: datetime) -> bytes:
    """A mail with HTML and text parts, an inline picture and an attached PDF of about 50 kB."""
    message = _start(HELEN, "Remittance does not match our deposits", at)
    text = "the attached remittance from last week shows $4,318.20, our bank shows $3,918.20. Which payments are missing?"
    message.set_content(f"Hi team,\n\n{text}\n\nHelen Cho\nOak Hill Pediatrics\n")
    message.add_alternative(
        f"<html><body><p>Hi team,</p><p>{text.replace('Which', '<b>Which')}</b></p>"
        '<p>Helen Cho<br>Oak Hill Pediatrics<br><img src="cid:logo@oakhillpeds.example" alt="Oak Hill"></p></body></html>',
        subtype="html",
    )
    page = message.get_payload(1)
    assert isinstance(page, EmailMessage)  # noqa: S101 - for the type: add_alternative made it
    page.add_related(make_png(), "image", "png", cid="<logo@oakhillpeds.example>", filename="logo.png", disposition="inline")
    message.add_attachment(make_pdf("Remittance advice"), maintype="application", subtype="pdf", filename="remittance.pdf")
    return _to_bytes(message)


def write_reply(at: datetime) -> bytes:
    """A second mail of the first customer, which quotes the first."""
    message = _start(DANA, "Re: Claim 88-2041 denied twice", at)
    message["In-Reply-To"] = message["References"] = _message_id(DANA, "Claim 88-2041 denied twice", at - 2 * INTERVAL)
    message.set_content(
        "One more thing: the patient's plan changed on the first of the month. That may be the reason.\n\nDana\n\n"
        f"On {at:%a, %b %d, %Y}, Dana Ortiz <dana.ortiz@riverside.example> wrote:\n"
        "> Hello,\n>\n> claim 88-2041 was denied again, now with CO-16.\n"
    )
    return message.as_bytes()


def write_out_of_office(at: datetime) -> bytes:
    """An out-of-office reply (RFC 3834, 5)."""
    message = _start("Raj Patel <raj.patel@summitortho.example>", "Automatic reply: Your statement is ready", at)
    message["Auto-Submitted"] = "auto-replied"
    message["X-Auto-Response-Suppress"] = "All"
    message["In-Reply-To"] = f"<statement.{at:%Y%m%d}@mailer.example>"
    message.set_content("I am out of the office until Monday. For urgent matters please call the front desk.\n")
    return message.as_bytes()


def write_bounce(at: datetime) -> bytes:
    """A delivery status notification of a permanent failure (RFC 3464)."""
    recipient = "old.office@prairiederm.example"
    head = _start("Mail Delivery System <MAILER-DAEMON@mx.prairiederm.example>", "Undelivered Mail Returned to Sender", at)
    head["Return-Path"] = "<>"
    head["Auto-Submitted"] = "auto-replied"
    kind = 'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="report"\n\n'
    parts = (
        f"Content-Type: text/plain; charset=us-ascii\n\nYour message to <{recipient}> could not be delivered: no such mailbox.\n",
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.prairiederm.example\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: failed\nStatus: 5.1.1\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\n",
        f"Content-Type: text/rfc822-headers\n\nFrom: {SUPPORT}\nTo: {recipient}\n"
        f"Subject: Your statement\nMessage-ID: <statement.{at:%Y%m%d}.77@mailer.example>\n",
    )
    body = kind + "".join(f"--report\n{part}\n" for part in parts) + "--report--\n"
    return head.as_bytes().removesuffix(b"\r\n") + body.replace("\n", "\r\n").encode("ascii")


def write_newsletter(at: datetime) -> bytes:
    """A mailing list's mail (RFC 2919, RFC 2369)."""
    message = _start("Coding Weekly <news@codingweekly.example>", "This week: modifier 25 done right", at)
    message["List-Id"] = "Coding Weekly <weekly.codingweekly.example>"
    message["List-Unsubscribe"] = "<https://codingweekly.example/leave/8f21>, <mailto:leave@codingweekly.example>"
    message["Precedence"] = "bulk"
    message.set_content("In this issue: when modifier 25 is right, and three payers that changed their rules.\n")
    return message.as_bytes()


def write_stranger(at: datetime) -> bytes:
    """A question from an unknown person at an unknown practice."""
    message = _start("Paula Gomez <paula@lakeviewdental.example>", "Do you also bill for dental practices?", at)
    message.set_content("Good morning,\n\nwe are a small dental practice and look for help with our claims.\n\nPaula Gomez\n")
    return message.as_bytes()


def write_undeclared_latin(at: datetime) -> bytes:
    """A mail in Latin-1 whose header names no charset, as old programs send it."""
    head = _start("=?iso-8859-1?q?In=E8s_Moreau?= <ines.moreau@bluewater-care.example>", "Invoice question", at).as_bytes()
    text = "Hello,\n\nthe copay for Ren\u00e9e's visit was entered twice: 25 \u00b1 0.\n\nD\u00e9sol\u00e9e!\nIn\u00e8s\n"
    return head + text.replace("\n", "\r\n").encode("latin-1")


def write_telemedicine(at: datetime) -> bytes:
    """A question that creates a telemedicine task."""
    message = _start("Theo Grant <theo.grant@bluewaterbh.example>", "Telehealth visits rejected", at)
    message.set_content(
        "Hi,\n\nour video visits since the 1st are rejected for place of service. Should it be 10 or 02 for telehealth\n"
        "from the patient's home, and is modifier 95 still needed?\n\nTheo\n"
    )
    return message.as_bytes()


def write_without_subject(at: datetime) -> bytes:
    """A mail without a subject."""
    message = _start("Wanda Pike <wanda.pike@bluewaterbh.example>", None, at)
    message.set_content("please call me about the July statements, 555 010 7352\nwanda\n")
    return message.as_bytes()


def write_forward(at: datetime) -> bytes:
    """A forward by a colleague of a mail that a customer had sent to them."""
    message = _start(f"Omar Haddad <omar.haddad@{DOMAIN}>", "Fwd: Eligibility check for new patients", at)
    message.set_content(
        "This came to me directly, please open a ticket.\n\nOmar\n\n---------- Forwarded message ---------\n"
        f"From: Molly Stein <molly.stein@summitortho.example>\nDate: {at - timedelta(hours=3):%a, %b %d, %Y at %I:%M %p}\n"
        f"Subject: Eligibility check for new patients\nTo: Omar Haddad <omar.haddad@{DOMAIN}>\n\n\n"
        'Hi Omar,\n\nthe eligibility check returns "payer not found" for all new patients since this morning.\n\nMolly\n'
    )
    return message.as_bytes()


def write_denial(at: datetime) -> bytes:
    """A question with a table pasted as text and a second contact in Cc."""
    message = _start("Anita Rowe <anita.rowe@prairiederm.example>", "Denials – please review before Friday", at)
    message["Cc"] = "Jo Whitfield <jo.whitfield@prairiederm.example>"
    message.set_content(
        "Hello,\n\nthese three came back:\n\n"
        "  Claim     Code    Amount\n  71-1180   CO-97   $210.00\n  71-1184   CO-97   $185.50\n"
        "  71-1203   PR-204  $320.00\n\nCan the first two be appealed together?\n\nAnita Rowe, Prairie Dermatology\n"
    )
    return message.as_bytes()


def write_credentialing(at: datetime) -> bytes:
    """A question that matches a routing rule by keyword; the sender's domain is not the practice's."""
    message = _start("Evelyn Marsh <evelyn.marsh.billing@mailhub.example>", "Credentialing for Dr. Hale", at)
    message.set_content("Hi,\n\nDr. Hale starts on the 15th. Which payers still wait for credentialing papers?\n\nEvelyn\n")
    return message.as_bytes()


def _start(sender: str, subject: str | None, at: datetime) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    host = sender.rpartition("@")[2].rstrip(">")
    message["Received"] = f"from mail.{host} by mx.{DOMAIN} with ESMTPS; {format_datetime(at + timedelta(seconds=4))}"
    message["From"] = sender
    message["To"] = f"Billing Support <{SUPPORT}>"
    if subject is not None:
        message["Subject"] = subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = _message_id(sender, subject, at)
    return message


def _message_id(sender: str, subject: str | None, at: datetime) -> str:
    """Return a Message-ID that is the same for the same mail, under the host name of a provider."""
    digest = sha256(f"{sender} {subject}".encode()).hexdigest()[:16]
    return f"<{at:%Y%m%d%H%M}.{digest}@mailer.example>"


def _to_bytes(message: EmailMessage) -> bytes:
    """Return the bytes with fixed boundaries; the library's own boundaries are random."""
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"=_part_{number}_of_sample")
    return message.as_bytes()
