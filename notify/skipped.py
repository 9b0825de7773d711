"""Notices that were skipped, and letting one go all the same, which staff decide (mail-rules.md, Never start a loop)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Staff
from core.errors import NotFoundError, RefusedError
from notify.mailing_types import CREATED
from notify.models import Delivery
from tickets import creation_notice, permissions
from tickets.numbers import number
from tickets.permissions import Act
from tickets.timeline import required

#: Reasons that no decision of staff takes away.
FOR_GOOD = ("no_address", "own_address", "not_renderable", "unusable_address")
SHOWN = 100


def list_skipped(session: Session, ticket_id: int | None = None, limit: int = SHOWN) -> Sequence[dict[str, Any]]:
    """Skipped notices to people outside, the newest first: notice, ticket, mailing, recipient, reason_code, reason, at."""
    statement = select(Delivery).where(Delivery.state == "skipped", Delivery.outside)
    if ticket_id is not None:
        statement = statement.where(Delivery.ticket_id == ticket_id)
    return [
        {
            "notice": row.id,
            "ticket": number(row.ticket_id or 0),
            "mailing": row.mailing,
            "recipient": row.recipient,
            "reason_code": row.reason_code,
            "reason": row.reason,
            "at": (row.finished_at or row.created_at).isoformat(timespec="seconds"),
        }
        for row in session.execute(statement.order_by(Delivery.id.desc()).limit(limit)).scalars()
    ]


def release(session: Session, delivery_id: int, by: Staff, reason: str, now: datetime) -> int:
    """Let a skipped notice go, past every limit; answers with its ticket. Raises NotFoundError, RefusedError."""
    permissions.require(by, Act.RELEASE)
    why = required(reason)
    delivery = session.execute(select(Delivery).where(Delivery.id == delivery_id).with_for_update()).scalar_one_or_none()
    if delivery is None:
        raise NotFoundError(f"there is no notice {delivery_id}", hint="`casemill notice list` lists those that were skipped")
    if delivery.state != "skipped":
        raise RefusedError("not_skipped", f"notice {delivery_id} was not skipped: it is {delivery.state}")
    ticket_id = delivery.ticket_id
    if delivery.reason_code in FOR_GOOD or not delivery.recipient or ticket_id is None:
        raise RefusedError("not_releasable", f"notice {delivery_id} cannot go: {delivery.reason or 'it has no address'}")
    delivery.state, delivery.due_at, delivery.finished_at = "pending", now, None
    delivery.reason_code = delivery.reason = None
    delivery.released_by = by.email
    session.flush()
    title = f"Released: {delivery.mailing.replace('_', ' ')}"
    creation_notice.release_notice(session, ticket_id, title, by.email, why, now, created=delivery.mailing == CREATED)
    return ticket_id
