from __future__ import annotations

import pytest

from ingest.parsers.mail.automatic import AutomaticResult, detect_automatic
from ingest.parsers.mail.headers import read_block


def judge(lines: str, local: str = "ana", subject: str = "Hello") -> AutomaticResult:
    return detect_automatic(read_block((lines + "\n\n").encode()).headers, local, subject)


@pytest.mark.parametrize("value", ["no", "No", "NO; x=y", "(c) no", "no (c)", ""])
def test_auto_submitted_no_is_a_person(value: str) -> None:
    assert judge(f"Auto-Submitted: {value}") == judge("X-Other: y")
    assert not judge(f"Auto-Submitted: {value}").must_not_autoreply


@pytest.mark.parametrize("value", ["auto-generated", "Auto-Replied", "auto-notified; x=y", "nope", "(no) auto-replied"])
def test_any_other_auto_submitted_is_automatic(value: str) -> None:
    assert judge(f"Auto-Submitted: {value}").reasons == ("auto_submitted",)


def test_only_the_topmost_return_path_counts() -> None:
    assert judge("Return-Path: < >").reasons == ("null_return_path",)
    assert judge("Return-Path: <a@x.example>\nReturn-Path: <>").reasons == ()


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
def test_precedence_counts_only_exactly(value: str, reason: tuple[str, ...]) -> None:
    assert judge(f"Precedence: {value}").reasons == reason


@pytest.mark.parametrize("value", ["All", "oof", "DR, AutoReply", "RN,NRN , OOF"])
def test_suppressed_answers_are_not_sent_and_the_mail_stays_a_persons(value: str) -> None:
    verdict = judge(f"X-Auto-Response-Suppress: {value}")
    assert verdict.reasons == ("suppress_auto_response",)
    assert verdict.must_not_autoreply
    assert not verdict.is_auto


@pytest.mark.parametrize("value", ["None", "DR", "allow", "RN, NRN"])
def test_other_suppressions_say_nothing_about_answers(value: str) -> None:
    assert judge(f"X-Auto-Response-Suppress: {value}").reasons == ()


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
def test_no_reply_forms_are_not_answered_and_not_automatic(local: str) -> None:
    verdict = judge("X: y", local)
    assert (verdict.reasons, verdict.must_not_autoreply, verdict.is_auto) == (("no_reply",), True, False)


@pytest.mark.parametrize("local", ["ana", "reply", "noreplyson", "bruno.reply", "casino-replyteam", "norah"])
def test_people_whose_names_come_close_are_answered(local: str) -> None:
    assert judge("X: y", local).reasons == ()


def test_a_mailer_daemon_bounces_and_a_postmaster_only_with_a_null_path() -> None:
    assert judge("X: y", "mailer-daemon").is_bounce
    assert not judge("X: y", "postmaster").is_bounce
    assert judge("X: y", "postmaster").is_auto
    assert judge("Return-Path: <>", "postmaster").is_bounce


def test_an_out_of_office_with_a_null_path_is_no_bounce() -> None:
    verdict = judge("Return-Path: <>\nAuto-Submitted: auto-replied", subject="Automatic reply: x")
    assert verdict.reasons == ("auto_submitted", "null_return_path", "subject_prefix")
    assert not verdict.is_bounce


@pytest.mark.parametrize(
    ("value", "reason", "flag"),
    [
        ("multipart/report; report-type=delivery-status; boundary=x", "delivery_status_report", "is_dsn"),
        ('Multipart/Report (c); boundary=x; Report-Type="Delivery-Status"', "delivery_status_report", "is_dsn"),
        ("multipart/report; report-type=feedback-report", "feedback_report", "is_feedback_report"),
        ("multipart/report; report-type=disposition-notification", "read_receipt", "is_mdn"),
    ],
)
def test_reports_are_told_apart_by_their_type(value: str, reason: str, flag: str) -> None:
    verdict = judge(f"Content-Type: {value}")
    assert verdict.reasons == (reason,)
    assert getattr(verdict, flag)
    assert verdict.is_auto
    assert verdict.is_bounce is verdict.is_dsn


@pytest.mark.parametrize("value", ["multipart/report", "multipart/mixed; report-type=delivery-status", "text/plain"])
def test_other_content_types_are_no_reports(value: str) -> None:
    assert judge(f"Content-Type: {value}").reasons == ()


@pytest.mark.parametrize("name", ["List-Id", "List-Post", "List-Unsubscribe"])
def test_a_list_mail_is_never_answered(name: str) -> None:
    verdict = judge(f"{name}: <x>")
    assert (verdict.is_list, verdict.must_not_autoreply) == (True, True)


@pytest.mark.parametrize(
    "subject",
    ["Out of Office: x", "Automatic reply: x", "AUTO: away", "Automatische Antwort: x", "Abwesenheitsnotiz: x",
     "Réponse automatique : x", "Respuesta automática: x", "Risposta automatica: x", "Resposta automática: x",
     "Automatisch antwoord: x", "Autosvar: x", "Automatyczna odpowiedź: x", "Автоматический ответ: x", "自動応答: x"],
)  # fmt: skip
def test_an_out_of_office_subject_counts_only_together_with_another_reason(subject: str) -> None:
    assert judge("X: y", subject=subject).reasons == ()
    together = judge("X-Auto-Response-Suppress: All", subject=subject)
    assert together.reasons == ("suppress_auto_response", "subject_prefix")
    assert together.is_auto


@pytest.mark.parametrize("subject", ["Re: hello", "Automobile insurance", "Office is out of paper", "Autorepair"])
def test_an_ordinary_subject_adds_no_reason(subject: str) -> None:
    assert judge("X-Auto-Response-Suppress: All", subject=subject).reasons == ("suppress_auto_response",)
