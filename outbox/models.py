"""The outbox table."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from core.database.types import Base, where


class OutboxFact(Base):
    """A fact that waits for its handlers. Done facts are deleted after ``retention.facts_days``."""

    __tablename__ = "outbox_fact"
    __table_args__ = (
        Index("ix_outbox_fact_open", "due_at", "id", **where("done_at IS NULL")),
        Index("ix_outbox_fact_done_at", "done_at", **where("done_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    done_at: Mapped[datetime | None]
