"""Survey invitations, from the completion of a ticket to the outcome of the mail.

1. At completion: apply the rules and reserve the throttle slot, or record why there is no survey.
2. When due: apply the rules again, since the ticket or the contact may have changed, and append the fact for the mail.
3. With the outcome of the mail: keep the slot if the mail may have arrived, otherwise release it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from accounts.models import Contact
from core import clock
from core.database.session import Database, is_unavailable
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from core.settings.sections import Surveys
from outbox.append import append_facts
from outbox.facts import Fact, NoticeSettled, SurveyDue, TicketCompleted
from surveys import rules, throttle
from surveys.models import WAITING_WHERE, Survey
from surveys.rules import Customer
from tickets.models import Activity, Ticket
from tickets.numbers import format_number
from tickets.stages import COMPLETED
from tickets.timeline import record_entry

log = logging.getLogger("casemill.surveys")

#: The mailing of invitations in the facts from ``notify``, which this package must not import.
INVITATION = "survey_invitation"
BATCH_SIZE = 100
#: A survey whose processing failed is tried again after this pause.
RETRY_PAUSE = timedelta(minutes=5)
IS_WAITING = text(WAITING_WHERE)
TITLES = {
    "sent": "Survey sent",
    "skipped": "Survey not sent",
    "failed": "Survey failed",
    "ambiguous": "Survey may not have arrived",
}


def on_ticket_completed(settings: Surveys, session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Schedule a survey for each completion, or record why there is none."""
    completed = [fact for fact in batch if isinstance(fact, TicketCompleted)]
    # In the order of the locked rows, the same for every worker, so that two workers never wait for each other.
    for fact in sorted(completed, key=lambda fact: (fact.company_id or 0, fact.contact_id or 0, fact.ticket_id)):
        _schedule(session, fact, settings, now)


def _schedule(session: Session, fact: TicketCompleted, settings: Surveys, now: datetime) -> None:
    known = select(Survey.id).where(Survey.ticket_id == fact.ticket_id, Survey.opening == fact.opening)
    # A manager forced the ticket out of 6-Completed, and it was completed again.
    if session.execute(known).first() is not None:
        record_entry(session, fact.ticket_id, "survey", TITLES["skipped"], now, reason=rules.NOT_AGAIN)
        return
    # The delay counts from the completion, however late the fact is read. It is None once the ticket is open again.
    completed_at = session.execute(select(Ticket.completed_at).where(Ticket.id == fact.ticket_id)).scalar_one() or now
    due_at = completed_at + timedelta(hours=settings.delay_hours)
    survey = Survey(
        ticket_id=fact.ticket_id, opening=fact.opening, contact_id=fact.contact_id, company_id=fact.company_id,
        owner_id=fact.owner_id, state="waiting", due_at=due_at, created_at=now,
    )  # fmt: skip
    session.add(survey)
    customer = _load_customer(session, fact.contact_id, fact.ticket_id)
    reason = rules.find_refusal(customer, settings) or _reserve_slot(session, survey, settings, now)
    if reason is not None:
        skip(session, survey, reason, now)


def _reserve_slot(session: Session, survey: Survey, settings: Surveys, now: datetime) -> Reason | None:
    slot = throttle.choose_slot(survey.contact_id or 0, survey.company_id, settings)
    if not throttle.reserve(session, slot, settings, now):
        return rules.throttled_reason(slot.kind, settings)
    survey.slot, survey.slot_at = slot.kind, now
    return None


def _load_customer(session: Session, contact_id: int | None, ticket_id: int) -> Customer | None:
    contact = session.get(Contact, contact_id, populate_existing=True) if contact_id is not None else None
    if contact is None:
        return None
    notices = select(Activity.data).where(Activity.ticket_id == ticket_id, Activity.kind == "notice").order_by(Activity.id)
    first: dict[str, Any] = next((data for data in session.execute(notices).scalars() if "outcome" in data), {})
    codes = [reason["code"] for reason in first.get("reasons", [])] if first.get("outcome") == "skipped" else []
    return Customer(bool(contact.email), contact.active, contact.surveys_off_at is not None, next(iter(codes), None))


def skip(session: Session, survey: Survey, reason: Reason, now: datetime, actor: str = "casemill") -> None:
    """Skip a survey: record it on the ticket with its reason, and release the slot."""
    survey.state, survey.reason_code, survey.reason = "skipped", reason.code, reason.text
    session.flush()
    throttle.release(session, survey)
    record_entry(session, survey.ticket_id, "survey", TITLES["skipped"], now, actor=actor, reason=reason)


def skip_by_hand(session: Session, ticket_id: int, reason: str, by: str, now: datetime) -> Survey:
    """Skip a waiting survey because staff decided so; returns the survey.

    Raises NotFoundError when the ticket has none, and RefusedError without a reason or when the survey no longer waits.
    """
    if not reason.strip():
        raise RefusedError("no_reason", "a reason is needed")
    latest = select(Survey).where(Survey.ticket_id == ticket_id).order_by(Survey.opening.desc()).limit(1)
    survey = session.execute(latest.with_for_update()).scalar_one_or_none()
    if survey is None:
        raise NotFoundError(f"{format_number(ticket_id)} has no survey", hint="a ticket gets its survey when it is completed")
    if survey.state != "waiting":
        raise RefusedError("not_waiting", f"the survey of {format_number(ticket_id)} no longer waits: it is {survey.state}")
    skip(session, survey, Reason("by_hand", reason.strip()), now, by)
    return survey


def sweep(database: Database, settings: Surveys) -> int:
    """Invite to the surveys that are due, or skip them; returns how many were processed."""
    with database.read() as session:
        due = select(Survey.id).where(IS_WAITING, Survey.due_at <= clock.now()).order_by(Survey.due_at, Survey.id)
        ids = list(session.execute(due.limit(BATCH_SIZE)).scalars())
    for survey_id in ids:
        # One transaction for each survey: one that fails is postponed and does not stop the others.
        try:
            database.transaction(lambda session, one=survey_id: _invite(session, one, settings))  # type: ignore[misc]
        except Exception as error:
            if is_unavailable(error):
                raise
            log.error("survey invitation failed, retrying later", exc_info=error, extra={"survey": survey_id})
            database.transaction(lambda session, one=survey_id: _postpone(session, one))  # type: ignore[misc]
    return len(ids)


def _invite(session: Session, survey_id: int, settings: Surveys) -> None:
    """Apply the rules again and append the fact for the mail. The ticket is locked first, as by every change of a ticket."""
    now = clock.now()
    of_ticket = select(Survey.ticket_id).where(Survey.id == survey_id).scalar_subquery()
    ticket = session.execute(select(Ticket).where(Ticket.id == of_ticket).with_for_update(key_share=True)).scalar_one()
    waiting = select(Survey).where(Survey.id == survey_id, IS_WAITING, Survey.due_at <= now)
    survey = session.execute(waiting.with_for_update()).scalar_one_or_none()
    if survey is None:
        return
    reason = rules.find_refusal(_load_customer(session, survey.contact_id, ticket.id), settings)
    if ticket.stage != COMPLETED or ticket.opening != survey.opening:
        reason = rules.NOT_COMPLETED
    if reason is not None:
        skip(session, survey, reason, now)
        return
    throttle.restart(session, survey, now)
    survey.state, survey.invited_at = "invited", now
    append_facts(session, [SurveyDue(ticket.id, survey.id, survey.contact_id or 0)], now)


def _postpone(session: Session, survey_id: int) -> None:
    now = clock.now()
    session.execute(
        update(Survey).where(Survey.id == survey_id, IS_WAITING, Survey.due_at <= now).values(due_at=now + RETRY_PAUSE)
    )


def on_notice_settled(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Record the outcome of invitation mails. A mail that may have arrived keeps the slot, any other releases it."""
    settled = [fact for fact in batch if isinstance(fact, NoticeSettled) and fact.mailing == INVITATION]
    for fact in sorted(settled, key=lambda fact: fact.ticket_id or 0):
        invited = select(Survey).where(Survey.ticket_id == fact.ticket_id, Survey.state == "invited").order_by(Survey.id)
        survey = session.execute(invited.limit(1).with_for_update()).scalar_one_or_none()
        if survey is not None:
            _record_outcome(session, survey, fact, now)


def _record_outcome(session: Session, survey: Survey, fact: NoticeSettled, now: datetime) -> None:
    reason = Reason(fact.code, fact.text)
    if fact.outcome == "skipped":
        skip(session, survey, reason, now)
        return
    survey.state, survey.reason_code, survey.reason = fact.outcome, reason.code, reason.text
    if fact.outcome == "failed":
        throttle.release(session, survey)
    else:
        survey.sent_at = now
        throttle.restart(session, survey, now)
    data = {"outcome": fact.outcome, "recipient": fact.recipient}
    record_entry(session, survey.ticket_id, "survey", TITLES[fact.outcome], now, reason=reason, data=data)
