"""Facts: what happened, as frozen values. A fact carries what its handlers need and no text of a message.

This module needs no database, so that pure code can create facts; :mod:`outbox.append` writes them.
The names of kinds and fields are stored in the database and never change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts."""

    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class TicketCreated(Fact):
    """A ticket was created. ``answer`` says whether its requester may be notified; if not, code and text say why."""

    kind: ClassVar[str] = "ticket.created"
    ticket_id: int
    answer: bool
    refusal_code: str = ""
    refusal_text: str = ""


@dataclass(frozen=True, slots=True)
class TicketAssigned(Fact):
    """A ticket was assigned to a member of staff; ``reason`` is a sentence."""

    kind: ClassVar[str] = "ticket.assigned"
    ticket_id: int
    staff_id: int
    activity_id: int
    reason: str


@dataclass(frozen=True, slots=True)
class NoticeSettled(Fact):
    """A delivery ended with ``outcome`` sent, skipped, failed or ambiguous, and why. ``ticket_id`` is None for a digest."""

    kind: ClassVar[str] = "notice.settled"
    ticket_id: int | None
    delivery_id: int
    mailing: str
    outcome: str
    code: str
    text: str
    recipient: str


@dataclass(frozen=True, slots=True)
class TaskRaised(Fact):
    """A rule raised a follow-up task: ``rule`` is reminder or escalation; ``staff_id`` is None when it has no assignee."""

    kind: ClassVar[str] = "task.raised"
    ticket_id: int
    task_id: int
    rule: str
    staff_id: int | None


@dataclass(frozen=True, slots=True)
class BounceReceived(Fact):
    """A delivery bounced, or is ``delayed``. ``status`` and ``action`` are those of the report (RFC 3464 §2.3).

    After a permanent failure the recipient gets no automatic mail for ``block_days``.
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
    """A report on a delivery arrived: ``report`` is complaint, feedback, receipt or delivery, ``action`` its own code."""

    kind: ClassVar[str] = "report.received"
    item_id: int
    delivery_id: int
    report: str
    action: str


@dataclass(frozen=True, slots=True)
class TicketCompleted(Fact):
    """A ticket reached 6-Completed. ``opening`` counts creation and reopens; the ids are those of that moment."""

    kind: ClassVar[str] = "ticket.completed"
    ticket_id: int
    opening: int
    contact_id: int | None
    company_id: int | None
    owner_id: int | None


@dataclass(frozen=True, slots=True)
class SurveyDue(Fact):
    """A survey is due and may be sent to its contact."""

    kind: ClassVar[str] = "survey.due"
    ticket_id: int
    survey_id: int
    contact_id: int


@dataclass(frozen=True, slots=True)
class SurveyAnswered(Fact):
    """A customer gave a score of 1 to 5 or changed it; ``before`` is the previous score. The comment stays on the ticket."""

    kind: ClassVar[str] = "survey.answered"
    ticket_id: int
    survey_id: int
    activity_id: int
    staff_id: int
    score: int
    before: int | None
    is_low: bool
    has_comment: bool


@dataclass(frozen=True, slots=True)
class StaffMessageWritten(Fact):
    """A member of staff wrote to customers from a ticket: ``letter`` is reply, recap or question."""

    kind: ClassVar[str] = "letter.written"
    ticket_id: int
    activity_id: int
    letter: str
    contact_ids: list[int]


_ALL_FACTS: tuple[type[Fact], ...] = (
    TicketCreated, TicketAssigned, NoticeSettled, TaskRaised, BounceReceived, ReportReceived, TicketCompleted, SurveyDue,
    SurveyAnswered, StaffMessageWritten,
)  # fmt: skip
#: Kind as stored → class.
KINDS: dict[str, type[Fact]] = {fact.kind: fact for fact in _ALL_FACTS}
