"""The survey table."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.database.types import Base, where

#: Condition of the partial index over due surveys.
WAITING_WHERE = "state = 'waiting'"


class Survey(Base):
    """The survey of one opening of a ticket. Every opening that was completed has one.

    States: ``waiting`` (the slot is reserved, ``due_at`` is the timer) → ``invited`` (the fact for the mail is written) →
    ``sent`` | ``failed`` | ``ambiguous``; or ``skipped`` with a reason. ``slot`` says whose ``last_surveyed_at`` holds the
    throttle slot, contact or company, and ``slot_at`` is its value; both are None once the slot is released. ``owner_id`` is
    the owner of the ticket at completion.
    """

    __tablename__ = "survey"
    __table_args__ = (
        UniqueConstraint("ticket_id", "opening"),
        Index("ix_survey_due", "due_at", "id", **where(WAITING_WHERE)),
        Index("ix_survey_contact_id", "contact_id", "sent_at"),
        Index("ix_survey_company_id", "company_id", "sent_at"),
        Index("ix_survey_answered_at", "answered_at"),
        Index("ix_survey_state", "state", "reason_code"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"))
    opening: Mapped[int]
    contact_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id"))
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    state: Mapped[str]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    slot: Mapped[str | None]
    slot_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    invited_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    score: Mapped[int | None]
    comment: Mapped[str] = mapped_column(default="")
    first_answered_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    answers: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
