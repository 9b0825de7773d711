"""Plans: the outcome of an item, decided from plain values before a transaction is opened. Pure.

A :data:`Plan` is one of seven small classes; :mod:`ingest.pipeline` matches on them to store the outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec

from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Form
from core.signing import Signer
from ingest.decisions import normalise, thread_tokens
from ingest.decisions.classify import Classification, classify, is_workbook_attachment, report_fact
from ingest.decisions.fingerprint_key import fingerprint_key
from ingest.decisions.mail_rules import MailRules, rules_for
from ingest.decisions.workbook_rules import workbook_options
from ingest.ledger.types import MAX_LOSSES, WORKBOOK, Arrival, ClaimedItem, Source
from ingest.parsers.types import ParsedForm, ParsedMail, ParsedWorkbook, ParseOptions, Refusal
from ingest.parsers.workbook.row_checks import find_row_problem, read_sent_at
from ingest.parsers.worker import ParseAnswer, ParseFailure, ParseTask
from outbox.facts import Fact
from tickets.submission import Submission

log = logging.getLogger("casemill.ingest")

#: Key of an item's ``extra`` that marks uploaded mail as old mail.
HISTORY_KEY = "history"
#: The disposition of an item with a ticket of its own.
TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Isolate:
    """Return the item to waiting, isolated: it failed in a call with others and may not be the cause."""

    item: ClaimedItem
    reason: Reason
    disposition: ClassVar[str] = "failed"


@dataclass(frozen=True, slots=True)
class Retry:
    """Return the item to waiting after a back-off pause: it failed by itself."""

    item: ClaimedItem
    reason: Reason
    disposition: ClassVar[str] = "failed"


@dataclass(frozen=True, slots=True)
class ExpandWorkbook:
    """Accept the rows of the workbook as items, several commits long."""

    item: ClaimedItem
    workbook: ParsedWorkbook
    disposition: ClassVar[str] = "expanded"
    reason: ClassVar[Reason] = Reason("workbook_expanded", "Each row is an item of its own")


@dataclass(frozen=True, slots=True)
class ExpandMail:
    """Accept the workbooks attached to the mail as items; the mail itself gets no ticket."""

    item: ClaimedItem
    reason: Reason
    arrivals: tuple[Arrival, ...]
    fingerprint: str | None
    disposition: ClassVar[str] = "expanded"


@dataclass(frozen=True, slots=True)
class CreateTicket:
    """Give the submission to intake, which creates a ticket or appends to one.

    ``disposition`` is ``ticket``, or ``quarantined`` or ``rejected`` for a ticket that reports the item. ``fact`` is written in
    the same transaction.
    """

    item: ClaimedItem
    disposition: str
    reason: Reason
    submission: Submission
    fingerprint: str | None = None
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class AppendToTicket:
    """Append the submission to the ticket it belongs to; if it belongs to none, ``fallback`` is the outcome."""

    item: ClaimedItem
    disposition: str
    reason: Reason
    submission: Submission
    fallback: Classification
    fingerprint: str | None = None
    fact: Fact | None = None


@dataclass(frozen=True, slots=True)
class Settle:
    """Record the disposition and its reason; the item gets no ticket."""

    item: ClaimedItem
    disposition: str
    reason: Reason
    fingerprint: str | None = None
    fact: Fact | None = None


#: Plans after which the item is settled in the transaction that stores them.
FinalPlan = ExpandMail | CreateTicket | AppendToTicket | Settle
Plan = FinalPlan | Isolate | Retry | ExpandWorkbook


@dataclass(slots=True)
class Planner:
    """Plans for items of all kinds; caches the rules of each source."""

    settings: Settings
    signer: Signer
    _rules: dict[str, MailRules] = field(default_factory=dict)

    def plan(self, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None) -> Plan:
        """Return the plan for an item and the answer of its parser (None for kinds that need no parser)."""
        if item.losses >= MAX_LOSSES:
            text = f"Work on it was interrupted {item.losses} times before it was finished"
            return self.quarantine(item, Reason("lost_too_often", text))
        match answer:
            case ParseFailure():
                return self._plan_failure(item, answer)
            case Refusal():
                return self._plan_refusal(item, Reason(answer.code, answer.text))
            case ParsedMail():
                return self._plan_oversize(item, answer) if item.kind == "oversize" else self._plan_mail(item, answer)
            case ParsedForm():
                return self._plan_form(item, answer)
            case ParsedWorkbook():
                return ExpandWorkbook(item, answer)
        if item.kind == "row":
            return self._plan_row(item, raw)
        return self.quarantine(item, Reason("unfetched", "The mail server could not deliver the message to casemill"))

    def quarantine(self, item: ClaimedItem, reason: Reason) -> CreateTicket:
        """Return the plan that quarantines an item and creates a ticket that reports it."""
        return CreateTicket(item, "quarantined", reason, _report_unreadable(item, reason))

    def parse_task(self, item: ClaimedItem, raw: bytes, *, html_text: bool = False) -> ParseTask:
        """Return what a parser process is to do for an item; ``html_text`` asks for the text of a mail's HTML part too."""
        if item.kind == "form":
            return ParseTask("form", raw, ParseOptions(content_type=item.extra.get("content_type")))
        if item.kind == "workbook":
            return ParseTask("workbook", raw, workbook_options(self.settings, item.source, item.extra))
        options = ParseOptions(html_text=html_text, authserv_id=self._source_rules(item.source).authserv_id)
        return ParseTask("mail", raw, options)

    def _source_rules(self, source: str) -> MailRules:
        if source not in self._rules:
            self._rules[source] = rules_for(self.settings, source, self.signer)
        return self._rules[source]

    def _item_rules(self, item: ClaimedItem) -> MailRules:
        """Return the rules of the item's source; mail that is old, or was uploaded as history, gets no automatic answer."""
        rules, days = self._source_rules(item.source), timedelta(days=self.settings.notices.history_days)
        is_history = bool(item.extra.get(HISTORY_KEY)) or item.due_at - item.received_at > days
        return replace(rules, is_history=True) if is_history else rules

    def _plan_mail(self, item: ClaimedItem, mail: ParsedMail) -> Plan:
        rules = self._item_rules(item)
        result = classify(mail, rules)
        key = None if result.disposition == "own" else fingerprint_key(mail)
        if result.disposition == "expanded":
            return ExpandMail(item, result.reason, tuple(_workbook_arrivals(item, mail)), key)
        if thread_tokens.has_forged_token(mail, rules):
            log.warning("thread token with wrong signature ignored", extra={"item": item.id})
        fact = report_fact(mail, rules, item.id) if mail.report else None
        if result.disposition != TICKET and result.fallback is None:
            return Settle(item, result.disposition, result.reason, key, fact)
        submission = normalise.from_mail(mail, result, rules, item.id, item.received_at)
        if result.fallback is not None:
            return AppendToTicket(item, result.disposition, result.reason, submission, result.fallback, key, fact)
        return CreateTicket(item, result.disposition, result.reason, submission, key, fact)

    def _plan_oversize(self, item: ClaimedItem, mail: ParsedMail) -> Plan:
        result = classify(mail, self._item_rules(item))
        if result.disposition == "own":
            return Settle(item, "own", result.reason)
        size = int(item.extra.get("size", 0))
        submission = normalise.from_oversize(mail, size, result, item.id, item.received_at)
        return CreateTicket(item, TICKET, submission.reasons[0], submission, fingerprint_key(mail))

    def _plan_form(self, item: ClaimedItem, form: ParsedForm) -> Plan:
        settings = self.settings.forms.get(form.form_id) or Form(unsigned=True)
        submission = normalise.from_form(form, settings, item.id, item.received_at)
        return CreateTicket(item, TICKET, submission.reasons[0], submission)

    def _plan_row(self, item: ClaimedItem, raw: bytes) -> Plan:
        row = msgspec.json.decode(raw)
        fields: Mapping[str, str] = row["fields"]
        problem = find_row_problem(fields)
        if problem is not None:
            return Settle(item, "rejected", Reason(problem.code, problem.text))
        received_at = _sent_at(fields, item.received_at)
        category = str(item.extra.get("category", ""))
        submission = normalise.from_row(fields, row["extra"], item.id, received_at, category)
        return CreateTicket(item, TICKET, submission.reasons[0], submission)

    def _plan_failure(self, item: ClaimedItem, failure: ParseFailure) -> Plan:
        if not failure.alone:
            return Isolate(item, Reason(failure.code, "It failed in a batch and is retried alone"))
        attempts = item.attempts + 1
        if attempts < self.settings.limits.attempts:
            return Retry(item, Reason(failure.code, "It is retried later"))
        text = f"It could not be read within its limits, {attempts} times in a row ({failure.code})"
        return self.quarantine(item, Reason("unreadable", text))

    def _plan_refusal(self, item: ClaimedItem, reason: Reason) -> Plan:
        """A person who dropped a file reads the refusal beside the file; for mail and webhooks a ticket reports it."""
        if Source.parse(item.source).is_file_drop:
            return Settle(item, "rejected", reason)
        if item.kind == "workbook":
            return CreateTicket(item, "rejected", reason, _report_unreadable(item, reason))
        return self.quarantine(item, reason)


def _report_unreadable(item: ClaimedItem, reason: Reason) -> Submission:
    return normalise.from_unreadable(item.kind, item.id, reason, item.received_at)


def _workbook_arrivals(item: ClaimedItem, mail: ParsedMail) -> list[Arrival]:
    extra: dict[str, Any] = {"mailbox": Source.parse(item.source).name, "sender": mail.from_addr}
    return [
        Arrival(
            family=WORKBOOK,
            kind="workbook",
            source=str(Source("mail", str(item.id))),
            place=f"attachment {position}",
            raw=attachment.content,
            received_at=item.received_at,
            parent_id=item.id,
            extra={**extra, "file": attachment.name},
        )
        for position, attachment in enumerate(mail.attachments, 1)
        if is_workbook_attachment(attachment.name, attachment.sniffed)
    ]


def _sent_at(fields: Mapping[str, str], received_at: datetime) -> datetime:
    sent_at = read_sent_at(fields.get("sent_at", ""))
    return sent_at if sent_at is not None and sent_at <= received_at else received_at
