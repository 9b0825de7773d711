"""Tables of tickets, their timeline, people, files and tasks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import core.blobs  # noqa: F401 - the table that attachments and items refer to
from core.database.types import Base, where


class Ticket(Base):
    """One billing-support matter; its number for people is ``BS-`` and the id in six digits.

    ``creation_notice`` is ``pending`` until the notice to the requester has a final outcome. The three milestones are times with
    the actor who set them. ``reminder_due_at`` and ``escalation_due_at`` are the timers, cleared by what they wait for.
    ``human_at`` is when a person last wrote, on either side. ``merged_into`` is the ticket this one was merged into.
    """

    __tablename__ = "ticket"
    __table_args__ = (
        Index("ix_ticket_owner_stage", "owner_id", "stage"),
        Index("ix_ticket_stage_id", "stage", "id"),
        Index("ix_ticket_stage_source", "stage", "source"),
        Index("ix_ticket_created_at", "created_at"),
        Index("ix_ticket_waiting", "id", **where("owner_id IS NULL OR stage < 6")),
        Index("ix_ticket_company_id", "company_id"),
        Index("ix_ticket_requester_id", "requester_id"),
        *(
            Index(f"ix_ticket_{name}", name, **where(f"{name} IS NOT NULL"))
            for name in ("reminder_due_at", "escalation_due_at", "merged_into")
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    name: Mapped[str]
    pipeline: Mapped[str]
    stage: Mapped[int] = mapped_column(default=1)
    type: Mapped[str]
    source: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    company_id: Mapped[int | None] = mapped_column(ForeignKey("company.id"))
    requester_id: Mapped[int | None] = mapped_column(ForeignKey("contact.id"))
    description: Mapped[str]
    link: Mapped[str | None]
    category: Mapped[str] = mapped_column(default="")
    issue: Mapped[str] = mapped_column(default="")
    issue_detail: Mapped[str] = mapped_column(default="")
    preferred_contact: Mapped[str] = mapped_column(default="email")
    missing: Mapped[list[Any]]
    sender_verified: Mapped[bool | None]
    on_company_timeline: Mapped[bool] = mapped_column(default=True)
    creation_notice: Mapped[str] = mapped_column(default="pending")
    follow_up_sent_at: Mapped[datetime | None]
    follow_up_sent_by: Mapped[str | None]
    resolution_at: Mapped[datetime | None]
    resolution_by: Mapped[str | None]
    recap_sent_at: Mapped[datetime | None]
    recap_sent_by: Mapped[str | None]
    opening: Mapped[int] = mapped_column(default=1)
    opened_at: Mapped[datetime]
    reminder_due_at: Mapped[datetime | None]
    escalation_due_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    human_at: Mapped[datetime | None]
    merged_into: Mapped[int | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class TicketContact(Base):
    """A contact associated with a ticket; exactly one is the requester (``ticket.requester_id``)."""

    __tablename__ = "ticket_contact"

    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"), primary_key=True)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contact.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(default="participant")
    on_timeline: Mapped[bool] = mapped_column(default=True)


class TicketLink(Base):
    """Two related tickets, seen from the later one; ``settled_at`` is when a possible duplicate was decided on.

    ``kind`` is ``possible_match`` (a possible duplicate of the other), ``follows`` (the other was completed long ago),
    ``merged`` or ``split`` (out of the other).
    """

    __tablename__ = "ticket_link"
    __table_args__ = (UniqueConstraint("ticket_id", "other_id", "kind"), Index("ix_ticket_link_other_id", "other_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"))
    other_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"))
    kind: Mapped[str]
    code: Mapped[str]
    reason: Mapped[str]
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[str | None]


class TicketThread(Base):
    """A key that leads later items to their ticket, such as a secure-message thread or a Message-ID."""

    __tablename__ = "ticket_thread"

    key: Mapped[str] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"), index=True)


class Activity(Base):
    """An entry on a ticket's timeline, never changed and never deleted on its own.

    ``kind`` is message_in, message_out, note, mark, stage, assignment, task or notice. ``data`` holds reasons and references.
    """

    __tablename__ = "activity"
    __table_args__ = (Index("ix_activity_ticket_id", "ticket_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"))
    at: Mapped[datetime]
    kind: Mapped[str]
    actor: Mapped[str]
    title: Mapped[str]
    body: Mapped[str] = mapped_column(default="")
    data: Mapped[dict[str, Any]]
    item_id: Mapped[int | None]


class Attachment(Base):
    """A file of a ticket; its bytes are the blob of that hash."""

    __tablename__ = "attachment"
    __table_args__ = (Index("ix_attachment_ticket_id", "ticket_id"), Index("ix_attachment_sha256", "sha256"))

    id: Mapped[int] = mapped_column(primary_key=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"))
    activity_id: Mapped[int] = mapped_column(ForeignKey("activity.id"))
    sha256: Mapped[str] = mapped_column(ForeignKey("blob.sha256"))
    name: Mapped[str]
    type: Mapped[str]
    sniffed: Mapped[str | None]
    size: Mapped[int]
    inline: Mapped[bool] = mapped_column(default=False)


class FollowUp(Base):
    """A dated to-do for a member of staff or a team. ``key`` makes sure that a rule raises it once."""

    __tablename__ = "follow_up"
    __table_args__ = (
        Index("ix_follow_up_ticket_id", "ticket_id"),
        Index("ix_follow_up_assignee_id", "assignee_id", "done_at", "due_at"),
        Index("ix_follow_up_open", "due_at", "id", **where("done_at IS NULL")),
        Index("ix_follow_up_done_at", "done_at", **where("done_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    ticket_id: Mapped[int] = mapped_column(ForeignKey("ticket.id"))
    kind: Mapped[str]
    title: Mapped[str]
    reason: Mapped[str]
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    team_id: Mapped[int | None] = mapped_column(ForeignKey("team.id"))
    due_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
