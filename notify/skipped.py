"""Skipped notices: list them, and send one anyway when staff decide so (mail-rules.md, Never start a loop)."""

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
from tickets.numbers import format_number
from tickets.permissions import Action
from tickets.timeline import require_text

#: Reason codes that no decision of staff can override.
PERMANENT_REASONS = ("no_address", "own_address", "not_renderable", "unusable_address")
MAX_LISTED = 100


def list_skipped(session: Session, ticket_id: int | None = None, limit: int = MAX_LISTED) -> Sequence[dict[str, Any]]:
    """Return skipped notices to customers, the newest first, of one ticket or of all.

    The keys of each are notice, ticket, mailing, recipient, reason_code, reason and at.
    """
    statement = select(Delivery).where(Delivery.state == "skipped", Delivery.outside)
    if ticket_id is not None:
        statement = statement.where(Delivery.ticket_id == ticket_id)
    return [
        {
            "notice": row.id,
            "ticket": format_number(row.ticket_id or 0),
            "mailing": row.mailing,
            "recipient": row.recipient,
            "reason_code": row.reason_code,
            "reason": row.reason,
            "at": (row.finished_at or row.created_at).isoformat(timespec="seconds"),
        }
        for row in session.execute(statement.order_by(Delivery.id.desc()).limit(limit)).scalars()
    ]


def send_anyway(session: Session, delivery_id: int, by: Staff, reason: str, now: datetime) -> int:
    """Make a skipped notice due again, exempt from every limit; returns the id of its ticket.

    Raises NotFoundError for an unknown notice, and RefusedError when it was not skipped, when its reason is permanent, when
    ``reason`` is empty, or when ``by`` may not do this.
    """
    permissions.require(by, Action.RELEASE)
    why = require_text(reason)
    delivery = session.execute(select(Delivery).where(Delivery.id == delivery_id).with_for_update()).scalar_one_or_none()
    if delivery is None:
        raise NotFoundError(f"there is no notice {delivery_id}", hint="`casemill notice list` lists the skipped notices")
    if delivery.state != "skipped":
        raise RefusedError("not_skipped", f"notice {delivery_id} was not skipped: it is {delivery.state}")
    ticket_id = delivery.ticket_id
    if delivery.reason_code in PERMANENT_REASONS or not delivery.recipient or ticket_id is None:
        problem = delivery.reason or "it has no address"
        raise RefusedError("not_releasable", f"notice {delivery_id} cannot be sent: {problem}")
    delivery.state, delivery.due_at, delivery.finished_at = "pending", now, None
    # A pending delivery has a reason only while a limit or the relay delays it; this one stays on the timeline.
    delivery.reason_code = delivery.reason = None
    delivery.released_by = by.email
    session.flush()
    title = f"Send anyway: {delivery.mailing.replace('_', ' ')}"
    creation_notice.record_release(session, ticket_id, title, by.email, why, now, created=delivery.mailing == CREATED)
    return ticket_id
