"""Invitations: reserved at completion, told of when due if nothing has changed, settled with what became of the mail."""

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
from tickets.numbers import number
from tickets.stages import COMPLETED
from tickets.timeline import record

log = logging.getLogger("casemill.surveys")

#: The mailing that invites; the other end of its facts is ``notify``.
INVITATION = "survey_invitation"
BATCH = 100
PUSHED_ON = timedelta(minutes=5)
WAITING = text(WAITING_WHERE)
TITLES = {
    "sent": "Survey sent",
    "skipped": "Survey not sent",
    "failed": "Survey failed",
    "ambiguous": "Survey may not have arrived",
}


def on_ticket_completed(settings: Surveys, session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """Decide on each completion: a slot and a timer, or the reason why there is no survey."""
    completed = [fact for fact in batch if isinstance(fact, TicketCompleted)]
    # In the order of the rows that are locked, for every worker alike.
    for fact in sorted(completed, key=lambda fact: (fact.company_id or 0, fact.contact_id or 0, fact.ticket_id)):
        _decide(session, fact, settings, now)


def _decide(session: Session, fact: TicketCompleted, settings: Surveys, now: datetime) -> None:
    known = select(Survey.id).where(Survey.ticket_id == fact.ticket_id, Survey.opening == fact.opening)
    if session.execute(known).first() is not None:  # forced out of 6-Completed and completed again
        record(session, fact.ticket_id, "survey", TITLES["skipped"], now, reason=rules.NOT_AGAIN)
        return
    # From the completion on, however late its fact is read; None once the ticket is open again.
    completed_at = session.execute(select(Ticket.completed_at).where(Ticket.id == fact.ticket_id)).scalar_one() or now
    due_at = completed_at + timedelta(hours=settings.delay_hours)
    survey = Survey(
        ticket_id=fact.ticket_id, opening=fact.opening, contact_id=fact.contact_id, company_id=fact.company_id,
        owner_id=fact.owner_id, state="waiting", due_at=due_at, created_at=now,
    )  # fmt: skip
    session.add(survey)
    customer = _customer(session, fact.contact_id, fact.ticket_id)
    reason = rules.refuse(customer, settings) or _reserve(session, survey, settings, now)
    if reason is not None:
        skip(session, survey, reason, now)


def _reserve(session: Session, survey: Survey, settings: Surveys, now: datetime) -> Reason | None:
    slot = throttle.slot_of(survey.contact_id or 0, survey.company_id, settings)
    if not throttle.reserve(session, slot, settings, now):
        return rules.throttled(slot.kind, settings)
    survey.slot, survey.slot_at = slot.kind, now
    return None


def _customer(session: Session, contact_id: int | None, ticket_id: int) -> Customer | None:
    contact = session.get(Contact, contact_id, populate_existing=True) if contact_id is not None else None
    if contact is None:
        return None
    notices = select(Activity.data).where(Activity.ticket_id == ticket_id, Activity.kind == "notice").order_by(Activity.id)
    first: dict[str, Any] = next((data for data in session.execute(notices).scalars() if "outcome" in data), {})
    codes = [reason["code"] for reason in first.get("reasons", [])] if first.get("outcome") == "skipped" else []
    return Customer(bool(contact.email), contact.active, contact.surveys_off_at is not None, next(iter(codes), None))


def skip(session: Session, survey: Survey, reason: Reason, now: datetime, actor: str = "casemill") -> None:
    """No survey: recorded on the ticket with its reason, and the slot is given back."""
    survey.state, survey.reason_code, survey.reason = "skipped", reason.code, reason.text
    session.flush()
    throttle.release(session, survey)
    record(session, survey.ticket_id, "survey", TITLES["skipped"], now, actor=actor, reason=reason)


def skip_by_hand(session: Session, ticket_id: int, reason: str, by: str, now: datetime) -> Survey:
    """A member of staff decides against a survey that still waits. Raises RefusedError, NotFoundError."""
    if not reason.strip():
        raise RefusedError("no_reason", "a reason is needed")
    latest = select(Survey).where(Survey.ticket_id == ticket_id).order_by(Survey.opening.desc()).limit(1)
    survey = session.execute(latest.with_for_update()).scalar_one_or_none()
    if survey is None:
        raise NotFoundError(f"{number(ticket_id)} has no survey", hint="there is one once a ticket is completed")
    if survey.state != "waiting":
        raise RefusedError("not_waiting", f"the survey of {number(ticket_id)} no longer waits: it is {survey.state}")
    skip(session, survey, Reason("by_hand", reason.strip()), now, by)
    return survey


def sweep(database: Database, settings: Surveys) -> int:
    """Tell of the surveys that are due, or skip them; returns how many were looked at."""
    with database.read() as session:
        due = select(Survey.id).where(WAITING, Survey.due_at <= clock.now()).order_by(Survey.due_at, Survey.id)
        ids = list(session.execute(due.limit(BATCH)).scalars())
    for survey_id in ids:
        try:
            database.transaction(lambda session, one=survey_id: _fire(session, one, settings))  # type: ignore[misc]
        except Exception as error:
            if is_unavailable(error):
                raise
            log.error("a survey failed and is tried again later", exc_info=error, extra={"survey": survey_id})
            database.transaction(lambda session, one=survey_id: _push_on(session, one))  # type: ignore[misc]
    return len(ids)


def _fire(session: Session, survey_id: int, settings: Surveys) -> None:
    """Look again at everything at the moment it acts. The ticket is locked first, as by every verb."""
    now = clock.now()
    of_ticket = select(Survey.ticket_id).where(Survey.id == survey_id).scalar_subquery()
    ticket = session.execute(select(Ticket).where(Ticket.id == of_ticket).with_for_update(key_share=True)).scalar_one()
    waiting = select(Survey).where(Survey.id == survey_id, WAITING, Survey.due_at <= now)
    survey = session.execute(waiting.with_for_update()).scalar_one_or_none()
    if survey is None:
        return
    reason = rules.refuse(_customer(session, survey.contact_id, ticket.id), settings)
    if ticket.stage != COMPLETED or ticket.opening != survey.opening:
        reason = rules.NOT_COMPLETED
    if reason is not None:
        skip(session, survey, reason, now)
        return
    throttle.move(session, survey, now)
    survey.state, survey.invited_at = "invited", now
    append_facts(session, [SurveyDue(ticket.id, survey.id, survey.contact_id or 0)], now)


def _push_on(session: Session, survey_id: int) -> None:
    now = clock.now()
    session.execute(update(Survey).where(Survey.id == survey_id, WAITING, Survey.due_at <= now).values(due_at=now + PUSHED_ON))


def on_notice_settled(session: Session, batch: Sequence[Fact], now: datetime) -> None:
    """What became of the mail: one that may have arrived keeps the slot, any other gives it back."""
    settled = [fact for fact in batch if isinstance(fact, NoticeSettled) and fact.mailing == INVITATION]
    for fact in sorted(settled, key=lambda fact: fact.ticket_id or 0):
        invited = select(Survey).where(Survey.ticket_id == fact.ticket_id, Survey.state == "invited").order_by(Survey.id)
        survey = session.execute(invited.limit(1).with_for_update()).scalar_one_or_none()
        if survey is not None:
            _settle(session, survey, fact, now)


def _settle(session: Session, survey: Survey, fact: NoticeSettled, now: datetime) -> None:
    reason = Reason(fact.code, fact.text)
    if fact.outcome == "skipped":
        skip(session, survey, reason, now)
        return
    survey.state, survey.reason_code, survey.reason = fact.outcome, reason.code, reason.text
    if fact.outcome == "failed":
        throttle.release(session, survey)
    else:
        survey.sent_at = now
        throttle.move(session, survey, now)
    data = {"outcome": fact.outcome, "recipient": fact.recipient}
    record(session, survey.ticket_id, "survey", TITLES[fact.outcome], now, reason=reason, data=data)
