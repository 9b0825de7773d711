from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.signing import Signer
from ingest.decisions.outcome import Plan, Planner
from ingest.ledger.types import MAX_LOSSES, ClaimedItem
from ingest.parsers import worker
from ingest.parsers.types import ParsedMail, ParsedWorkbook, Refusal
from ingest.parsers.worker import ParseFailure, ParseTask
from tests.ingest.support import KEY, RECEIVED, mail_with_file, make_form, make_mail, make_workbook, settings_for


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


def row_of(**fields: str) -> bytes:
    good = {"sender_name": "Ben", "subject": "Statement", "message": "Please."}
    return msgspec.json.encode({"fields": good | fields, "extra": {}})


def row(planner: Planner, **fields: str) -> Plan:
    return planner.plan(make_item(kind="row", source="workbook:3"), row_of(**fields), None)


def test_a_mail_has_a_submission_and_a_fingerprint(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(make_mail()))
    assert (plan.disposition, plan.retry) == ("ticket", None)
    assert plan.submission is not None
    assert plan.fingerprint


def test_our_own_mail_has_neither(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(make_mail(sender="support@casemill.example")))
    assert (plan.disposition, plan.submission, plan.fingerprint) == ("own", None, None)


def test_mail_set_aside_has_no_submission(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(make_mail(headers=["List-Id: <x.example>"])))
    assert (plan.disposition, plan.submission) == ("list", None)
    assert plan.fingerprint


def test_a_secure_senders_workbooks_are_items_of_their_own(planner: Planner) -> None:
    plan = planner.plan(make_item(), b"", read(mail_with_file("export.xlsx", b"PK.. the bytes")))
    (arrival,) = plan.children
    assert plan.disposition == "expanded"
    assert (arrival.family, arrival.kind, arrival.source, arrival.parent_id) == ("workbook", "workbook", "mail:7", 7)
    assert (arrival.raw, arrival.extra["mailbox"], arrival.extra["file"]) == (b"PK.. the bytes", "support", "export.xlsx")


def test_a_workbook_is_still_to_be_expanded(planner: Planner) -> None:
    workbook = ParsedWorkbook((), (), (), (), ())
    plan = planner.plan(make_item(kind="workbook", source="upload"), make_workbook(), workbook)
    assert plan.workbook is workbook


def test_a_form_of_no_section_is_taken_with_defaults(planner: Planner) -> None:
    raw = make_form().replace(b"5512345", b"99")
    plan = planner.plan(make_item(kind="form", source="folder:drop"), raw, worker.parse(ParseTask("form", raw)))
    assert plan.disposition == "ticket"
    assert plan.submission is not None
    assert "Formstack form" in plan.submission.reasons[0].text


def test_a_failure_among_others_is_tried_again_alone_and_counts_nothing(planner: Planner) -> None:
    plan = planner.plan(make_item(attempts=2), b"", ParseFailure("killed", alone=False))
    assert (plan.disposition, plan.retry, plan.submission) == ("failed", "alone", None)


def test_a_failure_alone_is_tried_three_times_in_all(planner: Planner) -> None:
    plans = [planner.plan(make_item(attempts=count), b"", ParseFailure("timeout", alone=True)) for count in range(3)]
    assert [plan.retry for plan in plans] == ["failed", "failed", None]
    assert [plan.disposition for plan in plans] == ["failed", "failed", "quarantined"]
    assert plans[2].reason.text == "It could not be read within its limits, 3 times in a row (timeout)"
    assert plans[2].submission is not None


def test_an_item_lost_too_often_is_set_aside_whatever_its_parser_said(planner: Planner) -> None:
    for answer in (None, read(make_mail()), ParseFailure("killed")):
        plan = planner.plan(make_item(losses=MAX_LOSSES), b"", answer)
        assert (plan.disposition, plan.reason.code) == ("quarantined", "lost_too_often")
    assert planner.plan(make_item(losses=MAX_LOSSES - 1), b"", read(make_mail())).disposition == "ticket"


@pytest.mark.parametrize(
    ("kind", "source", "disposition", "tells"),
    [
        ("mail", "mailbox:support", "quarantined", True),
        ("form", "form:1", "quarantined", True),
        ("workbook", "mail:3", "rejected", True),
        ("workbook", "folder:drop", "rejected", False),
        ("mail", "folder:drop", "rejected", False),
        ("form", "upload", "rejected", False),
    ],
)
def test_whoever_can_be_told_beside_the_file_gets_no_ticket(
    planner: Planner, kind: str, source: str, disposition: str, tells: bool
) -> None:
    plan = planner.plan(make_item(kind=kind, source=source), b"", Refusal("odd", "It is odd."))
    assert (plan.disposition, plan.reason.code, plan.submission is not None) == (disposition, "odd", tells)


def test_a_row_is_a_ticket_or_rejected_with_its_reason(planner: Planner) -> None:
    assert row(planner).disposition == "ticket"
    rejected = row(planner, sender_name="")
    assert (rejected.disposition, rejected.reason.code, rejected.submission) == ("rejected", "no_sender", None)


def test_a_row_was_received_when_it_was_sent_but_never_in_the_future(planner: Planner) -> None:
    def received(sent_at: str) -> datetime | None:
        submission = row(planner, sent_at=sent_at).submission
        return submission.received_at if submission else None

    assert received("2026-11-19 08:00") == datetime(2026, 11, 19, 8, tzinfo=UTC)
    assert received("2031-01-01") == RECEIVED
    assert received("") == RECEIVED


def test_a_message_of_which_only_the_header_came_says_so(planner: Planner) -> None:
    plan = planner.plan(make_item(kind="oversize", extra={"size": 50_000_000}), b"", read(make_mail()))
    assert (plan.disposition, plan.reason.code) == ("ticket", "oversize")
    assert plan.fingerprint


def test_a_message_that_could_not_be_fetched_is_set_aside(planner: Planner) -> None:
    plan = planner.plan(make_item(kind="unfetched"), b"", None)
    assert (plan.disposition, plan.reason.code) == ("quarantined", "unfetched")


def silence(planner: Planner, raw: bytes = b"", **values: Any) -> str | None:
    submission = planner.plan(make_item(**values), b"", read(raw or make_mail())).submission
    assert submission is not None
    return submission.silence.code if submission.silence else None


def test_mail_of_the_past_has_a_ticket_and_nobody_is_written_to_about_it(planner: Planner) -> None:
    assert silence(planner, due_at=RECEIVED + timedelta(days=29)) is None
    assert silence(planner, due_at=RECEIVED + timedelta(days=31)) == "imported_history"
    assert silence(planner, extra={"history": True}) == "imported_history"
    assert silence(planner, kind="oversize", extra={"size": 50_000_000, "history": True}) == "imported_history"
    assert silence(planner, make_mail(headers=["Auto-Submitted: auto-replied"]), extra={"history": True}) == "automatic_mail"


def test_a_forward_of_the_past_writes_to_the_original_sender_as_little(planner: Planner) -> None:
    body = "---------- Forwarded message ---------\nFrom: Ana <ana@oak.example>\nDate: Monday\nSubject: Claim\n\nDenied."
    mail = read(make_mail(body=body).replace(b"Subject: ", b"Subject: Fwd: "))
    submission = planner.plan(make_item(extra={"history": True}), b"", mail).submission
    original = submission.original if submission else None
    assert original is not None
    assert (original.email, original.silence and original.silence.code) == ("ana@oak.example", "imported_history")


def test_a_wrong_signature_is_logged_without_a_word_of_the_mail_and_ignored(
    planner: Planner, caplog: pytest.LogCaptureFixture
) -> None:
    forged = Signer([b"a key that somebody else has"], "casemill.example").message_id("t12.d3")
    plan = planner.plan(make_item(), b"", read(make_mail(headers=[f"In-Reply-To: {forged}"])))
    assert plan.submission is not None
    assert (plan.reason.code, plan.submission.replies_to) == ("new_matter", None)
    (record,) = [one for one in caplog.records if one.name == "casemill.ingest"]
    assert "wrong signature" in record.getMessage()
    assert vars(record)["item"] == 7
    assert "dana" not in str(vars(record)).lower()
