"""What would become of a file or an item, and why, by the rules in force. Writes nothing; for files it needs no database.

Whose ticket a forward would be hangs on who is staff: the database knows, else the teams in the configuration say.
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
from ingest.decisions.outcome import Plan, Planner
from ingest.decisions.workbook_rules import workbook_options
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import Arrival, ClaimedItem
from ingest.parser_pool import ParserPool
from ingest.parsers.types import Forward, ParsedAttachment, ParsedForm, ParsedMail, ParsedWorkbook, ParseOptions, WorkbookRow
from ingest.parsers.worker import ParseAnswer, ParseFailure, ParseTask
from ingest.sources.upload import UPLOAD, UploadFile, read_file
from tickets import forwards
from tickets.submission import Submission

CHUNK_ITEMS, CHUNK_BYTES = 64, 16 * 1024 * 1024
#: Kinds of which there is nothing to parse, as in the pipeline.
UNPARSED = frozenset({"row", "unfetched"})
#: Answers which of some addresses are those of staff.
StaffFinder = Callable[[Collection[str]], Collection[str]]
FORM_ENDINGS, WORKBOOK_ENDINGS = frozenset({".json"}), frozenset({".xlsx", ".xlsm", ".xls", ".csv"})


@dataclass(frozen=True, slots=True)
class Explanation:
    """One message, form or row (or the one line of what cannot be read): what it is and what would become of it."""

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
        return self.disposition in ("rejected", "quarantined")

    def as_dict(self) -> dict[str, Any]:
        """The keys of ``interfaces.md``, Command line, all of them, with null or [] where there is no value."""
        fate = {"disposition": self.disposition, "reason": self.reason.text}
        if self.kind == "form":
            return {"path": self.path, **_form_keys(self.parsed), "requester": self.requester, **fate}
        if self.kind in ("row", "workbook"):
            return {"path": self.path, **_row_keys(self.parsed), "requester": self.requester, **fate}
        mail = self.parsed if isinstance(self.parsed, ParsedMail) else None
        notes = [*(mail.notes if mail else ()), *_sender_notes(mail)]
        return {"path": self.path, **_mail_keys(mail), "requester": self.requester, **fate, "notes": notes}


class Explainer:
    """Explains with one set of rules and one pool of parser children.

    ``find_staff`` is asked about forwards alone; without it the teams in the configuration tell who is staff.
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
        """Explanations in the order of the files and of what is in them; a few dozen are in memory at a time."""
        for chunk in _chunks(self._read(files)):
            arrivals = [one for _, one in chunk if isinstance(one, Arrival)]
            items = [_claimed(self._settings, arrival) for arrival in arrivals]
            answers = iter(self._parse(items, [arrival.raw for arrival in arrivals]))
            claimed = iter(items)
            for file, one in chunk:
                if isinstance(one, Reason):
                    yield Explanation(_text(file.path), _kind(file.ending), "rejected", one)
                else:
                    yield from self._explain(_text(file.path), next(claimed), one.raw, next(answers))

    def explain_item(self, session: Session, item_id: int) -> list[Explanation]:
        """What the rules in force say of an item of the ledger. Raises :class:`NotFoundError`."""
        row = session.get(InboundItem, item_id)
        if row is None:
            raise NotFoundError(f"there is no item {item_id}", hint="a ticket's timeline names the items it came from")
        item = self.claimed(row)
        self._find_staff = lambda addresses: forwards.find_staff(session, addresses)
        raw = blobs.get(session, row.sha256)
        if item.kind == "row":
            return [self._explain_row(f"item:{item_id}", item, _stored_row(session, item_id, raw))]
        return list(self._explain(f"item:{item_id}", item, raw, self._parse([item], [raw])[0]))

    def claimed(self, row: InboundItem) -> ClaimedItem:
        """A row of the ledger as an item at its last attempt."""
        values = {name: getattr(row, name) for name in ClaimedItem.__slots__}
        return ClaimedItem(**{**values, "attempts": self._settings.limits.attempts, "losses": 0})

    def decide_all(self, items: Sequence[ClaimedItem], raws: Sequence[bytes]) -> list[Plan]:
        """What the rules in force say of items, in the order given."""
        answers = self._parse(items, raws)
        return [self._decide(item, raw, answer) for item, raw, answer in zip(items, raws, answers, strict=True)]

    def _read(self, files: Iterable[UploadFile]) -> Iterator[tuple[UploadFile, Arrival | Reason]]:
        for file in files:
            for one in read_file(file, self._source, self._extra, self._settings.limits):
                yield file, one

    def _parse(self, items: Sequence[ClaimedItem], raws: Sequence[bytes]) -> list[ParseAnswer | None]:
        """Answers in order, None for what needs no parser; what fails among others is tried again alone."""
        numbers = [number for number, item in enumerate(items) if item.kind not in UNPARSED]
        tasks = [self._task(items[number], raws[number]) for number in numbers]
        answers: list[ParseAnswer | None] = [None] * len(items)
        for number, task, answer in zip(numbers, tasks, self._pool.parse(tasks), strict=True):
            failed = isinstance(answer, ParseFailure) and not answer.alone
            answers[number] = self._pool.parse([task], alone=True)[0] if failed else answer
        return answers

    def _task(self, item: ClaimedItem, raw: bytes) -> ParseTask:
        if item.kind == "form":
            return ParseTask("form", raw, ParseOptions(content_type=item.extra.get("content_type")))
        if item.kind == "workbook":
            return ParseTask("workbook", raw, workbook_options(self._settings, item.source, item.extra))
        return ParseTask("mail", raw, self._planner.mail_options(item.source, html_text=True))

    def _explain(self, path: str, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None) -> Iterator[Explanation]:
        if not isinstance(answer, ParsedWorkbook):
            parsed = answer if isinstance(answer, ParsedMail | ParsedForm) else None
            yield self._tell(path, item.kind, self._decide(item, raw, answer), parsed)
        elif answer.rows:
            child = _child(item, self._category(item))
            yield from (self._explain_row(path, child, row) for row in answer.rows)
        else:
            yield Explanation(path, "workbook", "expanded", Reason("no_rows", "The workbook has no rows with text."))

    def _explain_row(self, path: str, item: ClaimedItem, row: WorkbookRow) -> Explanation:
        raw = msgspec.json.encode({"fields": row.fields, "extra": row.extra})
        return self._tell(path, "row", self._decide(item, raw, None), msgspec.structs.replace(row, cells=()))

    def _decide(self, item: ClaimedItem, raw: bytes, answer: ParseAnswer | None) -> Plan:
        """As the pipeline does it: an item that nobody knows what to do with has failed by itself."""
        try:
            return self._planner.plan(item, raw, answer)
        except Exception as error:
            return self._planner.plan(item, raw, ParseFailure(type(error).__name__, alone=True))

    def _tell(self, path: str, kind: str, plan: Plan, parsed: Any) -> Explanation:
        submission = plan.submission if plan.disposition == "ticket" else None
        if submission is None:
            return Explanation(path, kind, plan.disposition, plan.reason, parsed)
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

    def _category(self, item: ClaimedItem) -> str:
        kind, _, name = item.source.partition(":")
        if kind == "folder" and name in self._settings.folders:
            return self._settings.folders[name].category
        mailbox = self._settings.mailboxes.get(str(item.extra.get("mailbox", "")))
        return mailbox.category if mailbox else ""


def _with_forwarder(reason: Reason, submission: Submission) -> Reason:
    """Why the ticket is not the sender's, where it is not."""
    told = [one.text for one in submission.reasons if one.code == FORWARDED]
    return Reason(reason.code, f"{reason.text}; {told[0]}") if told else reason


def configured_staff(settings: Settings) -> StaffFinder:
    """Members and managers of the teams in the configuration."""
    staff = {email for team in settings.teams.values() for email in (*team.members, team.manager) if email}
    return staff.intersection


def _stored_row(session: Session, item_id: int, raw: bytes) -> WorkbookRow:
    """A row as the ledger keeps it, at the first place it was seen."""
    seen = select(Sighting.place).where(Sighting.item_id == item_id).order_by(Sighting.id).limit(1)
    sheet, _, number = str(session.execute(seen).scalar_one()).rpartition("!")
    stored = msgspec.json.decode(raw)
    return WorkbookRow(sheet, int(number), "", (), stored["fields"], stored["extra"])


def _signer(settings: Settings) -> Signer:
    """Our own signature is known by the keys in force; where none has been made yet nothing can carry it."""
    has_keys = settings.secret_key.get_secret_value() or (settings.data_dir / "secret.key").exists()
    keys = settings.signing_keys() if has_keys else [secrets.token_bytes(32)]
    return signer_for(settings, keys)


def _claimed(settings: Settings, arrival: Arrival) -> ClaimedItem:
    """An arrival as an item at its last attempt, so that a failure is told as what it comes to."""
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


def _child(item: ClaimedItem, category: str) -> ClaimedItem:
    values = {name: getattr(item, name) for name in ClaimedItem.__slots__}
    return ClaimedItem(**{**values, "kind": "row", "source": f"workbook:{item.id}", "extra": {"category": category}})


def _chunks(
    pairs: Iterable[tuple[UploadFile, Arrival | Reason]],
) -> Iterator[list[tuple[UploadFile, Arrival | Reason]]]:
    chunk: list[tuple[UploadFile, Arrival | Reason]] = []
    size = 0
    for file, one in pairs:
        chunk.append((file, one))
        size += len(one.raw) if isinstance(one, Arrival) else 0
        if len(chunk) >= CHUNK_ITEMS or size >= CHUNK_BYTES:
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
    """Of a delivery report, or of a bounce by text; of a delay warning too, which is none."""
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
    """Whether the sender is vouched for, where the mailbox names who vouches."""
    found = mail.authentication if mail else None
    return [] if found is None else [f"sender_{'verified' if found.passed else 'not_verified'}: {found.text}"]


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
    return "form" if ending in FORM_ENDINGS else "workbook" if ending in WORKBOOK_ENDINGS else "mail"


def _text(path: Path) -> str:
    """A path as text that can be written in any encoding; what is no UTF-8 is written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
