"""Thread tokens: what a mail carries that names its ticket."""

from __future__ import annotations

import msgspec
import pytest

from core.signing import Signer, signer_for
from ingest.decisions import thread_tokens
from ingest.decisions.classify import classify
from ingest.decisions.mail_rules import MailRules, rules_for
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import Authentication, ParsedMail, ParseOptions
from tests.ingest.support import KEY, mailbox, make_mail, settings_for

SIGNER = Signer([KEY.encode()], "casemill.example", reply="help")
STRANGER = Signer([b"another key, long enough"], "casemill.example", reply="help")
RULES = MailRules(
    frozenset(),
    "casemill.example",
    frozenset(),
    verify_message_id=SIGNER.verify_message_id,
    verify_reply_address=SIGNER.verify_reply_address,
    verify_link=SIGNER.verify_link,
    verify_envelope_sender=SIGNER.verify_envelope_sender,
)
NOTICE = SIGNER.message_id("t12.d34")
ADDRESS = SIGNER.reply_address("t12")
LINK = f"https://desk.example/care/cases/{SIGNER.link('t12')}"


def read(*headers: str, body: str = "Hello", subject: str = "") -> ParsedMail:
    mail = parse_mail(make_mail(headers=[*([f"Subject: {subject}"] if subject else []), *headers], body=body), ParseOptions())
    assert isinstance(mail, ParsedMail)
    return mail


@pytest.mark.parametrize(
    "headers",
    [
        [f"In-Reply-To: {NOTICE}"],
        [f"In-Reply-To: <a@x.example> {NOTICE}\r\nReferences: {SIGNER.message_id('t9.d1')}"],
        [f"References: <a@x.example> {NOTICE} <b@x.example>"],
        [f"In-Reply-To: <a@x.example>\r\nReferences: {SIGNER.message_id('t9.d1')} {NOTICE}"],
        [f"References: {NOTICE}\r\nDelivered-To: {SIGNER.reply_address('t9')}"],
        [f"Cc: Support <{ADDRESS}>"],
        [f"Delivered-To: {ADDRESS.upper()}"],
        [f"X-Original-To: {ADDRESS}"],
        [f"Envelope-To: <{ADDRESS}>"],
        [f"Delivered-To: {SIGNER.envelope_sender('t12.d34')}"],
    ],
)
def test_signed_message_id_then_signed_address_leads_to_the_ticket(headers: list[str]) -> None:
    assert thread_tokens.answered_ticket(read(*headers), RULES) == 12


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [f"In-Reply-To: {STRANGER.message_id('t12.d34')}"],
        [f"In-Reply-To: {NOTICE.replace('t12', 't13')}"],
        [f"Cc: {STRANGER.reply_address('t12')}"],
        [f"Cc: {SIGNER.envelope_sender('t12')}"],
        ["Cc: help+t12@casemill.example"],
    ],
)
def test_token_without_our_signature_leads_to_no_ticket(headers: list[str]) -> None:
    assert thread_tokens.answered_ticket(read(*headers), RULES) is None


def test_forged_token_is_recognised_and_ordinary_replies_are_not() -> None:
    assert thread_tokens.has_forged_token(read(f"In-Reply-To: {STRANGER.message_id('t12.d34')}"), RULES)
    for header in (f"In-Reply-To: {NOTICE}", "In-Reply-To: <a@x.example>", "X-Other: y"):
        assert not thread_tokens.has_forged_token(read(header), RULES)


@pytest.mark.parametrize("body", [f"> See your case:\r\n> {LINK}\r\n", f"see {LINK}.", f"<{LINK}>"])
def test_signed_link_in_the_text_leads_to_the_ticket(body: str) -> None:
    assert thread_tokens.linked_ticket(read(body=body), RULES) == 12


@pytest.mark.parametrize(
    "body", ["", f"https://desk.example/care/cases/{STRANGER.link('t12')}", LINK[:-1], f"{LINK}x", LINK.replace("t12", "t13")]
)
def test_link_without_our_signature_leads_to_no_ticket(body: str) -> None:
    assert thread_tokens.linked_ticket(read(body=body), RULES) is None


@pytest.mark.parametrize(
    ("subject", "ticket"),
    [("Re: [BS-000123] Claim", 123), ("AW: BS-000123", 123), ("[bs-7]", 7), ("BS-12 and more", None), ("ABS-000123", None)],
)
def test_ticket_number_in_the_subject_is_read(subject: str, ticket: int | None) -> None:
    assert thread_tokens.tagged_ticket(read(subject=subject)) == ticket


def test_answered_keys_of_a_long_thread_are_the_nearest() -> None:
    references = " ".join(f"<{number}@x.example>" for number in range(40))
    keys = thread_tokens.answered_keys(read(f"In-Reply-To: <39@x.example>\r\nReferences: {references}"))
    assert keys[:2] == (thread_tokens.mail_key("<39@x.example>"), thread_tokens.mail_key("<38@x.example>"))
    assert len(keys) <= thread_tokens.MAX_ANSWERED_IDS


def test_reply_addresses_follow_the_settings(tmp_path: object) -> None:
    notices = {"domain": "casemill.example", "reply_to": "help@casemill.example", "plus_addressing": True}
    settings = settings_for("", tmp_path, notices=notices)
    rules = rules_for(settings, "upload", signer_for(settings))
    assert thread_tokens.answered_ticket(read(f"Delivered-To: {signer_for(settings).reply_address('t12')}"), rules) == 12
    assert thread_tokens.answered_ticket(read(f"Delivered-To: {ADDRESS}"), rules) == 12


@pytest.mark.parametrize("authentication", [None, Authentication(False, "dmarc", "dmarc=fail for riverside.example")])
def test_mailbox_with_authserv_id_answers_only_verified_senders(tmp_path: object, authentication: Authentication | None) -> None:
    settings = settings_for("", tmp_path, mailboxes={"support": mailbox(authserv_id="mx.casemill.example")})
    rules = rules_for(settings, "mailbox:support", signer_for(settings))
    silent = classify(_with_authentication(read(), authentication), rules)
    assert (silent.disposition, silent.silence and silent.silence.code) == ("ticket", "sender_not_verified")
    assert classify(_with_authentication(read(), Authentication(True, "dmarc", "dmarc=pass")), rules).silence is None


def _with_authentication(mail: ParsedMail, result: Authentication | None) -> ParsedMail:
    return msgspec.structs.replace(mail, authentication=result)
