"""Classify a parsed mail, and decide whether its sender may be answered automatically (mail-rules.md). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.reasons import Reason
from ingest.decisions.mail_rules import IMPORTED_HISTORY, MailRules
from ingest.decisions.thread_tokens import answered_ticket, linked_ticket
from ingest.parsers.types import ParsedMail
from outbox.facts import BounceReceived, Fact, ReportReceived
from tickets.numbers import format_number

#: The signed text of a Message-ID (ticket and delivery) or of a bounce address (delivery).
_DELIVERY_TOKEN = re.compile(r"(?:\A|\.)d([1-9][0-9]{0,17})\Z")

#: Reason code of the parser → the sentence for users.
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
    """The disposition of a mail and its reason.

    ``silence`` is why the sender gets no automatic answer, None when they may get one. With a ``fallback``, the mail is appended
    to the ticket it belongs to and opens none; the fallback holds when there is no such ticket.
    """

    disposition: str
    reason: Reason
    silence: Reason | None = None
    fallback: Classification | None = None


def classify(mail: ParsedMail, rules: MailRules) -> Classification:
    """Return the result of the first rule that applies.

    The order is: own mail, report, bounce, reply to a notice, secure messages, list, automatic mail. All other mail is a ticket.
    """
    for rule in (_own, _report, _bounce, _reply, _secure_messages, _list, _automatic):
        classification = rule(mail, rules)
        if classification is not None:
            return classification
    return Classification(
        "ticket", Reason("new_matter", "A person wrote, and the mail belongs to no known ticket"), _silence(mail, rules)
    )


def _own(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.message_id is not None and rules.verify_message_id(mail.message_id) is not None:
        return _unanswered("own", "own_message_id", "Its Message-ID carries our own signature")
    if mail.from_addr in rules.own_addresses:
        return _unanswered("own", "own_address", "It comes from one of our own addresses")
    if any(rules.own_domain in re.split(r"[^a-z0-9.-]+", value.casefold()) for value in mail.x_loop):
        return _unanswered("own", "own_loop_mark", "Its X-Loop header names our own domain")
    return None


def _report(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.is_feedback_report:
        return _unanswered(
            "automatic", "complaint_report", "It is a complaint report (RFC 5965); it is recorded and not answered"
        )
    if mail.is_mdn:
        return _unanswered("automatic", "read_receipt", "It is a read receipt (RFC 8098); it is recorded and not answered")
    if mail.report is not None and mail.report.kind == "delay":
        return _unanswered("automatic", "delay_warning", "It warns that a mail is delayed, which is no bounce (RFC 3464)")
    if mail.report is not None and mail.report.kind == "delivery":
        return _unanswered("automatic", "delivery_report", "It reports that a mail was delivered (RFC 3464)")
    return None


def _bounce(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.is_bounce:
        return _unanswered("bounce", "bounce", f"It reports that a mail was not delivered: {_describe_signals(mail)}")
    return None


def report_fact(mail: ParsedMail, rules: MailRules, item_id: int) -> Fact | None:
    """Return the fact of a report about one of our deliveries, None when it is no report or not about our mail.

    The embedded Message-ID or the bounce address it came to must carry our signature: without it, anyone could mark any
    delivery as bounced.
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
    message_id = mail.report.message_id if mail.report else None
    tokens = [rules.verify_message_id(message_id)] if message_id else []
    tokens += [rules.verify_envelope_sender(address) for address in (*mail.delivered_to, *mail.to, *mail.cc)]
    matches = (_DELIVERY_TOKEN.search(token) for token in tokens if token)
    return next((int(match[1]) for match in matches if match), None)


def _reply(mail: ParsedMail, rules: MailRules) -> Classification | None:
    """A reply to our mail belongs to its ticket, also when it is automatic; automatic mail gets no automatic answer."""
    ticket_id = answered_ticket(mail, rules)
    if ticket_id is None:
        return None
    reason = Reason("reply_to_notice", f"It answers our mail about {format_number(ticket_id)}")
    if mail.is_auto:
        automatic = None if mail.is_list else _automatic(mail, rules)
        fallback = automatic if automatic and automatic.disposition != "ticket" else None
        return Classification("ticket", reason, _automatic_mail(mail), fallback)
    return Classification("ticket", reason, _silence(mail, rules))


def _secure_messages(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if mail.from_addr in rules.secure_senders and any(is_workbook_attachment(a.name, a.sniffed) for a in mail.attachments):
        return _unanswered(
            "expanded", "secure_message_workbook", "A configured secure-message sender sent workbooks: each row becomes an item"
        )
    return None


def _list(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if not mail.is_list and "precedence_bulk" not in mail.automatic:
        return None
    reason = Reason("list_mail", f"It is list or bulk mail: {_describe_signals(mail)}")
    return _append_if_possible("ticket" if rules.lists == "ticket" else "list", reason, mail, rules)


def _automatic(mail: ParsedMail, rules: MailRules) -> Classification | None:
    if not mail.is_auto:
        return None
    return _append_if_possible("ticket" if rules.automatic == "ticket" else "automatic", _automatic_mail(mail), mail, rules)


def _automatic_mail(mail: ParsedMail) -> Reason:
    return Reason("automatic_mail", f"It was sent automatically: {_describe_signals(mail)}")


def _append_if_possible(disposition: str, reason: Reason, mail: ParsedMail, rules: MailRules) -> Classification:
    """List or automatic mail that names a ticket or a mail is appended to its ticket: only the database knows if there is one."""
    classification = Classification(disposition, reason, reason)
    names_ticket = mail.in_reply_to or mail.references or linked_ticket(mail, rules)
    return replace(classification, fallback=classification) if disposition != "ticket" and names_ticket else classification


def _silence(mail: ParsedMail, rules: MailRules) -> Reason | None:
    """Return why a person's mail gets no automatic answer, None when it may get one."""
    if rules.is_history:
        return IMPORTED_HISTORY
    if mail.from_addr is None:
        return Reason("no_address", "The mail has no single sender address to answer")
    if mail.must_not_autoreply:
        return Reason("must_not_autoreply", f"It must not be answered automatically: {_describe_signals(mail)}")
    domain = mail.from_addr.rpartition("@")[2]
    if mail.from_addr in rules.never_answer or domain in rules.never_answer:
        return Reason("never_answer", "The sender is on the never-answer list")
    if rules.authserv_id and (mail.authentication is None or not mail.authentication.passed):
        why = mail.authentication.text if mail.authentication else "the mail server did not check"
        return Reason("sender_not_verified", f"The sender is not verified: {why}")
    return None


def is_workbook_attachment(name: str, sniffed: str | None) -> bool:
    """Return whether an attachment is an Excel workbook, by its name or by its content."""
    return name.casefold().endswith((".xlsx", ".xlsm")) or (sniffed or "").endswith("spreadsheetml.sheet")


def _unanswered(disposition: str, code: str, text: str) -> Classification:
    reason = Reason(code, text)
    return Classification(disposition, reason, reason)


def _describe_signals(mail: ParsedMail) -> str:
    texts = [SIGNALS.get(code, f"header signal {code.replace('_', ' ')}") for code in mail.automatic]
    return "; ".join(dict.fromkeys(texts)) or "its headers say so"
