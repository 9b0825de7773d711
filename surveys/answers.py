"""Answers: a score with a comment, changeable for some days, and the wish for no more surveys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from accounts.models import Contact
from core.errors import NotFoundError, RefusedError
from core.settings.sections import Surveys
from core.signing import Signer
from outbox.append import append_facts
from outbox.facts import SurveyAnswered
from surveys.models import Survey
from tickets.timeline import record

SCORES = range(1, 6)
COMMENT_MAX = 4000
#: After so many changes nothing more is taken: each goes to the owner.
MOST_ANSWERS = 20
CUSTOMER = "customer"
#: What a link is for is part of what is signed: a case's link opens no survey, and one to unsubscribe answers none.
ANSWER, UNSUBSCRIBE = "s", "u"


@dataclass(frozen=True, slots=True)
class Standing:
    """A survey as its form shows it; ``closed`` when it can no longer be changed."""

    ticket_id: int
    score: int | None
    comment: str
    closed: bool


def read_link(signer: Signer, purpose: str, signed: str) -> int | None:
    """The survey that a link of this purpose names, None for what we did not sign for it."""
    token = signer.verify_link(signed)
    if token is None or token[:1] != purpose or not token[1:].isdigit():
        return None
    return int(token[1:])


def look(session: Session, survey_id: int, settings: Surveys, now: datetime) -> Standing:
    """Where an answer stands; raises NotFoundError for a survey that is not there, never went or has run out."""
    return _standing(_found(session, survey_id, settings, now, lock=False), settings, now)


def answer(session: Session, survey_id: int, score: int, comment: str, settings: Surveys, now: datetime) -> Standing:
    """Store an answer, or change it; the same again changes nothing.

    Raises NotFoundError as :func:`look`, RefusedError ``bad_score``, ``long_comment``, ``closed``.
    """
    survey = _found(session, survey_id, settings, now, lock=True)
    if score not in SCORES:
        raise RefusedError("bad_score", "a score is 1 to 5")
    if len(comment) > COMMENT_MAX:
        raise RefusedError("long_comment", f"a comment has at most {COMMENT_MAX} characters")
    if _is_closed(survey, settings, now):
        raise RefusedError("closed", "the answer can no longer be changed")
    if (survey.score, survey.comment) != (score, comment):
        _store(session, survey, score, comment, settings, now)
    return _standing(survey, settings, now)


def require(session: Session, survey_id: int) -> None:
    """Raise NotFoundError unless the survey is there and has somebody who may unsubscribe from it."""
    known = select(Survey.id).where(Survey.id == survey_id, Survey.contact_id.is_not(None))
    if session.execute(known).first() is None:
        raise NotFoundError("there is no such survey")


def unsubscribe(session: Session, survey_id: int, now: datetime) -> None:
    """No more surveys to this contact; again changes nothing. Raises NotFoundError."""
    survey = session.get(Survey, survey_id)
    locked = select(Contact).where(Contact.id == (survey.contact_id if survey else None)).with_for_update()
    contact = session.execute(locked).scalar_one_or_none()
    if survey is None or contact is None:
        raise NotFoundError("there is no such survey")
    if contact.surveys_off_at is None:
        contact.surveys_off_at = now
        record(session, survey.ticket_id, "survey", "Unsubscribed from surveys", now, actor=CUSTOMER)


def _found(session: Session, survey_id: int, settings: Surveys, now: datetime, *, lock: bool) -> Survey:
    statement = select(Survey).where(Survey.id == survey_id)
    survey = session.execute(statement.with_for_update() if lock else statement).scalar_one_or_none()
    if survey is None or survey.invited_at is None or survey.state == "skipped":
        raise NotFoundError("there is no such survey")
    if survey.first_answered_at is None and now > survey.invited_at + timedelta(days=settings.open_days):
        raise NotFoundError("the survey has run out")
    return survey


def _is_closed(survey: Survey, settings: Surveys, now: datetime) -> bool:
    first = survey.first_answered_at
    return first is not None and (now > first + timedelta(days=settings.change_days) or survey.answers >= MOST_ANSWERS)


def _standing(survey: Survey, settings: Surveys, now: datetime) -> Standing:
    return Standing(survey.ticket_id, survey.score, survey.comment, _is_closed(survey, settings, now))


def _store(session: Session, survey: Survey, score: int, comment: str, settings: Surveys, now: datetime) -> None:
    before = survey.score
    title = f"Survey answered: {score} of 5" if before is None else f"Survey answer changed: {before} to {score} of 5"
    data = {"score": score, "comment": comment}
    if before is not None:
        data |= {"before": {"score": before, "comment": survey.comment}}
    body = comment
    if before is not None and survey.comment != comment:
        body = f"{comment or 'No comment'} (before: {survey.comment or 'no comment'})"
    activity_id = record(session, survey.ticket_id, "survey", title, now, actor=CUSTOMER, body=body, data=data)
    survey.score, survey.comment, survey.answered_at = score, comment, now
    survey.first_answered_at = survey.first_answered_at or now
    survey.answers += 1
    if survey.owner_id is not None:
        told = SurveyAnswered(
            survey.ticket_id, survey.id, activity_id, survey.owner_id, score, before, score <= settings.low_score, bool(comment)
        )
        append_facts(session, [told], now)
