"""What a parsed mail is, and whether its sender may be answered (mail-rules.md). Pure: the first rule that applies decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.reasons import Reason
from ingest.decisions.mail_rules import HISTORY, MailRules
from ingest.decisions.thread_tokens import answered_ticket, marked_ticket
from ingest.parsers.types import ParsedMail
from outbox.facts import BounceReceived, Fact, ReportReceived
from tickets.numbers import number

#: The token of a notice's Message-ID (ticket and delivery) or of its bounce address (delivery).
_DELIVERY_TOKEN = re.compile(r"(?:\A|\.)d([1-9][0-9]{0,17})\Z")

#: Reason code of the parser → what a person reads.
SIGNALS: Mapping[str, str] = {
    "auto_submitted": "its Auto-Submitted header says so (RFC 3834)",
    "null_return_path": "its return path is empty (RFC 5321)",
    "delivery_status_report": "it is a delivery report (RFC 3464)",
    "failed_recipients": "it names failed recipients",
    "mailer_daemon": "a mail system sent it",
    "feedback_report": "it is a complaint report (RFC 5965)",
    "read_receipt": "it is a read receipt (RFC 8098)",
    "no_reply": "its sender takes no replies",
    "suppress_auto_response": "it asks for no automatic answer",
    "precedence_bulk": "it is marked as bulk mail",
    "precedence_list": "it is marked as list mail",
    "precedence_junk": "it is marked as junk",
    "precedence_auto_reply": "it is marked as an automatic reply",
    "subject_prefix": "its subject reads like an automatic reply",
    "list_id": "it came through a mailing list (RFC 2919)",
    "list_post": "it came through a mailing list (RFC 2369)",
    "list_unsubscribe": "it is a bulk mailing (RFC 2369)",
}


@dataclass(frozen=True, slots=True)
class Classification:
    """The disposition and why; ``silence`` is why the sender gets no automatic answer, None when they may be answered.

    ``otherwise`` is set where it is only to be added to the ticket it belongs to: what becomes of it when there is none.
    """

    disposition: str
    reason: Reason
    silence: Reason | None = None
    otherwise: Classification | None = None


def classify(mail: ParsedMail, rules: MailRules) -> Classification:
    """The first rule that applies: own, report, bounce, reply, secure messages, list, automatic, and else a ticket."""
    for rule in (_own, _report, _bounce, _reply, _secure_messages, _list, _automatic):
        verdict = rule(mail, rules)
        if verdict is not None:
            return verdict
    return Classification(
        "ticket", Reason("new_matter", "A person wrote, and it belongs to no known ticket"), _silence(mail, rules)
    )


def _own(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.message_id is not None and rules.own_token(mail.message_id) is not None:
        return _unanswered("own", "own_message_id", "Its Message-ID carries our own signature")
    if mail.from_addr in rules.own_addresses:
        return _unanswered("own", "own_address", "It comes from one of our own addresses")
    if any(rules.own_domain in re.split(r"[^a-z0-9.-]+", value.casefold()) for value in mail.x_loop):
        return _unanswered("own", "own_loop_mark", "It carries our own X-Loop mark")
    return None


def _report(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.is_feedback_report:
        return _unanswered("automatic", "complaint_report", "It is a complaint report (RFC 5965), recorded and not answered")
    if mail.is_mdn:
        return _unanswered("automatic", "read_receipt", "It is a read receipt (RFC 8098), recorded and not answered")
    if mail.report is not None and mail.report.kind == "delay":
        return _unanswered("automatic", "delay_warning", "It warns that a mail is late, which is no bounce (RFC 3464)")
    if mail.report is not None and mail.report.kind == "delivery":
        return _unanswered("automatic", "delivery_report", "It reports that a mail arrived (RFC 3464)")
    return None


def _bounce(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.is_bounce:
        return _unanswered("bounce", "bounce", f"It reports that a mail did not arrive: {_signals(mail)}")
    return None


def report_fact(mail: ParsedMail, rules: MailRules, item_id: int) -> Fact | None:
    """What a report says of a delivery of ours; None for what is no report, or of nothing that we sent.

    The embedded Message-ID or the bounce address it came to must carry our signature, so nobody can bounce a stranger's mail.
    """
    report = mail.report
    delivery_id = _reported_delivery(mail, rules) if report is not None else None
    if report is None or delivery_id is None:
        return None
    action, status = (next(iter(words), "")[:80] for words in (report.action, report.status))
    if report.kind in ("bounce", "delay"):
        return BounceReceived(item_id, delivery_id, report.kind == "delay", status, action, report.permanent, rules.bounce_days)
    return ReportReceived(item_id, delivery_id, report.kind, action)


def _reported_delivery(mail: ParsedMail, rules: MailRules) -> int | None:
    named = mail.report.message_id if mail.report else None
    tokens = [rules.own_token(named)] if named else []
    tokens += [rules.own_envelope(address) for address in (*mail.delivered_to, *mail.to, *mail.cc)]
    matches = (_DELIVERY_TOKEN.search(token) for token in tokens if token)
    return next((int(match[1]) for match in matches if match), None)


def _reply(mail: ParsedMail, rules: MailRules) -> Classification | None:
    """An answer to a mail of ours goes to its ticket, an automatic one too; automatic mail is never answered."""
    ticket_id = answered_ticket(mail, rules)
    if ticket_id is None:
        return None
    reason = Reason("reply_to_notice", f"It answers our mail about {number(ticket_id)}")
    if mail.is_auto:
        set_aside = None if mail.is_list else _automatic(mail, rules)
        otherwise = set_aside if set_aside and set_aside.disposition != "ticket" else None
        return Classification("ticket", reason, Reason("automatic_mail", f"A machine sent it: {_signals(mail)}"), otherwise)
    return Classification("ticket", reason, _silence(mail, rules))


def _secure_messages(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.from_addr in rules.secure_senders and any(is_workbook(a.name, a.sniffed) for a in mail.attachments):
        return _unanswered("expanded", "secure_message_workbook", "A secure-message sender sent workbooks: each row is an item")
    return None


def _list(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if not mail.is_list and "precedence_bulk" not in mail.automatic:
        return None
    reason = f"It is list or bulk mail: {_signals(mail)}"
    return _unless_known("ticket" if rules.lists == "ticket" else "list", "list_mail", reason, mail, rules)


def _automatic(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if not mail.is_auto:
        return None
    reason = f"A machine sent it: {_signals(mail)}"
    return _unless_known("ticket" if rules.automatic == "ticket" else "automatic", "automatic_mail", reason, mail, rules)


def _unless_known(disposition: str, code: str, text: str, mail: ParsedMail, rules: MailRules) -> Classification:
    """What is set aside is added to its ticket all the same when it names one: only the database knows whether there is one."""
    verdict = _unanswered(disposition, code, text)
    names_one = mail.in_reply_to or mail.references or marked_ticket(mail, rules)
    return replace(verdict, otherwise=verdict) if disposition != "ticket" and names_one else verdict


def _silence(mail: ParsedMail, rules: MailRules) -> Reason | None:
    """Why a person's mail is not answered all the same."""
    if rules.history:
        return HISTORY
    if mail.from_addr is None:
        return Reason("no_address", "The mail names no single sender that could be answered")
    if mail.must_not_autoreply:
        return Reason("must_not_autoreply", f"Not to be answered automatically: {_signals(mail)}")
    domain = mail.from_addr.rpartition("@")[2]
    if mail.from_addr in rules.never_answer or domain in rules.never_answer:
        return Reason("never_answer", "The sender is on the list of those never answered")
    if rules.authserv_id and (mail.authentication is None or not mail.authentication.passed):
        why = mail.authentication.text if mail.authentication else "the mail server was not asked"
        return Reason("sender_not_verified", f"The sender is not verified: {why}")
    return None


def is_workbook(name: str, sniffed: str | None) -> bool:
    """Whether an attachment goes the workbook way: by its name, or by what its bytes are."""
    return name.casefold().endswith((".xlsx", ".xlsm")) or (sniffed or "").endswith("spreadsheetml.sheet")


def _unanswered(disposition: str, code: str, text: str) -> Classification:
    reason = Reason(code, text)
    return Classification(disposition, reason, reason)


def _signals(mail: ParsedMail) -> str:
    texts = [SIGNALS.get(code, f"header sign {code.replace('_', ' ')}") for code in mail.automatic]
    return "; ".join(dict.fromkeys(texts)) or "its headers say so"
