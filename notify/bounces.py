"""What comes back about our mail: recorded on the delivery, told on the ticket, and minded from then on. Readers of facts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts import suppressions
from accounts.suppressions import AUTOMATIC, SURVEYS, Block
from core.database.bulk import insert_ignore
from core.reasons import Reason
from notify.models import Delivery, DeliveryReport
from outbox.facts import BounceReceived, Fact, ReportReceived
from tickets import alerts
from tickets.alerts import Alert

#: The beginning of an enhanced status code (RFC 3463) → what it means, the longest beginning first.
MEANINGS = (
    ("5.1.8", "the other side does not accept our sender address"),
    ("5.1.7", "the other side does not accept our sender address"),
    ("5.1.", "there is no such address"),
    ("5.2.1", "the mailbox is closed"),
    ("5.2.2", "the mailbox is full"),
    ("5.2.3", "the mail is too large for the mailbox"),
    ("5.4.", "no mail server could be found for the address"),
    ("5.7.", "the other side refuses our mail by a rule of theirs"),
    ("5.", "the other side refused it for good"),
    ("4.2.2", "the mailbox was full for days"),
    ("4.", "the other side did not take it for days"),
)
COMPLAINT = Reason("complaint", "The recipient marked a mail of ours as unwanted (RFC 5965)")


def on_bounce_received(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """A notice came back: the recipient is blocked when that is for good, and the owner gets a task in plain words."""
    bounces = [fact for fact in batch if isinstance(fact, BounceReceived)]
    known = _deliveries(session, [fact.delivery_id for fact in bounces])
    pairs = [(fact, known[fact.delivery_id]) for fact in bounces if fact.delivery_id in known]
    rows = [_row(fact, "delay" if fact.delayed else "bounce", fact.status, fact.permanent, now) for fact, _ in pairs]
    insert_ignore(session, DeliveryReport, sorted(rows, key=lambda row: int(row["item_id"])))
    for_good = [(fact, delivery) for fact, delivery in pairs if fact.permanent and not fact.delayed and delivery.outside]
    blocks = [
        Block(delivery.recipient, AUTOMATIC, Reason("bounce", f"A mail came back: {meaning(fact.status)}"),
              now + timedelta(days=fact.block_days))
        for fact, delivery in for_good
    ]  # fmt: skip
    suppressions.block(session, blocks, now)
    alerts.raise_alerts(session, [_alert(fact, delivery) for fact, delivery in pairs], now)


def on_report_received(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """A complaint ends surveys to the recipient; receipts and the like are recorded, no more."""
    reports = [fact for fact in batch if isinstance(fact, ReportReceived)]
    known = _deliveries(session, [fact.delivery_id for fact in reports])
    pairs = [(fact, known[fact.delivery_id]) for fact in reports if fact.delivery_id in known]
    rows = [_row(fact, fact.report, "", False, now) for fact, _ in pairs]
    insert_ignore(session, DeliveryReport, sorted(rows, key=lambda row: int(row["item_id"])))
    complaints = [(fact, delivery) for fact, delivery in pairs if fact.report == "complaint"]
    suppressions.block(session, [Block(delivery.recipient, SURVEYS, COMPLAINT, None) for _, delivery in complaints], now)
    notes = [
        Alert(delivery.ticket_id, "The recipient complained about a notice", COMPLAINT, fact.item_id)
        for fact, delivery in complaints
    ]
    alerts.raise_alerts(session, notes, now)


def meaning(status: str) -> str:
    """A status code in plain words. Pure."""
    plain = next((words for beginning, words in MEANINGS if status.startswith(beginning)), "it could not be delivered")
    return f"{plain} ({status})" if status else plain


def _alert(fact: BounceReceived, delivery: Any) -> Alert:
    what = delivery.mailing.replace("_", " ")
    if fact.delayed:
        reason = Reason("notice_delayed", f"The mail “{what}” to {delivery.recipient} is late; the mail systems go on trying")
        return Alert(delivery.ticket_id, "A notice is late", reason, fact.item_id)
    block = f"; no automatic mail goes there for {fact.block_days} days" if fact.permanent and delivery.outside else ""
    text = f"The mail “{what}” to {delivery.recipient} came back: {meaning(fact.status)}{block}"
    return Alert(
        delivery.ticket_id, "A notice came back", Reason("notice_bounced", text), fact.item_id,
        key=f"bounce:{delivery.id}", kind="notice_problem", task="Reach them another way: our mail came back",
    )  # fmt: skip


def _deliveries(session: Session, ids: Iterable[int]) -> dict[int, Any]:
    columns = Delivery.id, Delivery.ticket_id, Delivery.mailing, Delivery.recipient, Delivery.outside
    return {row.id: row for row in session.execute(select(*columns).where(Delivery.id.in_(set(ids))))}


def _row(fact: BounceReceived | ReportReceived, kind: str, status: str, permanent: bool, now: datetime) -> dict[str, Any]:
    return {
        "item_id": fact.item_id,
        "delivery_id": fact.delivery_id,
        "kind": kind,
        "status": status,
        "action": fact.action,
        "permanent": permanent,
        "at": now,
    }
