"""Every key of `explain --json` has a value other than its empty one in a test, for each kind of line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.inspection.explain import Explainer
from ingest.parser_pool import ParserPool
from ingest.sources.upload import find_files
from tests.ingest.support import make_form, make_mail, make_row, make_workbook, settings_for

CORPUS = Path(__file__).parents[1] / "corpus" / "mail"
Explain = Callable[[str, bytes], list[dict[str, Any]]]

TEXT = "It was denied again.\n\n-- \nDana Ortiz\n\n"
TEXT += "On Mon, Nov 2, 2026 at 9:12 AM Support <s@acme.example> wrote:\n\n> Was it paid?\n"
PERSON = (
    b"From: Dana Ortiz <dana@oak.example>\nTo: support@casemill.example, Lee <lee@oak.example>\nCc: pat@oak.example\n"
    b"Subject: =?utf-8?q?Claim_=E2=84=96_7?=\nDate: Fri, 20 Nov 2026 09:15:00 -0500\nMessage-ID: <n3@oak.example>\n"
    b"In-Reply-To: <n2@acme.example>\nReferences: <n1@oak.example> <n2@acme.example>\nMIME-Version: 1.0\n"
    b"Content-Type: multipart/mixed; boundary=m\n\n--m\nContent-Type: multipart/alternative; boundary=a\n\n"
    b"--a\nContent-Type: text/plain; charset=x-nothing\n\n" + TEXT.encode() + b"\n--a\nContent-Type: text/html\n\n"
    b"<p>It was <b>denied</b> again.</p>\n--a--\n--m\nContent-Type: application/pdf\n"
    b"Content-Disposition: attachment; filename=denial.pdf\n\n%PDF-1.7 denial\n--m--\n"
)
FILE = {
    "name": "denial.pdf", "type": "application/pdf", "size": 15, "sha256": hashlib.sha256(b"%PDF-1.7 denial").hexdigest(),
    "inline": False,
}  # fmt: skip
PERSONS_KEYS = {
    "path": "person.eml", "from": "dana@oak.example", "from_name": "Dana Ortiz",
    "to": ["support@casemill.example", "lee@oak.example"], "cc": ["pat@oak.example"], "subject": "Claim № 7",
    "date": "2026-11-20T14:15:00+00:00", "message_id": "<n3@oak.example>", "in_reply_to": "<n2@acme.example>",
    "references": ["<n1@oak.example>", "<n2@acme.example>"], "body": TEXT.strip(), "html_text": "It was denied again.",
    "reply": "It was denied again.", "signature": "-- \nDana Ortiz",
    "quoted": "On Mon, Nov 2, 2026 at 9:12 AM Support <s@acme.example> wrote:\n\n> Was it paid?", "attachments": [FILE],
    "requester": "dana@oak.example", "disposition": "ticket", "reason": "A person wrote, and the mail belongs to no known ticket",
}  # fmt: skip
#: Message of the corpus → the keys it tests.
MACHINES: dict[str, dict[str, Any]] = {
    "bounce_postfix": {
        "is_auto": True, "is_bounce": True, "is_dsn": True, "must_not_autoreply": True, "disposition": "bounce",
        "automatic": ["auto_submitted", "null_return_path", "delivery_status_report", "mailer_daemon"],
        "bounce": {
            "recipients": ["gone@customer.example"], "status": ["5.1.1"], "action": ["failed"], "permanent": True,
            "message_id": "<t12.d34.abcdefghijklmnopqrstuvwxyz@acme.example>",
        },
    },
    "list_id": {"is_list": True, "automatic": ["list_id"], "disposition": "list"},
    "complaint_abuse": {"is_feedback_report": True, "disposition": "automatic"},
    "receipt_displayed": {"is_mdn": True, "disposition": "automatic"},
    "forward_attached": {
        "is_forward": True, "requester": "sam.ortega@acme.example",
        "forward": {
            "kind": "attached", "from": "ana@customer.example", "from_name": "Ana Bell", "subject": "Claim 4711 denied",
            "date": "2025-10-06T07:15:00+00:00", "to": ["office@acme.example"], "cc": [], "body": "The payer denied it again.",
            "message": "Please help her.",
            "attachments": [{
                "name": "denial.txt", "type": "text/plain", "size": 5, "sha256": hashlib.sha256(b"CO-97").hexdigest(),
                "inline": False,
            }],
        },
    },
}  # fmt: skip


@pytest.fixture
def explain(tmp_path: Path, parser_pool: ParserPool) -> Explain:
    def run(name: str, content: bytes) -> list[dict[str, Any]]:
        (tmp_path / name).write_bytes(content)
        explainer = Explainer(settings_for("sqlite:///nowhere/at-all.db", tmp_path / "var"), parser_pool)
        lines = [one.as_dict() for one in explainer.explain_files(find_files([tmp_path / name]).files)]
        assert {line["path"] for line in lines} == {str(tmp_path / name)}
        return [line | {"path": name} for line in lines]

    return run


def test_mail_of_a_person_is_explained_with_every_key(explain: Explain) -> None:
    (line,) = explain("person.eml", PERSON)
    assert {key: line[key] for key in PERSONS_KEYS} == PERSONS_KEYS
    assert [note for note in line["notes"] if "charset" in note], line["notes"]


@pytest.mark.parametrize("name", MACHINES)
def test_automatic_and_forwarded_mail_is_explained_with_every_key(explain: Explain, name: str) -> None:
    (line,) = explain(f"{name}.eml", (CORPUS / f"{name}.eml").read_bytes())
    assert {key: line[key] for key in MACHINES[name]} == MACHINES[name]


def test_every_key_of_a_message_is_covered_by_these_tests(explain: Explain) -> None:
    (line,) = explain("person.eml", PERSON)
    shown = {*PERSONS_KEYS, "notes", *(key for keys in MACHINES.values() for key, value in keys.items() if value)}
    assert set(line) == shown


def test_form_is_explained_with_every_key(explain: Explain) -> None:
    (line,) = explain("form.json", make_form(1, email="dana@riverside.example", practice_name="Riverside"))
    assert line == {
        "path": "form.json", "form_id": "5512345", "submission_id": "1512345601", "requester": "dana@riverside.example",
        "fields": {"email": "dana@riverside.example", "practice_name": "Riverside"}, "disposition": "ticket",
        "reason": "The form Billing questions was filled in",
    }  # fmt: skip


def test_row_is_explained_with_every_key_and_a_rejected_one_with_its_reason(explain: Explain) -> None:
    good, bad = explain("book.xlsx", make_workbook(make_row(1), make_row(2, Message="", Subject="")))
    assert good == {
        "path": "book.xlsx", "sheet": "Messages", "row": 2, "requester": "ben1@riverside.example", "disposition": "ticket",
        "reason": "A secure message from the practice software", "fields": good["fields"],
    }  # fmt: skip
    wanted = {
        "message_id": "1", "company": "Riverside Family Clinic", "sender_name": "Ben Ortiz", "subject": "Statement 1",
        "sender_email": "ben1@riverside.example", "message": "Please resend statement 1.",
    }  # fmt: skip
    assert {key: good["fields"][key] for key in wanted} == wanted
    assert good["fields"]["sent_at"].startswith("2026-11-19")
    assert (bad["row"], bad["disposition"], bad["requester"]) == (3, "rejected", None)
    assert bad["reason"] == "The row has neither a message nor a subject."
    assert bad["fields"]["sender_email"] == "ben2@riverside.example"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.eml", b"", "The file is empty."),
        ("broken.json", b"{", "JSON"),
        ("old.xls", b"\xd0\xcf\x11\xe0", ".xls files are not accepted: open the file in Excel and save it as .xlsx."),
        ("odd.xlsx", b"PK\x03\x04" + b"x" * 500, "The file is damaged"),
    ],
)
def test_unreadable_file_has_one_line_with_all_keys_and_a_reason(
    explain: Explain, name: str, content: bytes, reason: str
) -> None:
    (line,) = explain(name, content)
    whole = {".eml": ("person.eml", PERSON), ".json": ("form.json", make_form(1))}
    example = whole.get(Path(name).suffix, ("book.xlsx", make_workbook(make_row(1))))
    assert set(line) == set(explain(*example)[0])
    assert (line["path"], line["disposition"]) == (name, "rejected")
    assert reason in line["reason"]
    assert not any(value for key, value in line.items() if key not in ("path", "disposition", "reason"))


def test_missing_values_of_a_mail_are_null_or_empty(explain: Explain) -> None:
    (line,) = explain("a.eml", make_mail(1))
    nothing = {key for key, value in line.items() if value in (None, [], False)}
    assert nothing >= {"cc", "quoted", "signature", "html_text", "bounce", "forward", "in_reply_to", "references", "notes"}
