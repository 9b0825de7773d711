"""Read reports about sent mails: not delivered, delayed, delivered, read, complained about.

The parts of the report decide (RFC 3464 with RFC 6533, RFC 5965, RFC 8098). For servers that send only text see
:mod:`ingest.parsers.bounce.text_report`. This module does not decide whether the reported mail was ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ingest.parsers.bounce.text_report import TextReport, is_bounce_subject, read_text_report
from ingest.parsers.mail.automatic import AutomaticResult
from ingest.parsers.mail.headers import Headers, clean_text, read_block, read_ids
from ingest.parsers.mail.parts import Leaf
from ingest.parsers.types import ParsedReport

MAX_FIELD_GROUPS = 200
STATUS_PARTS = frozenset({"message/delivery-status", "message/global-delivery-status"})
RECEIPT_PARTS = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
COPY_PARTS = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
)
#: Feedback types that are not complaints (RFC 6430, RFC 6591).
NON_COMPLAINT_TYPES = frozenset({"not-spam", "auth-failure", "dmarc"})
DELIVERED_ACTIONS = frozenset({"delivered", "relayed", "expanded"})
_COMMENT = re.compile(r"\([^()]*\)")
_STATUS = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_SMTP_CODE = re.compile(r"(?<![\d.])([45])\d\d(?![\d.])")


@dataclass(frozen=True, slots=True)
class _RecipientStatus:
    """The delivery status of one recipient."""

    recipient: str
    action: str
    status: str
    permanent: bool


def read_report(
    headers: Headers, leaves: Sequence[Leaf], body: str, subject: str, automatic: AutomaticResult
) -> ParsedReport | None:
    """Return what a mail reports, or None when it is no report. Never raises.

    ``body`` is the text of the mail, ``automatic`` the result of its headers. At most MAX_FIELD_GROUPS groups of fields are
    read.
    """
    if not automatic.is_auto:
        return None
    original = _read_original(leaves)
    if automatic.is_feedback_report:
        return _read_feedback(leaves, original)
    if automatic.is_mdn:
        return _read_receipt(leaves, original)
    groups = list(_read_groups(leaves, STATUS_PARTS))
    entries = [entry for group in groups if (entry := _read_recipient_status(group)) is not None]
    if entries:
        return _summarise_statuses(entries, original or next(_find_named_ids(groups), None))
    if automatic.is_bounce or automatic.is_dsn or ("null_return_path" in automatic.reasons and is_bounce_subject(subject)):
        return _read_text_bounce(headers, body, subject, automatic, original)
    return None


def has_status(leaves: Iterable[Leaf]) -> bool:
    """Whether a part is a delivery status, regardless of the type of its container."""
    return any(leaf.type in STATUS_PARTS for leaf in leaves)


def _read_groups(leaves: Iterable[Leaf], types: frozenset[str]) -> Iterator[Headers]:
    """Yield the groups of fields of the first part of a type.

    The first group is about the mail as a whole, each further group about one recipient.
    """
    content = next((leaf.content for leaf in leaves if leaf.type in types), b"")
    start = 0
    for _ in range(MAX_FIELD_GROUPS):
        while content[start : start + 1] in (b"\r", b"\n"):
            start += 1
        if start >= len(content):
            return
        group, start = read_block(content, start)
        yield group


def _read_recipient_status(group: Headers) -> _RecipientStatus | None:
    """Return the status of one recipient (RFC 3464 §2.3), or None without a recipient.

    The original recipient is used when a server names no final recipient.
    """
    recipient = _read_address(group, "final-recipient") or _read_address(group, "original-recipient")
    if not recipient:
        return None
    codes_text = f"{_read_first(group, 'status')} {_read_first(group, 'diagnostic-code')}"
    status = next(iter(_STATUS.findall(codes_text)), "")
    action = next(iter(_COMMENT.sub(" ", _read_first(group, "action")).lower().split()), "")
    kind = status[:1] or next(iter(_SMTP_CODE.findall(codes_text)), "")
    action = action or ("failed" if kind in ("4", "5") else "")
    return _RecipientStatus(recipient, action, status, permanent=action == "failed" and kind == "5")


def _read_address(group: Headers, name: str) -> str:
    """Return the address of ``rfc822; local@domain`` in lower case, or "" for other types of names."""
    value = _COMMENT.sub(" ", _read_first(group, name))
    text = value.partition(";")[2] or value
    text = text.strip().strip("<>").strip().lower()
    return text if "@" in text and not re.search(r"[\s<>]", text) else ""


def _read_first(group: Headers, name: str) -> str:
    return next((clean_text(value)[:1000] for value in group.read_raw_text(name)[:1]), "")


def _summarise_statuses(entries: Sequence[_RecipientStatus], original: str | None) -> ParsedReport:
    actions = {entry.action for entry in entries}
    kind = (
        "bounce"
        if "failed" in actions
        else "delay"
        if "delayed" in actions
        else "delivery"
        if actions & DELIVERED_ACTIONS
        else "bounce"
    )
    return ParsedReport(
        kind=kind,
        recipients=tuple(entry.recipient for entry in entries),
        status=tuple(entry.status for entry in entries if entry.status),
        action=tuple(entry.action for entry in entries if entry.action),
        permanent=any(entry.permanent for entry in entries),
        message_id=original,
    )


def _read_original(leaves: Iterable[Leaf]) -> str | None:
    """Return the Message-ID of the returned mail or of its header (RFC 6522 §3)."""
    for leaf in leaves:
        if leaf.type in COPY_PARTS:
            headers = read_block(leaf.content.lstrip(b"\r\n")).headers
            return next(iter(read_ids(headers, "message-id")), None)
    return None


def _find_named_ids(groups: Iterable[Headers]) -> Iterator[str]:
    """Yield the original Message-IDs that the fields name. Gmail uses a field of its own."""
    for group in groups:
        yield from read_ids(group, "x-original-message-id")
        yield from read_ids(group, "original-message-id")


def _read_feedback(leaves: Sequence[Leaf], original: str | None) -> ParsedReport:
    """Read a feedback report (RFC 5965). The recipient is set when the report names it."""
    group = next(_read_groups(leaves, frozenset({"message/feedback-report"})), Headers())
    kind = _read_first(group, "feedback-type").partition(";")[0].strip().lower()
    recipients = [_clean_address(value) for value in group.read_raw_text("original-rcpt-to")]
    return ParsedReport(
        kind="feedback" if kind in NON_COMPLAINT_TYPES else "complaint",
        recipients=tuple(address for address in recipients if address),
        status=(),
        action=(kind,) if kind else (),
        permanent=False,
        message_id=original,
    )


def _clean_address(value: str) -> str:
    text = value.strip().strip("<>").strip().lower()
    return text if "@" in text and not re.search(r"[\s<>]", text) else ""


def _read_receipt(leaves: Sequence[Leaf], original: str | None) -> ParsedReport:
    """Read a read receipt (RFC 8098 §3). The disposition is ``mode; type/modifier``."""
    groups = list(_read_groups(leaves, RECEIPT_PARTS))
    group = groups[0] if groups else Headers()
    disposition = _read_first(group, "disposition").partition(";")[2].partition("/")[0].strip().lower()
    recipient = _read_address(group, "final-recipient") or _read_address(group, "original-recipient")
    return ParsedReport(
        kind="receipt",
        recipients=(recipient,) if recipient else (),
        status=(),
        action=(disposition,) if disposition else (),
        permanent=False,
        message_id=next(_find_named_ids(groups), None) or original,
    )


def _read_text_bounce(
    headers: Headers, body: str, subject: str, automatic: AutomaticResult, original: str | None
) -> ParsedReport | None:
    text_report: TextReport = read_text_report(headers, body, subject)
    if not text_report.recipients and not automatic.is_bounce:
        return None
    return ParsedReport(
        kind="delay" if text_report.is_delay else "bounce",
        recipients=text_report.recipients,
        status=text_report.status,
        action=("delayed" if text_report.is_delay else "failed",) * len(text_report.recipients),
        permanent=text_report.permanent and not text_report.is_delay,
        message_id=original or text_report.message_id,
    )
