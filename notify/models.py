"""Tables of outgoing mail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from core.database.types import Base, where

#: Conditions of the partial indexes, for the queries that use these indexes.
DUE_WHERE = "finished_at IS NULL AND state IN ('pending', 'ambiguous')"
HELD_WHERE = "state IN ('claimed', 'intent')"
DELAYED_WHERE = "state = 'pending' AND reason_code IN ('domain_limit', 'total_limit')"


class Delivery(Base):
    """One mail to one recipient. The unique ``key`` makes it one, however often its fact is read.

    States (reliability.md): ``pending`` → ``claimed`` → ``intent`` → ``sent`` | ``failed`` | ``ambiguous``, or ``skipped`` with
    a reason. An ambiguous delivery whose mailing may be repeated waits for its one repeat. ``finished_at`` is set with the
    final state.

    ``outside`` is mail to customers. The rate limits count it by ``tried_at``, which is set when the limits allow the mail and
    cleared when it turns out that it was not sent. ``ambiguities`` counts the ambiguous outcomes. ``frozen`` is the built
    message. ``released_by`` is the member of staff who sent a skipped notice anyway; no limit holds for it.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_due", "due_at", "id", **where(DUE_WHERE)),
        Index("ix_delivery_claim_until", "claim_until", **where(HELD_WHERE)),
        Index("ix_delivery_delayed", "reason_code", "domain", "id", "due_at", **where(DELAYED_WHERE)),
        Index("ix_delivery_recipient_tried", "recipient", "tried_at", **where("tried_at IS NOT NULL")),
        Index("ix_delivery_domain_tried", "domain", "tried_at", **where("tried_at IS NOT NULL")),
        Index("ix_delivery_tried_at", "tried_at", **where("tried_at IS NOT NULL")),
        Index("ix_delivery_ticket_id", "ticket_id"),
        Index("ix_delivery_created_at", "created_at", "state"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    mailing: Mapped[str]
    ticket_id: Mapped[int | None] = mapped_column(ForeignKey("ticket.id"))
    recipient: Mapped[str]
    domain: Mapped[str]
    outside: Mapped[bool]
    context: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(default="pending")
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    ambiguities: Mapped[int] = mapped_column(default=0)
    claim: Mapped[str | None]
    claim_until: Mapped[datetime | None]
    message_id: Mapped[str | None]
    frozen: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    smtp_reply: Mapped[str | None]
    tried_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    released_by: Mapped[str | None]
    created_at: Mapped[datetime]


class DeliveryReport(Base):
    """A bounce or report about a delivery, one for each inbound item. ``kind`` as in ``ingest.parsers.types.ParsedReport``."""

    __tablename__ = "delivery_report"
    __table_args__ = (Index("ix_delivery_report_delivery_id", "delivery_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(unique=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"))
    kind: Mapped[str]
    status: Mapped[str]
    action: Mapped[str]
    permanent: Mapped[bool]
    at: Mapped[datetime]
