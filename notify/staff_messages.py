"""Letters: what staff wrote goes out, one delivery a recipient, in the thread of the customer's own mail.

A person wrote them, so they are no automatic mail (RFC 3834 §2): no Auto-Submitted, and the limits on answers do not count
them. A bounce is told by the envelope's sender, as for every mail of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Contact, Staff
from core.database.bulk import insert_ignore
from core.database.in_lists import among
from core.reasons import Reason
from notify.mailing_types import find_mailing_type, mailing_for_message
from notify.mailings import build_delivery_row
from notify.models import Delivery
from outbox.facts import Fact, LetterWritten, NoticeSettled
from tickets import staff_messages
from tickets.models import Activity
from tickets.staff_messages import LetterOutcome

#: References hold at most so many earlier messages: the first of a thread is in all of them.
REFERENCES: Final = 10


def on_letter_written(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """One mail to each recipient, with the words of the entry."""
    for fact in batch:
        if isinstance(fact, LetterWritten):
            insert_ignore(session, Delivery, _rows(session, fact, now))


def on_notice_settled(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """What became of the mail goes back to the ticket."""
    settled = {
        fact.delivery_id: fact
        for fact in batch
        if isinstance(fact, NoticeSettled) and find_mailing_type(fact.mailing).is_staff_written
    }
    if not settled:
        return
    rows = session.execute(select(Delivery.id, Delivery.context).where(among(Delivery.id, settled)))
    outcomes = []
    for delivery_id, context in rows:
        fact = settled[delivery_id]
        reason = Reason(fact.code, fact.text)
        place = delivery_id, fact.ticket_id or 0, int(context["activity_id"])
        outcomes.append(LetterOutcome(*place, fact.outcome, reason, fact.recipient))
    staff_messages.settle(session, outcomes, now)


def paragraphs(text: str) -> list[list[str]]:
    """A plain text as paragraphs of lines, for the templates."""
    blocks = "\n".join(line.rstrip() for line in text.strip().splitlines()).split("\n\n")
    return [block.strip("\n").split("\n") for block in blocks if block.strip()]


def _rows(session: Session, fact: LetterWritten, now: datetime) -> list[dict[str, Any]]:
    entry = session.get_one(Activity, fact.activity_id)
    writer = session.execute(select(Staff.name).where(Staff.email == entry.actor)).scalar_one_or_none()
    people = session.execute(select(Contact.id, Contact.email).where(Contact.id.in_(fact.contact_ids)).order_by(Contact.id))
    mailing, answered = mailing_for_message(fact.letter), _message_ids(session, fact.ticket_id, fact.activity_id)
    context = {
        "activity_id": entry.id,
        "subject": entry.title,
        "paragraphs": paragraphs(entry.body),
        "writer": writer or "",
        "in_reply_to": answered[-1] if answered else "",
        "references": answered,
    }
    return [
        build_delivery_row(f"{mailing}:{entry.id}:{contact_id}", mailing, fact.ticket_id, email, now) | {"context": context}
        for contact_id, email in people
    ]


def _message_ids(session: Session, ticket_id: int, before: int) -> list[str]:
    """Message-IDs of the customer's mails on the ticket, the oldest first (RFC 5322 §3.6.4)."""
    earlier = Activity.ticket_id == ticket_id, Activity.id < before, Activity.kind == "message_in"
    rows = session.execute(select(Activity.data).where(*earlier).order_by(Activity.id.desc()).limit(REFERENCES)).scalars()
    return [str(data["message_id"]) for data in reversed(list(rows)) if data.get("message_id")]
