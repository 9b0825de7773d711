from __future__ import annotations

import pytest

from ingest.parsers.mail.automatic import AutomaticResult, detect_automatic
from ingest.parsers.mail.headers import read_block


def detect(lines: str, local: str = "ana", subject: str = "Hello") -> AutomaticResult:
    return detect_automatic(read_block((lines + "\n\n").encode()).headers, local, subject)


@pytest.mark.parametrize("value", ["no", "No", "NO; x=y", "(c) no", "no (c)", ""])
def test_auto_submitted_no_is_not_automatic(value: str) -> None:
    assert detect(f"Auto-Submitted: {value}") == detect("X-Other: y")
    assert not detect(f"Auto-Submitted: {value}").must_not_autoreply


@pytest.mark.parametrize("value", ["auto-generated", "Auto-Replied", "auto-notified; x=y", "nope", "(no) auto-replied"])
def test_any_other_auto_submitted_is_automatic(value: str) -> None:
    assert detect(f"Auto-Submitted: {value}").reasons == ("auto_submitted",)


def test_only_the_topmost_return_path_counts() -> None:
    assert detect("Return-Path: < >").reasons == ("null_return_path",)
    assert detect("Return-Path: <a@x.example>\nReturn-Path: <>").reasons == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("bulk", ("precedence_bulk",)),
        ("Junk (really)", ("precedence_junk",)),
        ("LIST", ("precedence_list",)),
        ("auto_reply", ("precedence_auto_reply",)),
        ("bulky", ()),
        ("normal", ()),
        ("bulk mail", ()),
    ],
)
def test_precedence_value_must_match_exactly(value: str, reason: tuple[str, ...]) -> None:
    assert detect(f"Precedence: {value}").reasons == reason


@pytest.mark.parametrize("value", ["All", "oof", "DR, AutoReply", "RN,NRN , OOF"])
def test_suppressed_answers_do_not_make_a_mail_automatic(value: str) -> None:
    result = detect(f"X-Auto-Response-Suppress: {value}")
    assert result.reasons == ("suppress_auto_response",)
    assert result.must_not_autoreply
    assert not result.is_auto


@pytest.mark.parametrize("value", ["None", "DR", "allow", "RN, NRN"])
def test_other_suppress_values_do_not_forbid_answers(value: str) -> None:
    assert detect(f"X-Auto-Response-Suppress: {value}").reasons == ()


@pytest.mark.parametrize(
    "local",
    [
        "noreply",
        "no-reply",
        "no_reply",
        "no.reply",
        "noreply2",
        "no-reply+tag",
        "orders-noreply",
        "noreply-orders",
        "donotreply",
        "do-not-reply",
        "do_not_reply",
        "dont-reply",
        "noresponse",
        "nicht-antworten",
        "ne-pas-repondre",
    ],
)
def test_no_reply_addresses_are_not_answered_and_not_automatic(local: str) -> None:
    result = detect("X: y", local)
    assert (result.reasons, result.must_not_autoreply, result.is_auto) == (("no_reply",), True, False)


@pytest.mark.parametrize("local", ["ana", "reply", "noreplyson", "bruno.reply", "casino-replyteam", "norah"])
def test_names_that_resemble_no_reply_are_answered(local: str) -> None:
    assert detect("X: y", local).reasons == ()


def test_mailer_daemon_is_a_bounce_and_postmaster_only_with_a_null_path() -> None:
    assert detect("X: y", "mailer-daemon").is_bounce
    assert not detect("X: y", "postmaster").is_bounce
    assert detect("X: y", "postmaster").is_auto
    assert detect("Return-Path: <>", "postmaster").is_bounce


def test_out_of_office_with_a_null_path_is_not_a_bounce() -> None:
    result = detect("Return-Path: <>\nAuto-Submitted: auto-replied", subject="Automatic reply: x")
    assert result.reasons == ("auto_submitted", "null_return_path", "subject_prefix")
    assert not result.is_bounce


@pytest.mark.parametrize(
    ("value", "reason", "flag"),
    [
        ("multipart/report; report-type=delivery-status; boundary=x", "delivery_status_report", "is_dsn"),
        ('Multipart/Report (c); boundary=x; Report-Type="Delivery-Status"', "delivery_status_report", "is_dsn"),
        ("multipart/report; report-type=feedback-report", "feedback_report", "is_feedback_report"),
        ("multipart/report; report-type=disposition-notification", "read_receipt", "is_mdn"),
    ],
)
def test_kind_of_report_follows_its_report_type(value: str, reason: str, flag: str) -> None:
    result = detect(f"Content-Type: {value}")
    assert result.reasons == (reason,)
    assert getattr(result, flag)
    assert result.is_auto
    assert result.is_bounce is result.is_dsn


@pytest.mark.parametrize("value", ["multipart/report", "multipart/mixed; report-type=delivery-status", "text/plain"])
def test_other_content_types_are_not_reports(value: str) -> None:
    assert detect(f"Content-Type: {value}").reasons == ()


@pytest.mark.parametrize("name", ["List-Id", "List-Post", "List-Unsubscribe"])
def test_a_list_mail_is_never_answered(name: str) -> None:
    result = detect(f"{name}: <x>")
    assert (result.is_list, result.must_not_autoreply) == (True, True)


@pytest.mark.parametrize(
    "subject",
    ["Out of Office: x", "Automatic reply: x", "AUTO: away", "Automatische Antwort: x", "Abwesenheitsnotiz: x",
     "Réponse automatique : x", "Respuesta automática: x", "Risposta automatica: x", "Resposta automática: x",
     "Automatisch antwoord: x", "Autosvar: x", "Automatyczna odpowiedź: x", "Автоматический ответ: x", "自動応答: x"],
)  # fmt: skip
def test_an_out_of_office_subject_counts_only_together_with_another_reason(subject: str) -> None:
    assert detect("X: y", subject=subject).reasons == ()
    together = detect("X-Auto-Response-Suppress: All", subject=subject)
    assert together.reasons == ("suppress_auto_response", "subject_prefix")
    assert together.is_auto


@pytest.mark.parametrize("subject", ["Re: hello", "Automobile insurance", "Office is out of paper", "Autorepair"])
def test_an_ordinary_subject_adds_no_reason(subject: str) -> None:
    assert detect("X-Auto-Response-Suppress: All", subject=subject).reasons == ("suppress_auto_response",)
