"""Facts: what happened, as frozen values. A fact carries what its readers need and no text of a message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, cast

from sqlalchemy import Table, insert
from sqlalchemy.orm import Session

from outbox.models import OutboxFact

_INSERT = insert(cast(Table, OutboxFact.__table__))


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts."""

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class TicketCreated(Fact):
    """A ticket exists. ``answer`` says whether its requester may be told; otherwise code and text say why not."""

    kind: ClassVar[str] = "ticket.created"
    ticket_id: int
    answer: bool
    refusal_code: str = ""
    refusal_text: str = ""


@dataclass(frozen=True, slots=True)
class TicketAssigned(Fact):
    """A ticket has an owner, with the reason in a sentence."""

    kind: ClassVar[str] = "ticket.assigned"
    ticket_id: int
    staff_id: int
    activity_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class NoticeSettled(Fact):
    """A delivery has its final ``outcome``: sent, skipped, failed or ambiguous, and why."""

    kind: ClassVar[str] = "notice.settled"
    ticket_id: int
    delivery_id: int
    mailing: str
    outcome: str
    code: str
    text: str
    recipient: str


@dataclass(frozen=True, slots=True)
class TaskRaised(Fact):
    """A rule raised a follow-up task: ``rule`` is reminder or escalation; ``staff_id`` is None when nobody could get it."""

    kind: ClassVar[str] = "task.raised"
    ticket_id: int
    task_id: int
    rule: str
    staff_id: int | None


@dataclass(frozen=True, slots=True)
class BounceReceived(Fact):
    """A delivery of ours did not arrive, or (``delayed``) not yet. ``status`` and ``action`` as its report has them.

    ``block_days`` is how long the recipient gets no automatic mail when that is for good.
    """

    kind: ClassVar[str] = "bounce.received"
    item_id: int
    delivery_id: int
    delayed: bool
    status: str
    action: str
    permanent: bool
    block_days: int


@dataclass(frozen=True, slots=True)
class ReportReceived(Fact):
    """Somebody reported on a delivery of ours: ``report`` is complaint, feedback, receipt or delivery, ``action`` its word."""

    kind: ClassVar[str] = "report.received"
    item_id: int
    delivery_id: int
    report: str
    action: str


KINDS: dict[str, type[Fact]] = {
    fact.kind: fact
    for fact in (TicketCreated, TicketAssigned, NoticeSettled, TaskRaised, BounceReceived, ReportReceived)
}


def append(session: Session, facts: Iterable[Fact], now: datetime) -> None:
    """Write facts in the transaction of the change they tell of."""
    rows = [{"kind": fact.kind, "payload": asdict(fact), "created_at": now, "due_at": now} for fact in facts]
    if rows:
        # On the table: the ORM's way to the same statement costs as much as the rest of a mail's transaction.
        session.connection().execute(_INSERT, rows)


def read(kind: str, payload: dict[str, Any]) -> Fact:
    """The fact a row holds; raises KeyError for a kind that this version does not know."""
    return KINDS[kind](**payload)
