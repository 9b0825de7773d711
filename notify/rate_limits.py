"""Rate limits applied to a claimed batch, in the transaction that claims it.

1. Count recent mail. On PostgreSQL an advisory lock, on SQLite the one writer, lets one worker count at a time: two workers
   that count at the same moment would both use the last mail of an hour.
2. Decide for each delivery, oldest first, and count it at once.
3. Write the skips and delays with their reasons, and raise alerts.
4. Set ``tried_at`` of the others. From then on they count, until it turns out that they were not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from accounts import suppressions
from core import clock
from core.database.in_lists import in_list
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Notices
from notify import claims, rate_limit_counts
from notify.claims import ClaimedDelivery
from notify.mailing_types import CREATED, SURVEY_INVITATION, find_mailing_type, make_outcome_facts
from notify.models import Delivery
from notify.rate_limit_counts import LOOP, SEND, SILENT, RateLimitCounts, RateLimitDecision
from outbox.append import append_facts
from tickets import alerts
from tickets.alerts import Alert
from tickets.models import Ticket
from tickets.stages import COMPLETED

#: The key of PostgreSQL's advisory lock, chosen at random.
ADVISORY_LOCK: Final = 7_251_946_302
REOPENED = Reason("reopened", "The ticket was opened again before its survey was sent")


def apply_limits(session: Session, token: str, batch: Sequence[ClaimedDelivery], settings: Settings) -> list[ClaimedDelivery]:
    """Return the deliveries of ``batch`` that may be sent now; skip or delay the others, with their reason."""
    # Exempt: mail to staff, the one repeat of an ambiguous mail (it was counted at its first attempt), and what staff
    # decided to send anyway.
    limited = [one for one in batch if one.outside and not one.ambiguities and one.released_by is None]
    if not limited:
        return list(batch)
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
    now = clock.now()
    counts = _load_counts(session, limited, settings.notices, now)
    stopped = _decide_all(session, limited, counts, settings, now)
    _write_decisions(session, token, [(one, stopped[one.id]) for one in limited if one.id in stopped])
    found = [_make_alert(one, stopped[one.id], counts, now) for one in limited if one.id in stopped]
    alerts.raise_alerts(session, [alert for alert in found if alert is not None], now)
    allowed = [one.id for one in limited if one.id not in stopped]
    session.execute(update(Delivery).where(in_list(Delivery.id, allowed)).values(tried_at=clock.now()))
    return [one for one in batch if one.id not in stopped]


def _load_counts(session: Session, limited: Sequence[ClaimedDelivery], settings: Notices, now: datetime) -> RateLimitCounts:
    recipients, domains = [one.recipient for one in limited], [one.domain for one in limited]
    tickets = [one.ticket_id or 0 for one in limited]
    counts = rate_limit_counts.load_counts(session, recipients, domains, tickets, settings, now)
    created = [(one.ticket_id or 0, one.recipient) for one in limited if one.mailing == CREATED]
    rate_limit_counts.load_subjects(session, counts, created, now)
    return counts


def _decide_all(
    session: Session, limited: Sequence[ClaimedDelivery], counts: RateLimitCounts, settings: Settings, now: datetime
) -> dict[int, RateLimitDecision]:
    """Return the decisions to skip or delay, by delivery id."""
    blocked = suppressions.find_blocked(session, [one.recipient for one in limited], now)
    invitations = [one for one in limited if one.mailing == SURVEY_INVITATION]
    invited = [one.recipient for one in invitations]
    unsubscribed = suppressions.find_blocked(session, invited, now, suppressions.SURVEYS) if invited else set()
    reopened = _find_reopened(session, [one.ticket_id or 0 for one in invitations])
    own = rate_limit_counts.own_addresses(settings)
    stopped = {}
    # In the order in which they were created: a later mail never takes the place of an earlier one.
    for one in sorted(limited, key=lambda one: one.id):
        if one.mailing == SURVEY_INVITATION and one.ticket_id in reopened:
            stopped[one.id] = RateLimitDecision("skip", REOPENED)
            continue
        suppressed = blocked | unsubscribed if one.mailing == SURVEY_INVITATION else blocked
        decision = _decide(one, suppressed, own, counts, settings, now)
        if decision != SEND:
            stopped[one.id] = decision
    return stopped


def _find_reopened(session: Session, tickets: Collection[int]) -> set[int]:
    """Return which tickets are no longer completed: the customer may write again while a limit delays the survey."""
    if not tickets:
        return set()
    open_again = select(Ticket.id).where(in_list(Ticket.id, tickets), Ticket.stage != COMPLETED)
    return set(session.execute(open_again).scalars())


def _decide(
    one: ClaimedDelivery,
    suppressed: Collection[str],
    own: Collection[str],
    counts: RateLimitCounts,
    settings: Settings,
    now: datetime,
) -> RateLimitDecision:
    """Return the decision for one delivery, and count it if it may be sent. Staff messages have no limits."""
    no_mail = rate_limit_counts.check_address(one.recipient, own, suppressed)
    if no_mail is not None or find_mailing_type(one.mailing).is_staff_written:
        return no_mail or SEND
    counted = one.ticket_id or 0, one.recipient, one.domain
    never = rate_limit_counts.check_never_answer(one.recipient, one.domain, settings.notices)
    decision = never or rate_limit_counts.decide(one.id, *counted, counts, settings.notices, now)
    if decision == SEND:
        counts.add(*counted)
    return decision


def _make_alert(one: ClaimedDelivery, decision: RateLimitDecision, counts: RateLimitCounts, now: datetime) -> Alert | None:
    """Return the alert to the owner, or None.

    The key makes it one alert for each silence of a ticket (a person's message begins a new one) and one a day for a loop.
    """
    if one.ticket_id is None or decision.reason is None or decision.reason.code not in (SILENT, LOOP):
        return None
    if decision.reason.code == SILENT:
        since = counts.human_at.get(one.ticket_id)
        key = f"silence:{one.ticket_id}:{since.isoformat() if since else ''}"
        task = "Check this ticket: casemill has stopped its automatic mail"
        return Alert(one.ticket_id, "Automatic mail stopped", decision.reason, key=key, kind="silence", task=task)
    key, task = f"loop:{one.recipient}:{now:%Y-%m-%d}", "Check this ticket: an auto-responder seems to answer our mail"
    return Alert(one.ticket_id, "Possible mail loop", decision.reason, key=key, kind="silence", task=task)


def _write_decisions(session: Session, token: str, stopped: Sequence[tuple[ClaimedDelivery, RateLimitDecision]]) -> None:
    now = clock.now()
    facts = []
    for one, decision in stopped:
        reason = decision.reason or Reason("limit", "A limit was reached")
        values = {"reason_code": reason.code, "reason": reason.text, "claim": None, "claim_until": None}
        if decision.action == "delay":
            due_at = decision.until or now + rate_limit_counts.MIN_DELAY
            claims.update_claimed(session, token, one.id, "pending", due_at=due_at, **values)
            continue
        claims.update_claimed(session, token, one.id, "skipped", finished_at=now, **values)
        facts += make_outcome_facts(one, "skipped", reason)
    append_facts(session, facts, now)
