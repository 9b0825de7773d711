"""Admission: which claimed deliveries may go now. Decided, counted and written in the transaction that claims them.

A delivery that is let go counts from then on, until it turns out that it was not sent; so two workers that look at the
same moment cannot both find room for the last mail of an hour.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from accounts import suppressions
from core import clock
from core.reasons import Reason
from core.settings import Settings
from notify import claims, limits
from notify.claims import Claimed
from notify.limits import Ruling
from notify.mailings import settled
from notify.models import Delivery
from outbox import facts

#: A number of our own for PostgreSQL's advisory lock. On SQLite the one writer's turn does the same.
LOCK = 7_251_946_302


def admit(session: Session, token: str, batch: Sequence[Claimed], settings: Settings) -> list[Claimed]:
    """Those of ``batch`` that may go now; the others are skipped or delayed, with their reason."""
    # The one repeat of an ambiguous mail was counted when it was tried first.
    ruled = [one for one in batch if one.outside and not one.ambiguities]
    if not ruled:
        return list(batch)
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(LOCK)))
    refused = _refusals(session, ruled, settings)
    _write(session, token, [(one, refused[one.id]) for one in ruled if one.id in refused])
    let_go = [one.id for one in ruled if one.id not in refused]
    session.execute(update(Delivery).where(Delivery.id.in_(let_go)).values(tried_at=clock.now()))
    return [one for one in batch if one.id not in refused]


def _refusals(session: Session, ruled: Sequence[Claimed], settings: Settings) -> dict[int, Ruling]:
    """In the order in which they were made, so that nobody overtakes."""
    now = clock.now()
    recipients, domains = [one.recipient for one in ruled], [one.domain for one in ruled]
    counts = limits.count(session, recipients, domains, [one.ticket_id for one in ruled], now)
    blocked = suppressions.blocked(session, recipients, now)
    own = limits.own_addresses(settings)
    refused = {}
    for one in sorted(ruled, key=lambda one: one.id):
        address = limits.refuse_address(one.recipient, one.domain, own, blocked, settings.notices)
        ruling = address or limits.rule(one.id, one.ticket_id, one.recipient, one.domain, counts, settings.notices, now)
        if ruling == limits.SEND:
            counts.add(one.ticket_id, one.recipient, one.domain)
        else:
            refused[one.id] = ruling
    return refused


def _write(session: Session, token: str, refused: Sequence[tuple[Claimed, Ruling]]) -> None:
    now = clock.now()
    skipped = []
    for one, ruling in refused:
        reason = ruling.reason or Reason("limit", "A limit was reached")
        told = {"reason_code": reason.code, "reason": reason.text, "claim": None, "claim_until": None}
        if ruling.verdict == "delay":
            claims.change(session, token, one.id, "pending", due_at=ruling.until or now + limits.DELAY, **told)
            continue
        claims.change(session, token, one.id, "skipped", finished_at=now, **told)
        skipped.append(settled(one, "skipped", reason))
    facts.append(session, skipped, now)
