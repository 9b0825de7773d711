"""Sample inputs: signed form requests and a workbook, with dates relative to ``now``; the mails are in demo.mails."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import new as make_hmac
from typing import Any

from openpyxl import Workbook

from core import clock
from demo.configuration import FORM_ID, SIGNATURE_KEY

__all__ = ["FORM_BODIES", "build_form_posts", "build_workbook", "sign_body"]

#: One submission each by API names, by field ids with types, and by labels (formstack.md): content type, body.
FORM_BODIES = (
    (
        "application/json",
        b'{"FormID":"5512345","UniqueID":"1512345678","HandshakeKey":"demo-shared-secret",'
        b'"practice_name":"Riverside Family Clinic","contact":{"first":"Dana","last":"Ortiz"},'
        b'"email":"dana.ortiz@riverside.example","phone":"(555) 010-4477","type_of_request":"Claim status question",'
        b'"details":"Claim 88-2041 was denied twice.\\nPlease call me after 2 pm.",'
        b'"attachment":"https://www.formstack.com/admin/download/file/18446744073"}',
    ),
    (
        "application/json",
        b'{"FormID":"5512345","UniqueID":"1512345679",'
        b'"172000001":{"value":"Riverside Family Clinic","field_type":"text"},'
        b'"172000002":{"first":"Dana","last":"Ortiz","field_type":"name"},'
        b'"172000003":{"value":"dana.ortiz@riverside.example","field_type":"email"},'
        b'"172000004":{"address":"12 Mill Rd","city":"Austin","state":"TX","zip":"78701","field_type":"address"},'
        b'"172000005":{"value":["Eligibility","Denials"],"field_type":"checkbox"},'
        b'"172000006":{"value":"Nov 20, 2026 09:30 AM","field_type":"datetime"}}',
    ),
    (
        "application/x-www-form-urlencoded; charset=utf-8",
        b"FormID=5512345&UniqueID=1512345680&HandshakeKey=demo-shared-secret&Practice+Name=Riverside+Family+Clinic"
        b"&Contact=first+%3D+Dana%0Alast+%3D+Ortiz&Email=dana.ortiz%40riverside.example"
        b"&Type+of+Request=Claim+status+question&Details=Caf%C3%A9+%E2%98%95+100%25+%26+more",
    ),
)

HEADERS = (
    "Message ID", "Sent Date", "Practice", "Account Number", "Sender Name", "Sender Email", "Phone", "Subject", "Message",
    "Category", "Claim Reference",
)  # fmt: skip
RIVERSIDE = ("Riverside Family Clinic", "100234", "Dana Ortiz", "dana.ortiz@riverside.example", "(555) 010-4477")
OAK_HILL = ("Oak Hill Pediatrics", "100871", "Helen Cho", "helen.cho@oakhillpeds.example", "(555) 010-2210")
SUMMIT = ("Summit Orthopedics & Sports Medicine", "102455", "Raj Patel", "raj.patel@summitortho.example", "(555) 010-6120")
BLUEWATER = ("Bluewater Behavioral Health", "101902", "Theo Grant", "theo.grant@bluewaterbh.example", "(555) 010-7350")
PRAIRIE = ("Prairie Dermatology Associates", "103118", "Anita Rowe", "anita.rowe@prairiederm.example", "")
NO_SENDER = ("Prairie Dermatology Associates", "103118", "", "", "")

#: id, hours ago, who, subject, message, category, claim; SM-1004 comes twice and SM-1007 has no sender.
INBOX = (
    ("SM-1001", 30, RIVERSIDE, "ERA missing", "The ERA for check 55810 has not been posted.", "Payments", "88-2051"),
    ("SM-1002", 29, OAK_HILL, "Secondary insurance", "Please bill the secondary for this visit.", "Claims", "70-4410"),
    ("SM-1003", 27, SUMMIT, "Workers comp form", "Which form do you need for the Texas carrier?", "Workers Comp", ""),
    ("SM-1004", 26, BLUEWATER, "Video visit codes", "Is 90837 allowed by telehealth for this plan?", "Telemedicine", "61-0032"),
    ("SM-1004", 26, BLUEWATER, "Video visit codes", "Is 90837 allowed by telehealth for this plan?", "Telemedicine", "61-0032"),
    ("SM-1005", 22, PRAIRIE, "Appeal letter", "Please send us the letter for claim 71-1180.", "Denials", "71-1180"),
    ("SM-1006", 20, OAK_HILL, "Refund to patient", "The family overpaid by $40, how do we refund?", "Payments", ""),
    ("SM-1007", 19, NO_SENDER, "Fee schedule", "Our fee schedule changes next month.", "Setup", ""),
    ("SM-1008", 8, RIVERSIDE, "New provider", "Dr. Ames joins on Monday, NPI to follow.", "Setup", ""),
    ("SM-1009", 6, SUMMIT, "Authorization number", "The authorization for the MRI is 00417735.", "Claims", "92-7714"),
    ("SM-1010", 3, BLUEWATER, "Statement address", "Statements still go to our old address.", "", ""),
    ("SM-1011", 1, PRAIRIE, "Duplicate charge", "Biopsy was charged twice on the same day.", "Claims", "71-1240"),
)
FOLLOW_UPS = (
    ("SM-2001", 5, OAK_HILL, "Vaccines for Children", "Which code for the administration fee?", "Claims", ""),
    ("SM-2002", 2, RIVERSIDE, "Timely filing", "Is it too late for visits in March?", "Denials", "88-1990"),
)
ARCHIVED = (("SM-0900", 900, RIVERSIDE, "Old message", "This was answered last month.", "Claims", ""),)


def sign_body(body: bytes, key: str = SIGNATURE_KEY) -> str:
    """Return the value of ``X-FS-Signature`` for a body (developers.formstack.com/docs/webhook-setup)."""
    return f"sha256={make_hmac(key.encode(), body, sha256).hexdigest()}"


def build_form_posts(key: str = SIGNATURE_KEY) -> list[tuple[bytes, dict[str, str]]]:
    """Return body and headers of three requests as Formstack sends them, signed with ``key``."""
    agent = f"FormstackWebhook/1.0 (Form {FORM_ID})"
    return [
        (body, {"Content-Type": kind, "User-Agent": agent, "X-FS-Signature": sign_body(body, key)}) for kind, body in FORM_BODIES
    ]


def build_workbook(now: datetime | None = None) -> bytes:
    """Return a workbook (.xlsx) of secure messages: a title above the headers, a second sheet, and a hidden sheet to ignore."""
    now = (now or clock.now()).replace(tzinfo=None, microsecond=0)
    book = Workbook()
    inbox = book.worksheets[0]
    inbox.title = "Inbox"
    inbox.append(["Secure messages", None, "exported", now])
    inbox.append([])
    _append_rows(inbox, INBOX, now)
    _append_rows(book.create_sheet("Follow-ups"), FOLLOW_UPS, now)
    hidden = book.create_sheet("Archive")
    hidden.sheet_state = "hidden"
    _append_rows(hidden, ARCHIVED, now)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _append_rows(sheet: Any, rows: tuple[tuple[Any, ...], ...], now: datetime) -> None:
    sheet.append(HEADERS)
    for identity, hours, who, subject, text, category, claim in rows:
        cells = [identity, now - timedelta(hours=hours), *who, subject, text, category, claim]
        sheet.append([cell or None for cell in cells])
