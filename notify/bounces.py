"""Fact subscribers for bounces and reports: record them on the delivery, note them on the ticket, block the recipient."""

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

#: Prefix of an enhanced status code (RFC 3463) → its meaning, the longest prefix first.
STATUS_MEANINGS = (
    ("5.1.8", "the recipient's mail server does not accept our sender address"),
    ("5.1.7", "the recipient's mail server does not accept our sender address"),
    ("5.1.", "there is no such address"),
    ("5.2.1", "the mailbox is closed"),
    ("5.2.2", "the mailbox is full"),
    ("5.2.3", "the mail is too large for the mailbox"),
    ("5.4.", "no mail server could be found for the address"),
    ("5.7.", "a policy of the recipient's mail server refuses our mail"),
    ("5.", "the recipient's mail server refused it permanently"),
    ("4.2.2", "the mailbox was full for days"),
    ("4.", "the recipient's mail server did not accept it for days"),
)
COMPLAINT = Reason("complaint", "The recipient reported one of our mails as spam (RFC 5965)")


def on_bounce_received(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Record bounces and delays of our mail.

    A permanent bounce blocks a customer's address for automatic mail. A bounce gives the ticket's owner a task; a delay is
    noted only.
    """
    bounces = [fact for fact in batch if isinstance(fact, BounceReceived)]
    known = _load_deliveries(session, [fact.delivery_id for fact in bounces])
    pairs = [(fact, known[fact.delivery_id]) for fact in bounces if fact.delivery_id in known]
    rows = [_build_report_row(fact, "delay" if fact.delayed else "bounce", fact.status, fact.permanent, now) for fact, _ in pairs]
    # In the order of item ids, the same for every worker, so that two relays never deadlock.
    insert_ignore(session, DeliveryReport, sorted(rows, key=lambda row: int(row["item_id"])))
    # Only addresses of customers are blocked (mail-rules.md, Effects).
    permanent = [(fact, delivery) for fact, delivery in pairs if fact.permanent and not fact.delayed and delivery.outside]
    blocks = [
        Block(delivery.recipient, AUTOMATIC, Reason("bounce", f"A mail came back: {describe_status(fact.status)}"),
              now + timedelta(days=fact.block_days))
        for fact, delivery in permanent
    ]  # fmt: skip
    suppressions.block(session, blocks, now)
    alerts.raise_alerts(session, [_make_alert(fact, delivery) for fact, delivery in pairs], now)


def on_report_received(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Record reports on our mail. A complaint also blocks surveys to the recipient; receipts have no other effect."""
    reports = [fact for fact in batch if isinstance(fact, ReportReceived)]
    known = _load_deliveries(session, [fact.delivery_id for fact in reports])
    pairs = [(fact, known[fact.delivery_id]) for fact in reports if fact.delivery_id in known]
    rows = [_build_report_row(fact, fact.report, "", False, now) for fact, _ in pairs]
    insert_ignore(session, DeliveryReport, sorted(rows, key=lambda row: int(row["item_id"])))
    complaints = [(fact, delivery) for fact, delivery in pairs if fact.report == "complaint"]
    suppressions.block(session, [Block(delivery.recipient, SURVEYS, COMPLAINT, None) for _, delivery in complaints], now)
    notes = [
        Alert(delivery.ticket_id, "The recipient reported our mail as spam", COMPLAINT, fact.item_id)
        for fact, delivery in complaints
    ]
    alerts.raise_alerts(session, notes, now)


def describe_status(status: str) -> str:
    """Return an enhanced status code in words, with the code in brackets. Pure."""
    meaning = next((words for prefix, words in STATUS_MEANINGS if status.startswith(prefix)), "it could not be delivered")
    return f"{meaning} ({status})" if status else meaning


def _make_alert(fact: BounceReceived, delivery: Any) -> Alert:
    mailing = delivery.mailing.replace("_", " ")
    if fact.delayed:
        reason = Reason(
            "notice_delayed", f"The mail “{mailing}” to {delivery.recipient} is delayed; the mail servers keep trying"
        )
        return Alert(delivery.ticket_id, "Our mail is delayed", reason, fact.item_id)
    block = f"; this address gets no automatic mail for {fact.block_days} days" if fact.permanent and delivery.outside else ""
    text = f"The mail “{mailing}” to {delivery.recipient} came back: {describe_status(fact.status)}{block}"
    return Alert(
        delivery.ticket_id, "Our mail came back", Reason("notice_bounced", text), fact.item_id,
        key=f"bounce:{delivery.id}", kind="notice_problem", task="Reach them another way: our mail came back",
    )  # fmt: skip


def _load_deliveries(session: Session, ids: Iterable[int]) -> dict[int, Any]:
    columns = Delivery.id, Delivery.ticket_id, Delivery.mailing, Delivery.recipient, Delivery.outside
    return {row.id: row for row in session.execute(select(*columns).where(Delivery.id.in_(set(ids))))}


def _build_report_row(
    fact: BounceReceived | ReportReceived, kind: str, status: str, permanent: bool, now: datetime
) -> dict[str, Any]:
    return {
        "item_id": fact.item_id,
        "delivery_id": fact.delivery_id,
        "kind": kind,
        "status": status,
        "action": fact.action,
        "permanent": permanent,
        "at": now,
    }
