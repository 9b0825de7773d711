"""The text of `casemill explain`: what a file is, what its outcome would be and why, for whom, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest.inspection.explain import Explanation
    from ingest.parsers.types import ParsedForm, ParsedMail, ParsedReport, WorkbookRow

OUTCOME_TEXTS = {
    "ticket": "a ticket is opened",
    "own": "recorded only: it is our own mail",
    "bounce": "recorded as a bounce: a mail of ours did not arrive",
    "automatic": "recorded only: it is automatic mail",
    "list": "recorded only: it is list or bulk mail",
    "expanded": "each row of its workbooks becomes an item",
    "quarantined": "put in quarantine, with a ticket that says so",
    "rejected": "refused",
    "failed": "tried again later",
}
EXCERPT_CHARACTERS = 200


def describe(explanation: Explanation) -> dict[str, object]:
    """Return the lines to print by their names. Lines without a value are left out when they are printed."""
    outcome_text = OUTCOME_TEXTS.get(explanation.disposition, explanation.disposition)
    return {
        **_describe_content(explanation),
        "outcome": f"{explanation.disposition}: {outcome_text}",
        "reason": explanation.reason.text,
        "ticket for": explanation.requester,
        "missing": "; ".join(explanation.missing),
        "no answer": _describe_silence(explanation),
    }


def _describe_silence(explanation: Explanation) -> str | None:
    if explanation.silence is None:
        return None
    return f"the sender gets no automatic mail: {explanation.silence.text}"


def _describe_content(explanation: Explanation) -> dict[str, object]:
    from ingest.parsers.types import ParsedForm, ParsedMail, WorkbookRow

    parsed = explanation.parsed
    if isinstance(parsed, ParsedMail):
        return _describe_mail(parsed)
    if isinstance(parsed, ParsedForm):
        return _describe_form(parsed)
    if isinstance(parsed, WorkbookRow):
        return _describe_row(parsed)
    return {}


def _describe_mail(mail: ParsedMail) -> dict[str, object]:
    sender = mail.from_addr or f"unknown ({(mail.from_problem or 'no From').replace('_', ' ')})"
    files = [f"{file.name} ({file.size:,} bytes)" for file in mail.attachments]
    return {
        "kind": "mail",
        "from": f"{mail.from_name} <{sender}>" if mail.from_name else sender,
        "to": mail.to,
        "cc": mail.cc,
        "subject": mail.subject,
        "date": mail.date.isoformat() if mail.date else None,
        "text": _excerpt(mail.body),
        "files": files,
        "automatic": [code.replace("_", " ") for code in mail.automatic],
        "report": _describe_report(mail.report),
        "sender": mail.authentication.text if mail.authentication else None,
        "notes": "; ".join(mail.notes),
    }


def _describe_report(report: ParsedReport | None) -> str | None:
    """Return what the mail system reports, for whom, and about which mail."""
    if report is None:
        return None
    kind = f"permanent {report.kind}" if report.permanent else report.kind
    codes = " ".join([*report.action, *report.status])
    recipients = ", ".join(report.recipients) or "no recipient"
    return f"{kind}: {recipients} ({codes or 'no code'}), about {report.message_id or 'no mail'}"


def _describe_form(form: ParsedForm) -> dict[str, object]:
    answers = {f"“{field.key}”": _excerpt(field.text) for field in form.fields}
    return {"kind": "form", "form": form.form_id, "submission": form.submission_id, **answers}


def _describe_row(row: WorkbookRow) -> dict[str, object]:
    answers = {name.replace("_", " "): _excerpt(text) for name, text in row.fields.items()}
    return {"kind": "row of a workbook", "row": f"{row.sheet}!{row.number}", **answers}


def _excerpt(text: str) -> str:
    flat = " ".join(text[: 2 * EXCERPT_CHARACTERS].split())
    return flat if len(flat) <= EXCERPT_CHARACTERS else f"{flat[:EXCERPT_CHARACTERS]}…"
