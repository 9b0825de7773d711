"""Explain files and items: what the current rules would decide, and why. Writes nothing; for files it needs no database.

The ticket of a forward depends on who is staff: the database knows, else the teams in the configuration say.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import blobs
from core.errors import NotFoundError
from core.reasons import Reason
from core.settings import Settings
from core.signing import Signer, signer_for
from ingest.decisions.forwards import FORWARDED
from ingest.decisions.outcome import AppendToTicket, CreateTicket, Plan, Planner
from ingest.decisions.workbook_rules import row_category
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import UNPARSED_KINDS, Arrival, ClaimedItem, Source
from ingest.parser_pool import ParserPool
from ingest.parsers.types import Forward, ParsedAttachment, ParsedForm, ParsedMail, ParsedWorkbook, WorkbookRow
from ingest.parsers.worker import ParseAnswer, ParseFailure
from ingest.sources.upload import UPLOAD, UploadFile, read_file
from tickets import forwards
from tickets.submission import Submission

#: Originals that are in memory at a time.
EXPLAIN_CHUNK_ITEMS, EXPLAIN_CHUNK_BYTES = 64, 16 * 1024 * 1024
#: Returns which of the given addresses belong to staff.
StaffFinder = Callable[[Collection[str]], Collection[str]]
FORM_SUFFIXES, WORKBOOK_SUFFIXES = frozenset({".json"}), frozenset({".xlsx", ".xlsm", ".xls", ".csv"})


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one message, form or row is, and its outcome by the current rules; a file that cannot be read has one too."""

    path: str
    kind: str
    disposition: str
    reason: Reason
    parsed: ParsedMail | ParsedForm | WorkbookRow | None = None
    requester: str | None = None
    subject: str = ""
    missing: tuple[str, ...] = ()
    silence: Reason | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it would be rejected or quarantined."""
        return self.disposition in ("rejected", "quarantined")

    def as_dict(self) -> dict[str, Any]:
        """Return all keys of ``interfaces.md``, Command line, with None or [] where there is no value."""
        outcome = {"disposition": self.disposition, "reason": self.reason.text}
        if self.kind == "form":
            return {"path": self.path, **_form_keys(self.parsed), "requester": self.requester, **outcome}
        if self.kind in ("row", "workbook"):
            return {"path": self.path, **_row_keys(self.parsed), "requester": self.requester, **outcome}
        mail = self.parsed if isinstance(self.parsed, ParsedMail) else None
        notes = [*(mail.notes if mail else ()), *_sender_notes(mail)]
        return {"path": self.path, **_mail_keys(mail), "requester": self.requester, **outcome, "notes": notes}


class Explainer:
    """Explains files and items by the rules of one source, with one pool of parser processes.

    ``find_staff`` is called for forwards only; without it, the teams in the configuration say who is staff.
    """

    def __init__(
        self,
        settings: Settings,
        pool: ParserPool,
        source: str = UPLOAD,
        extra: dict[str, Any] | None = None,
        find_staff: StaffFinder | None = None,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._source = source
        self._extra = extra or {}
        self._planner = Planner(settings, _signer(settings))
        self._find_staff = find_staff or configured_staff(settings)

    def explain_files(self, files: Iterable[UploadFile]) -> Iterator[Explanation]:
        """Yield explanations in the order of the files and of their contents."""
        for chunk in _chunks(self._read(files)):
            arrivals = [one for _, one in chunk if isinstance(one, Arrival)]
            items = [_claimed_item(self._settings, arrival) for arrival in arrivals]
            answers = iter(self._parse(items, [arrival.raw for arrival in arrivals]))
            claimed = iter(items)
            for file, one in chunk:
                if isinstance(one, Reason):
                    yield Explanation(_path_text(file.path), _kind(file.suffix), "rejected", one)
                else:
                    yield from self._explain(_path_text(file.path), next(claimed), one.raw, next(answers))

    def explain_item(self, session: Session, item_id: int) -> list[Explanation]:
        """Return what the current rules say of an item of the ledger. Raises :class:`NotFoundError`."""
        row = session.get(InboundItem, item_id)
        if row is None:
            raise NotFoundError(f"there is no item {item_id}", hint="a ticket's timeline names the items it came from")
        item = self.as_claimed(row)
        self._find_staff = lambda addresses: forwards.find_staff(session, addresses)
        raw = blobs.get(session, row.sha256)
        if item.kind == "row":
            return [self._explain_row(f"item:{item_id}", item, _stored_row(session, item_id, raw))]
        return list(self._explain(f"item:{item_id}", item, raw, self._parse([item], [raw])[0]))

    def as_claimed(self, row: InboundItem) -> ClaimedItem:
        """Return a row of the ledger as a claimed item at its last attempt, so that a failure is final."""
        values = {name: getattr(row, name) for name in ClaimedItem.__slots__}
        return ClaimedItem(**{**values, "attempts": self._settings.limits.attempts, "losses": 0})

    def plan_all(self, items: Sequence[ClaimedItem], raws: Sequence[bytes]) -> list[Plan]:
        """Return the plans of items by the current rules, in the order given."""
        answers = self._parse(items, raws)
        return [self._decide(item, raw, answer) for item, raw, answer in zip(items, raws, answers, strict=True)]

    def _read(self, files: Iterable[UploadFile]) -> Iterator[tuple[UploadFile, Arrival | Reason]]:
        for file in files:
            for one in read_file(file, self._source, self._extra, self._settings.limits):
                yield file, one

    def _parse(self, items: Sequence[ClaimedItem], raws: Sequence[bytes]) -> list[ParseAnswer | None]:
        """Return parser answers in order, None for kinds that need no parser; what failed in a batch is parsed again alone."""
        numbers = [number for number, item in enumerate(items) if item.kind not in UNPARSED_KINDS]
        tasks = [self._planner.parse_task(items[number], raws[number], html_text=True) for number in numbers]
        answers: list[ParseAnswer | None] = [None] * len(items)
        for number, task, answer in zip(numbers, tasks, self._pool.parse(tasks), strict=True):
            failed = isinstance(answer, ParseFailure) and not answer.alone
            answers[number] = self._pool.parse([task], alone=True)[0] if failed else answer
        return answers

    def _explain(self, path: str, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None) -> Iterator[Explanation]:
        if not isinstance(answer, ParsedWorkbook):
            parsed = answer if isinstance(answer, ParsedMail | ParsedForm) else None
            yield self._explanation(path, item.kind, self._decide(item, raw, answer), parsed)
        elif answer.rows:
            row_item = _row_item(item, row_category(self._settings, item.source, item.extra))
            yield from (self._explain_row(path, row_item, row) for row in answer.rows)
        else:
            yield Explanation(path, "workbook", "expanded", Reason("no_rows", "The workbook has no rows with text."))

    def _explain_row(self, path: str, item: ClaimedItem, row: WorkbookRow) -> Explanation:
        raw = msgspec.json.encode({"fields": row.fields, "extra": row.extra})
        return self._explanation(path, "row", self._decide(item, raw, None), msgspec.structs.replace(row, cells=()))

    def _decide(self, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None) -> Plan:
        """Plan as the pipeline does: an exception is a failure of the item by itself."""
        try:
            return self._planner.plan(item, raw, answer)
        except Exception as error:
            return self._planner.plan(item, raw, ParseFailure(type(error).__name__, alone=True))

    def _explanation(self, path: str, kind: str, plan: Plan, parsed: Any) -> Explanation:
        if not isinstance(plan, CreateTicket | AppendToTicket) or plan.disposition != "ticket":
            return Explanation(path, kind, plan.disposition, plan.reason, parsed)
        submission = plan.submission
        if submission.original is not None:
            submission = forwards.resolve_forward(submission, self._find_staff([submission.email or ""]))
        return Explanation(
            path,
            kind,
            plan.disposition,
            _with_forwarder(plan.reason, submission),
            parsed,
            requester=submission.email,
            subject=submission.subject,
            missing=submission.missing,
            silence=submission.silence,
        )


def _with_forwarder(reason: Reason, submission: Submission) -> Reason:
    """Add to the reason why the ticket is not the sender's, if it is not."""
    texts = [one.text for one in submission.reasons if one.code == FORWARDED]
    return Reason(reason.code, f"{reason.text}; {texts[0]}") if texts else reason


def configured_staff(settings: Settings) -> StaffFinder:
    """Return a finder of the members and managers of the teams in the configuration."""
    staff = {email for team in settings.teams.values() for email in (*team.members, team.manager) if email}
    return staff.intersection


def _stored_row(session: Session, item_id: int, raw: bytes) -> WorkbookRow:
    """Return a row as the ledger stores it, at its first sighting."""
    first_place = select(Sighting.place).where(Sighting.item_id == item_id).order_by(Sighting.id).limit(1)
    sheet, _, number = str(session.execute(first_place).scalar_one()).rpartition("!")
    stored = msgspec.json.decode(raw)
    return WorkbookRow(sheet, int(number), "", (), stored["fields"], stored["extra"])


def _signer(settings: Settings) -> Signer:
    """Return a signer with the current keys; where none has been made yet, no mail can carry our signature."""
    has_keys = settings.secret_key.get_secret_value() or (settings.data_dir / "secret.key").exists()
    keys = settings.signing_keys() if has_keys else [secrets.token_bytes(32)]
    return signer_for(settings, keys)


def _claimed_item(settings: Settings, arrival: Arrival) -> ClaimedItem:
    """Return an arrival as a claimed item at its last attempt, so that a failure is final."""
    return ClaimedItem(
        id=0,
        family=arrival.family,
        kind=arrival.kind,
        source=arrival.source,
        sha256="",
        size=len(arrival.raw),
        received_at=arrival.received_at,
        due_at=arrival.received_at,
        attempts=settings.limits.attempts,
        losses=0,
        alone=True,
        parent_id=None,
        extra=arrival.extra,
    )


def _row_item(item: ClaimedItem, category: str) -> ClaimedItem:
    values = {name: getattr(item, name) for name in ClaimedItem.__slots__}
    return ClaimedItem(
        **{**values, "kind": "row", "source": str(Source("workbook", str(item.id))), "extra": {"category": category}}
    )


def _chunks(
    pairs: Iterable[tuple[UploadFile, Arrival | Reason]],
) -> Iterator[list[tuple[UploadFile, Arrival | Reason]]]:
    chunk: list[tuple[UploadFile, Arrival | Reason]] = []
    size = 0
    for file, one in pairs:
        chunk.append((file, one))
        size += len(one.raw) if isinstance(one, Arrival) else 0
        if len(chunk) >= EXPLAIN_CHUNK_ITEMS or size >= EXPLAIN_CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _mail_keys(mail: ParsedMail | None) -> dict[str, Any]:
    return {
        "from": mail.from_addr if mail else None,
        "from_name": mail.from_name if mail else None,
        "to": list(mail.to if mail else ()),
        "cc": list(mail.cc if mail else ()),
        "subject": mail.subject if mail else None,
        "date": mail.date.isoformat() if mail and mail.date else None,
        "message_id": mail.message_id if mail else None,
        "in_reply_to": mail.in_reply_to if mail else None,
        "references": list(mail.references if mail else ()),
        "body": mail.body if mail else None,
        "html_text": mail.html_text if mail else None,
        **{name: (getattr(mail, name) or None) if mail else None for name in _PARTS},
        "attachments": [_file_keys(one) for one in mail.attachments] if mail else [],
        "automatic": list(mail.automatic if mail else ()),
        **{name: bool(mail and getattr(mail, name)) for name in _FLAGS},
        "is_forward": bool(mail and mail.forward),
        "forward": _forward_keys(mail.forward) if mail and mail.forward else None,
        "bounce": _bounce_keys(mail),
    }


def _bounce_keys(mail: ParsedMail | None) -> dict[str, Any] | None:
    """Return the keys of a delivery report, a bounce by text or a delay warning; None for other mail."""
    report = mail.report if mail else None
    if report is None or report.kind not in ("bounce", "delay", "delivery"):
        return None
    return {
        "recipients": list(report.recipients),
        "status": list(report.status),
        "action": list(report.action),
        "permanent": report.permanent,
        "message_id": report.message_id,
    }


def _sender_notes(mail: ParsedMail | None) -> list[str]:
    """Return whether the sender is authenticated, where the mailbox names the server that checks."""
    result = mail.authentication if mail else None
    return [] if result is None else [f"sender_{'verified' if result.passed else 'not_verified'}: {result.text}"]


_PARTS = ("reply", "quoted", "signature")
_FLAGS = ("is_auto", "is_bounce", "is_dsn", "is_list", "is_feedback_report", "is_mdn", "must_not_autoreply")


def _forward_keys(forward: Forward) -> dict[str, Any]:
    return {
        "kind": forward.kind,
        "from": forward.from_addr,
        "from_name": forward.from_name,
        "subject": forward.subject,
        "date": forward.date,
        "to": list(forward.to),
        "cc": list(forward.cc),
        "body": forward.body,
        "message": forward.message,
        "attachments": [_file_keys(one) for one in forward.files],
    }


def _file_keys(file: ParsedAttachment) -> dict[str, Any]:
    declared = file.type if file.type not in ("", "application/octet-stream") else file.sniffed or file.type
    return {"name": file.name, "type": declared, "size": file.size, "sha256": file.sha256, "inline": file.inline}


def _form_keys(form: object) -> dict[str, Any]:
    if not isinstance(form, ParsedForm):
        return {"form_id": None, "submission_id": None, "fields": {}}
    fields = {field.key: field.text for field in form.fields}
    return {"form_id": form.form_id, "submission_id": form.submission_id, "fields": fields}


def _row_keys(row: object) -> dict[str, Any]:
    if not isinstance(row, WorkbookRow):
        return {"sheet": None, "row": None, "fields": {}}
    return {"sheet": row.sheet, "row": row.number, "fields": row.fields}


def _kind(ending: str) -> str:
    return "form" if ending in FORM_SUFFIXES else "workbook" if ending in WORKBOOK_SUFFIXES else "mail"


def _path_text(path: Path) -> str:
    """Return a path as text that any encoding can write; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
