"""Admission: which claimed deliveries may go now. Decided, counted and written in the transaction that claims them.

A delivery that is let go counts from then on, until it turns out that it was not sent; so two workers that look at the
same moment cannot both find room for the last mail of an hour.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from accounts import suppressions
from core import clock
from core.database.in_lists import among
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Notices
from notify import claims, rate_limit_counts
from notify.claims import Claimed
from notify.mailing_types import CREATED, SURVEY_INVITATION, find_mailing_type, make_outcome_facts
from notify.models import Delivery
from notify.rate_limit_counts import Counts, RateLimitDecision
from outbox.append import append_facts
from tickets import alerts
from tickets.alerts import Alert
from tickets.models import Ticket
from tickets.stages import COMPLETED

#: A number of our own for PostgreSQL's advisory lock. On SQLite the one writer's turn does the same.
LOCK = 7_251_946_302
REOPENED = Reason("reopened", "The ticket was opened again before its survey was sent")


def admit(session: Session, token: str, batch: Sequence[Claimed], settings: Settings) -> list[Claimed]:
    """Those of ``batch`` that may go now; the others are skipped or delayed, with their reason."""
    # The one repeat of an ambiguous mail was counted when it was tried first; for what staff let go no limit holds.
    ruled = [one for one in batch if one.outside and not one.ambiguities and one.released_by is None]
    if not ruled:
        return list(batch)
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(LOCK)))
    now = clock.now()
    counts = _count(session, ruled, settings.notices, now)
    refused = _refusals(session, ruled, counts, settings, now)
    _write(session, token, [(one, refused[one.id]) for one in ruled if one.id in refused])
    silenced = [_alert(one, refused[one.id], counts, now) for one in ruled if one.id in refused]
    alerts.raise_alerts(session, [alert for alert in silenced if alert is not None], now)
    let_go = [one.id for one in ruled if one.id not in refused]
    session.execute(update(Delivery).where(among(Delivery.id, let_go)).values(tried_at=clock.now()))
    return [one for one in batch if one.id not in refused]


def _count(session: Session, ruled: Sequence[Claimed], settings: Notices, now: datetime) -> Counts:
    recipients, domains = [one.recipient for one in ruled], [one.domain for one in ruled]
    counts = rate_limit_counts.count(session, recipients, domains, [one.ticket_id or 0 for one in ruled], settings, now)
    created = [(one.ticket_id or 0, one.recipient) for one in ruled if one.mailing == CREATED]
    rate_limit_counts.load_subjects(session, counts, created, now)
    return counts


def _refusals(
    session: Session, ruled: Sequence[Claimed], counts: Counts, settings: Settings, now: datetime
) -> dict[int, RateLimitDecision]:
    """In the order in which they were made, so that nobody overtakes."""
    blocked = suppressions.blocked(session, [one.recipient for one in ruled], now)
    surveyed = [one.recipient for one in ruled if one.mailing == SURVEY_INVITATION]
    unwilling = suppressions.blocked(session, surveyed, now, suppressions.SURVEYS) if surveyed else set()
    reopened = _reopened(session, [one.ticket_id or 0 for one in ruled if one.mailing == SURVEY_INVITATION])
    own = rate_limit_counts.own_addresses(settings)
    refused = {}
    for one in sorted(ruled, key=lambda one: one.id):
        if one.mailing == SURVEY_INVITATION and one.ticket_id in reopened:
            refused[one.id] = RateLimitDecision("skip", REOPENED)
            continue
        shut = blocked | unwilling if one.mailing == SURVEY_INVITATION else blocked
        ruling = _rule(one, shut, own, counts, settings, now)
        if ruling != rate_limit_counts.SEND:
            refused[one.id] = ruling
    return refused


def _reopened(session: Session, tickets: Collection[int]) -> set[int]:
    """Of tickets whose survey goes now those that are not completed: a limit may have held it back while the customer wrote."""
    if not tickets:
        return set()
    open_again = select(Ticket.id).where(among(Ticket.id, tickets), Ticket.stage != COMPLETED)
    return set(session.execute(open_again).scalars())


def _rule(
    one: Claimed, shut: Collection[str], own: Collection[str], counts: Counts, settings: Settings, now: datetime
) -> RateLimitDecision:
    """What a person wrote is held back by its address alone; the limits are on what no person wrote."""
    refused = rate_limit_counts.refuse_address(one.recipient, own, shut)
    if refused is not None or find_mailing_type(one.mailing).is_staff_written:
        return refused or rate_limit_counts.SEND
    place = one.ticket_id or 0, one.recipient, one.domain
    never = rate_limit_counts.refuse_answer(one.recipient, one.domain, settings.notices)
    ruling = never or rate_limit_counts.rule(one.id, *place, counts, settings.notices, now)
    if ruling == rate_limit_counts.SEND:
        counts.add(*place)
    return ruling


def _alert(one: Claimed, ruling: RateLimitDecision, counts: Counts, now: datetime) -> Alert | None:
    """The owner hears once that a ticket fell silent, and again when that happens after a human wrote; of a loop once a day."""
    if (
        one.ticket_id is None
        or ruling.reason is None
        or ruling.reason.code not in (rate_limit_counts.SILENT, rate_limit_counts.LOOP)
    ):
        return None
    if ruling.reason.code == rate_limit_counts.SILENT:
        since = counts.human_at.get(one.ticket_id)
        key = f"silence:{one.ticket_id}:{since.isoformat() if since else ''}"
        task = "Look into it: no more automatic mail goes out for this ticket"
        return Alert(one.ticket_id, "The ticket fell silent", ruling.reason, key=key, kind="silence", task=task)
    key, task = f"loop:{one.recipient}:{now:%Y-%m-%d}", "Look into it: a machine seems to answer our mail"
    return Alert(one.ticket_id, "A machine seems to answer", ruling.reason, key=key, kind="silence", task=task)


def _write(session: Session, token: str, refused: Sequence[tuple[Claimed, RateLimitDecision]]) -> None:
    now = clock.now()
    skipped = []
    for one, ruling in refused:
        reason = ruling.reason or Reason("limit", "A limit was reached")
        told = {"reason_code": reason.code, "reason": reason.text, "claim": None, "claim_until": None}
        if ruling.verdict == "delay":
            claims.change(session, token, one.id, "pending", due_at=ruling.until or now + rate_limit_counts.DELAY, **told)
            continue
        claims.change(session, token, one.id, "skipped", finished_at=now, **told)
        skipped += make_outcome_facts(one, "skipped", reason)
    append_facts(session, skipped, now)
