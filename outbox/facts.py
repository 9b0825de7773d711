"""Facts: what happened, as frozen values. A fact carries what its readers need and no text of a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


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
    """A delivery has its final ``outcome``: sent, skipped, failed or ambiguous, and why. ``ticket_id`` is None for a digest."""

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


@dataclass(frozen=True, slots=True)
class TicketCompleted(Fact):
    """A ticket reached 6-Completed, in its ``opening``: for whom, and who owned it then."""

    kind: ClassVar[str] = "ticket.completed"
    ticket_id: int
    opening: int
    contact_id: int | None
    company_id: int | None
    owner_id: int | None


@dataclass(frozen=True, slots=True)
class SurveyDue(Fact):
    """The moment of a survey has come, and it may go to its contact."""

    kind: ClassVar[str] = "survey.due"
    ticket_id: int
    survey_id: int
    contact_id: int


@dataclass(frozen=True, slots=True)
class SurveyAnswered(Fact):
    """A customer gave a score of 1 to 5, or changed it; ``before`` is the score until then. The comment stays on the ticket."""

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


_ALL: tuple[type[Fact], ...] = (
    TicketCreated, TicketAssigned, NoticeSettled, TaskRaised, BounceReceived, ReportReceived, TicketCompleted, SurveyDue,
    SurveyAnswered, StaffMessageWritten,
)  # fmt: skip
KINDS: dict[str, type[Fact]] = {fact.kind: fact for fact in _ALL}
