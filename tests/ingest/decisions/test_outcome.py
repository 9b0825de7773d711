from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.signing import Signer
from ingest.decisions.outcome import (
    AppendToTicket,
    CreateTicket,
    ExpandMail,
    ExpandWorkbook,
    Isolate,
    Plan,
    Planner,
    Retry,
    Settle,
)
from ingest.ledger.types import MAX_LOSSES, ClaimedItem
from ingest.parsers import worker
from ingest.parsers.types import ParsedMail, ParsedWorkbook, Refusal
from ingest.parsers.worker import ParseFailure, ParseTask
from tests.ingest.support import KEY, RECEIVED, mail_with_file, make_form, make_mail, make_workbook, settings_for
from tickets.submission import Submission


def make_item(**values: Any) -> ClaimedItem:
    defaults: dict[str, Any] = {
        "id": 7, "family": "mail", "kind": "mail", "source": "mailbox:support", "sha256": "0" * 64, "size": 1,
        "received_at": RECEIVED, "due_at": RECEIVED, "attempts": 0, "losses": 0, "alone": False, "parent_id": None, "extra": {},
    }  # fmt: skip
    return ClaimedItem(**(defaults | values))


@pytest.fixture
def planner(tmp_path: Path) -> Planner:
    return Planner(settings_for("", tmp_path), Signer([KEY.encode()], "casemill.example"))


def read(raw: bytes) -> ParsedMail:
    mail = worker.parse(ParseTask("mail", raw))
    assert isinstance(mail, ParsedMail)
    return mail


def submission_of(plan: Plan) -> Submission:
    assert isinstance(plan, CreateTicket | AppendToTicket)
    return plan.submission


def row_of(**fields: str) -> bytes:
    good = {"sender_name": "Ben", "subject": "Statement", "message": "Please."}
    return msgspec.json.encode({"fields": good | fields, "extra": {}})


def row(planner: Planner, **fields: str) -> Plan:
    return planner.plan(make_item(kind="row", source="workbook:3"), row_of(**fields), None)


def test_mail_creates_a_ticket_and_has_a_fingerprint(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(make_mail()))
    assert isinstance(plan, CreateTicket)
    assert plan.disposition == "ticket"
    assert plan.fingerprint


def test_own_mail_is_settled_without_ticket_and_fingerprint(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(make_mail(sender="support@casemill.example")))
    assert isinstance(plan, Settle)
    assert (plan.disposition, plan.fingerprint) == ("own", None)


def test_list_mail_is_settled_without_ticket_and_has_a_fingerprint(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(make_mail(headers=["List-Id: <x.example>"])))
    assert isinstance(plan, Settle)
    assert plan.disposition == "list"
    assert plan.fingerprint


def test_workbooks_of_a_secure_sender_become_items(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(mail_with_file("export.xlsx", b"PK.. the bytes")))
    assert isinstance(plan, ExpandMail)
    (arrival,) = plan.arrivals
    assert plan.disposition == "expanded"
    assert (arrival.family, arrival.kind, arrival.source, arrival.parent_id) == ("workbook", "workbook", "mail:7", 7)
    assert (arrival.raw, arrival.extra["mailbox"], arrival.extra["file"]) == (b"PK.. the bytes", "support", "export.xlsx")


def test_workbook_is_planned_for_expansion(planner: Planner) -> None:
    workbook = ParsedWorkbook((), (), (), (), ())
    plan = planner.plan(make_item(kind="workbook", source="upload"), make_workbook(), workbook)
    assert isinstance(plan, ExpandWorkbook)
    assert plan.workbook is workbook


def test_form_without_settings_is_normalised_with_defaults(planner: Planner) -> None:
    raw = make_form().replace(b"5512345", b"99")
    plan = planner.plan(make_item(kind="form", source="folder:drop"), raw, worker.parse(ParseTask("form", raw)))
    assert isinstance(plan, CreateTicket)
    assert plan.disposition == "ticket"
    assert "Formstack form" in plan.submission.reasons[0].text


def test_failure_in_a_batch_isolates_the_item_and_counts_no_attempt(planner: Planner) -> None:
    plan = planner.plan(make_item(attempts=2), b"", ParseFailure("killed", alone=False))
    assert isinstance(plan, Isolate)
    assert plan.disposition == "failed"


def test_failure_alone_is_retried_until_the_third_attempt(planner: Planner) -> None:
    plans = [planner.plan(make_item(attempts=count), b"", ParseFailure("timeout", alone=True)) for count in range(3)]
    assert [type(plan) for plan in plans] == [Retry, Retry, CreateTicket]
    assert [plan.disposition for plan in plans] == ["failed", "failed", "quarantined"]
    assert plans[2].reason.text == "It could not be read within its limits, 3 times in a row (timeout)"


def test_item_lost_too_often_is_quarantined_with_any_parser_answer(planner: Planner) -> None:
    for answer in (None, read(make_mail()), ParseFailure("killed")):
        plan = planner.plan(make_item(losses=MAX_LOSSES), b"", answer)
        assert (plan.disposition, plan.reason.code) == ("quarantined", "lost_too_often")
    assert planner.plan(make_item(losses=MAX_LOSSES - 1), b"", read(make_mail())).disposition == "ticket"


@pytest.mark.parametrize(
    ("kind", "source", "disposition", "has_ticket"),
    [
        ("mail", "mailbox:support", "quarantined", True),
        ("form", "form:1", "quarantined", True),
        ("workbook", "mail:3", "rejected", True),
        ("workbook", "folder:drop", "rejected", False),
        ("mail", "folder:drop", "rejected", False),
        ("form", "upload", "rejected", False),
    ],
)
def test_refusal_creates_a_ticket_except_for_dropped_files(
    planner: Planner, kind: str, source: str, disposition: str, has_ticket: bool
) -> None:
    plan = planner.plan(make_item(kind=kind, source=source), b"", Refusal("odd", "It is odd."))
    assert (plan.disposition, plan.reason.code, isinstance(plan, CreateTicket)) == (disposition, "odd", has_ticket)


def test_row_becomes_a_ticket_or_is_rejected_with_its_reason(planner: Planner) -> None:
    assert row(planner).disposition == "ticket"
    rejected = row(planner, sender_name="")
    assert isinstance(rejected, Settle)
    assert (rejected.disposition, rejected.reason.code) == ("rejected", "no_sender")


def test_row_is_received_when_it_was_sent_but_never_in_the_future(planner: Planner) -> None:
    def received(sent_at: str) -> datetime | None:
        return submission_of(row(planner, sent_at=sent_at)).received_at

    assert received("2026-11-19 08:00") == datetime(2026, 11, 19, 8, tzinfo=UTC)
    assert received("2031-01-01") == RECEIVED
    assert received("") == RECEIVED


def test_oversize_message_creates_a_ticket_with_that_reason(planner: Planner) -> None:
    plan = planner.plan(make_item(kind="oversize", extra={"size": 50_000_000}), b"", read(make_mail()))
    assert isinstance(plan, CreateTicket)
    assert (plan.disposition, plan.reason.code) == ("ticket", "oversize")
    assert plan.fingerprint


def test_unfetched_message_is_quarantined(planner: Planner) -> None:
    plan = planner.plan(make_item(kind="unfetched"), b"", None)
    assert (plan.disposition, plan.reason.code) == ("quarantined", "unfetched")


def silence(planner: Planner, raw: bytes = b"", **values: Any) -> str | None:
    submission = submission_of(planner.plan(make_item(**values), b"", read(raw or make_mail())))
    return submission.silence.code if submission.silence else None


def test_old_mail_creates_a_ticket_without_automatic_answer(planner: Planner) -> None:
    assert silence(planner, due_at=RECEIVED + timedelta(days=29)) is None
    assert silence(planner, due_at=RECEIVED + timedelta(days=31)) == "imported_history"
    assert silence(planner, extra={"history": True}) == "imported_history"
    assert silence(planner, kind="oversize", extra={"size": 50_000_000, "history": True}) == "imported_history"
    assert silence(planner, make_mail(headers=["Auto-Submitted: auto-replied"]), extra={"history": True}) == "automatic_mail"


def test_original_sender_of_an_old_forward_gets_no_automatic_answer(planner: Planner) -> None:
    body = "---------- Forwarded message ---------\nFrom: Ana <ana@oak.example>\nDate: Monday\nSubject: Claim\n\nDenied."
    mail = read(make_mail(body=body).replace(b"Subject: ", b"Subject: Fwd: "))
    original = submission_of(planner.plan(make_item(extra={"history": True}), b"", mail)).original
    assert original is not None
    assert (original.email, original.silence and original.silence.code) == ("ana@oak.example", "imported_history")


def test_wrong_signature_is_ignored_and_logged_without_text_of_the_mail(
    planner: Planner, caplog: pytest.LogCaptureFixture
) -> None:
    forged = Signer([b"the key of another installation"], "casemill.example").message_id("t12.d3")
    plan = planner.plan(make_item(), b"", read(make_mail(headers=[f"In-Reply-To: {forged}"])))
    assert (plan.reason.code, submission_of(plan).replies_to) == ("new_matter", None)
    (record,) = [one for one in caplog.records if one.name == "casemill.ingest"]
    assert "wrong signature" in record.getMessage()
    assert vars(record)["item"] == 7
    assert "dana" not in str(vars(record)).lower()
