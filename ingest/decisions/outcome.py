"""What is to become of an item once it is parsed: decided here, in plain values, before any transaction is opened. Pure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Form
from core.signing import Signer
from ingest.decisions import fingerprint_key, normalise, thread_tokens
from ingest.decisions.classify import Classification, classify, is_workbook, report_fact
from ingest.decisions.mail_rules import MailRules, rules_for
from ingest.ledger.types import MAX_LOSSES, WORKBOOK, Arrival, ClaimedItem
from ingest.parsers.types import ParsedForm, ParsedMail, ParsedWorkbook, ParseOptions, Refusal
from ingest.parsers.workbook.parse import find_row_problem, read_sent_at
from ingest.parsers.worker import ParseAnswer, ParseFailure
from outbox.facts import Fact
from tickets.submission import Submission

log = logging.getLogger("casemill.ingest")

#: What an upload of old mail is marked with.
HISTORY = "history"
#: Dispositions that come with a ticket when there is a submission.
TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome to be written: a disposition, why, the ticket to make, items that came inside, or another try.

    ``retry`` is ``alone`` (not its fault yet) or ``failed`` (its own failure). ``workbook`` is still to be expanded.
    ``fact`` is for those who are to hear of it. ``otherwise`` is set when the submission makes no ticket of its own: the
    outcome where it belongs to none.
    """

    item: ClaimedItem
    disposition: str
    reason: Reason
    submission: Submission | None = None
    fingerprint: str | None = None
    children: tuple[Arrival, ...] = ()
    workbook: ParsedWorkbook | None = None
    retry: str | None = None
    fact: Fact | None = None
    otherwise: Classification | None = None


@dataclass(slots=True)
class Planner:
    """Decides for items of all kinds; keeps the rules of each source."""

    settings: Settings
    signer: Signer
    _rules: dict[str, MailRules] = field(default_factory=dict)

    def plan(self, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None) -> Plan:
        """The plan for one item and what its parser answered (None for kinds that need no parser)."""
        if item.losses >= MAX_LOSSES:
            return self._set_aside(item, Reason("lost_too_often", f"Work on it ended {item.losses} times without a word"))
        if isinstance(answer, ParseFailure):
            return self._failed(item, answer)
        if isinstance(answer, Refusal):
            return self._refused(item, Reason(answer.code, answer.text))
        if isinstance(answer, ParsedMail):
            return self._oversize(item, answer) if item.kind == "oversize" else self._mail(item, answer)
        if isinstance(answer, ParsedForm):
            return self._form(item, answer)
        if isinstance(answer, ParsedWorkbook):
            reason = Reason("workbook_expanded", "Each row is an item of its own")
            return Plan(item, "expanded", reason, workbook=answer)
        if item.kind == "row":
            return self._row(item, raw)
        return self._set_aside(item, Reason("unfetched", "The mail server could not hand the message over"))

    def rules(self, source: str) -> MailRules:
        if source not in self._rules:
            self._rules[source] = rules_for(self.settings, source, self.signer)
        return self._rules[source]

    def _rules_for(self, item: ClaimedItem) -> MailRules:
        """The rules of its source; mail that had lain there for long, or that was called history, is not answered."""
        rules, days = self.rules(item.source), timedelta(days=self.settings.notices.history_days)
        is_history = bool(item.extra.get(HISTORY)) or item.due_at - item.received_at > days
        return replace(rules, history=True) if is_history else rules

    def mail_options(self, source: str, *, html_text: bool = False) -> ParseOptions:
        """What the parser has to know of mail from a source."""
        return ParseOptions(html_text=html_text, authserv_id=self.rules(source).authserv_id)

    def quarantined(self, item: ClaimedItem, reason: Reason) -> Plan:
        """An item given up on, with the ticket that says so."""
        return self._set_aside(item, reason)

    def _mail(self, item: ClaimedItem, mail: ParsedMail) -> Plan:
        rules = self._rules_for(item)
        verdict = classify(mail, rules)
        key = None if verdict.disposition == "own" else fingerprint_key.key_of(mail)
        if verdict.disposition == "expanded":
            children = tuple(_workbook_arrivals(item, mail))
            return Plan(item, "expanded", verdict.reason, fingerprint=key, children=children)
        submission = None
        if verdict.disposition == TICKET or verdict.otherwise is not None:
            submission = normalise.from_mail(mail, verdict, rules, item.id, item.received_at)
        if thread_tokens.is_forged(mail, rules):
            log.warning("an answer to a notice carries a wrong signature, which is ignored", extra={"item": item.id})
        fact = report_fact(mail, rules, item.id) if mail.report else None
        return Plan(item, verdict.disposition, verdict.reason, submission, key, fact=fact, otherwise=verdict.otherwise)

    def _oversize(self, item: ClaimedItem, mail: ParsedMail) -> Plan:
        verdict = classify(mail, self._rules_for(item))
        if verdict.disposition == "own":
            return Plan(item, "own", verdict.reason)
        size = int(item.extra.get("size", 0))
        submission = normalise.oversize(mail, size, verdict, item.id, item.received_at)
        return Plan(item, TICKET, submission.reasons[0], submission, fingerprint_key.key_of(mail))

    def _form(self, item: ClaimedItem, form: ParsedForm) -> Plan:
        settings = self.settings.forms.get(form.form_id) or Form(unsigned=True)
        submission = normalise.from_form(form, settings, item.id, item.received_at)
        return Plan(item, TICKET, submission.reasons[0], submission)

    def _row(self, item: ClaimedItem, raw: bytes) -> Plan:
        row = msgspec.json.decode(raw)
        fields: Mapping[str, str] = row["fields"]
        problem = find_row_problem(fields)
        if problem is not None:
            return Plan(item, "rejected", Reason(problem.code, problem.text))
        received_at = _sent_at(fields, item.received_at)
        category = str(item.extra.get("category", ""))
        submission = normalise.from_row(fields, row["extra"], item.id, received_at, category)
        return Plan(item, TICKET, submission.reasons[0], submission)

    def _failed(self, item: ClaimedItem, failure: ParseFailure) -> Plan:
        if not failure.alone:
            return Plan(item, "failed", Reason(failure.code, "It is tried again alone"), retry="alone")
        if item.attempts + 1 < self.settings.limits.attempts:
            return Plan(item, "failed", Reason(failure.code, "It is tried again"), retry="failed")
        tries = item.attempts + 1
        text = f"It could not be read within its limits, {tries} times in a row ({failure.code})"
        return self._set_aside(item, Reason("unreadable", text))

    def _refused(self, item: ClaimedItem, reason: Reason) -> Plan:
        """Whoever dropped a file is told beside the file; for what came by mail or webhook a ticket tells."""
        if item.source.partition(":")[0] in ("folder", "upload"):
            return Plan(item, "rejected", reason)
        if item.kind == "workbook":
            return Plan(item, "rejected", reason, self._notice(item, reason))
        return self._set_aside(item, reason)

    def _set_aside(self, item: ClaimedItem, reason: Reason) -> Plan:
        return Plan(item, "quarantined", reason, self._notice(item, reason))

    def _notice(self, item: ClaimedItem, reason: Reason) -> Submission:
        return normalise.unreadable(item.kind, item.id, reason, item.received_at)


def _workbook_arrivals(item: ClaimedItem, mail: ParsedMail) -> list[Arrival]:
    extra: dict[str, Any] = {"mailbox": item.source.partition(":")[2], "sender": mail.from_addr}
    return [
        Arrival(
            family=WORKBOOK,
            kind="workbook",
            source=f"mail:{item.id}",
            place=f"attachment {position}",
            raw=attachment.content,
            received_at=item.received_at,
            parent_id=item.id,
            extra={**extra, "file": attachment.name},
        )
        for position, attachment in enumerate(mail.attachments, 1)
        if is_workbook(attachment.name, attachment.sniffed)
    ]


def _sent_at(fields: Mapping[str, str], received_at: datetime) -> datetime:
    sent_at = read_sent_at(fields.get("sent_at", ""))
    return sent_at if sent_at is not None and sent_at <= received_at else received_at
