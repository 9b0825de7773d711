"""Deliveries of staff messages: one mail to each recipient, in the thread of the customer's own mail.

A member of staff wrote the text, so these mails are not automatic (RFC 3834 §2): they have no Auto-Submitted header and no
rate limits. Their bounces are recognised by the envelope sender, as those of every mail.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Contact, Staff
from core.database.bulk import insert_ignore
from core.database.in_lists import in_list
from core.reasons import Reason
from notify.mailing_types import find_mailing_type, mailing_for_message
from notify.mailings import build_delivery_row
from notify.models import Delivery
from outbox.facts import Fact, NoticeSettled, StaffMessageWritten
from tickets import staff_messages
from tickets.models import Activity
from tickets.staff_messages import MessageOutcome

#: The References header names at most so many earlier messages; the first of a thread is in the References of each.
MAX_REFERENCES: Final = 10


def on_staff_message_written(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Create one delivery for each recipient of a staff message, with the text of its activity."""
    for fact in batch:
        if isinstance(fact, StaffMessageWritten):
            insert_ignore(session, Delivery, _build_rows(session, fact, now))


def on_notice_settled(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Pass the final outcomes of staff messages to their tickets."""
    settled = {
        fact.delivery_id: fact
        for fact in batch
        if isinstance(fact, NoticeSettled) and find_mailing_type(fact.mailing).is_staff_written
    }
    if not settled:
        return
    rows = session.execute(select(Delivery.id, Delivery.context).where(in_list(Delivery.id, settled)))
    outcomes = []
    for delivery_id, context in rows:
        fact = settled[delivery_id]
        ids = delivery_id, fact.ticket_id or 0, int(context["activity_id"])
        outcomes.append(MessageOutcome(*ids, fact.outcome, Reason(fact.code, fact.text), fact.recipient))
    staff_messages.record_outcomes(session, outcomes, now)


def split_paragraphs(text: str) -> list[list[str]]:
    """Return a plain text as paragraphs of lines, as the templates expect it."""
    blocks = "\n".join(line.rstrip() for line in text.strip().splitlines()).split("\n\n")
    return [block.strip("\n").split("\n") for block in blocks if block.strip()]


def _build_rows(session: Session, fact: StaffMessageWritten, now: datetime) -> list[dict[str, Any]]:
    activity = session.get_one(Activity, fact.activity_id)
    writer = session.execute(select(Staff.name).where(Staff.email == activity.actor)).scalar_one_or_none()
    people = session.execute(select(Contact.id, Contact.email).where(Contact.id.in_(fact.contact_ids)).order_by(Contact.id))
    mailing, references = mailing_for_message(fact.letter), _find_message_ids(session, fact.ticket_id, fact.activity_id)
    context = {
        "activity_id": activity.id,
        "subject": activity.title,
        "paragraphs": split_paragraphs(activity.body),
        "writer": writer or "",
        "in_reply_to": references[-1] if references else "",
        "references": references,
    }
    return [
        build_delivery_row(f"{mailing}:{activity.id}:{contact_id}", mailing, fact.ticket_id, email, now) | {"context": context}
        for contact_id, email in people
    ]


def _find_message_ids(session: Session, ticket_id: int, before: int) -> list[str]:
    """Return the Message-IDs of the customer's mails before an activity, the oldest first (RFC 5322 §3.6.4)."""
    earlier = Activity.ticket_id == ticket_id, Activity.id < before, Activity.kind == "message_in"
    latest = select(Activity.data).where(*earlier).order_by(Activity.id.desc()).limit(MAX_REFERENCES)
    return [str(data["message_id"]) for data in reversed(list(session.execute(latest).scalars())) if data.get("message_id")]
