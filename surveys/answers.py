"""Survey answers: a score with a comment, which the customer can change for some days, and unsubscribing from surveys."""

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
from tickets.timeline import record_entry

SCORES = range(1, 6)
MAX_COMMENT_CHARS = 4000
#: After so many answers the survey is closed: each answer sends a mail to the owner.
MAX_ANSWERS = 20
CUSTOMER = "customer"
#: The purpose is part of the signed text: the link of a case opens no survey, and an unsubscribe link answers none.
ANSWER, UNSUBSCRIBE = "s", "u"


@dataclass(frozen=True, slots=True)
class SurveyForm:
    """The data of a survey's form; ``closed`` when the answer can no longer be changed."""

    ticket_id: int
    score: int | None
    comment: str
    closed: bool


def read_link(signer: Signer, purpose: str, signed: str) -> int | None:
    """Return the id of the survey in a signed link, or None for a link that was not signed for ``purpose``."""
    token = signer.verify_link(signed)
    if token is None or token[:1] != purpose or not token[1:].isdigit():
        return None
    return int(token[1:])


def load_form(session: Session, survey_id: int, settings: Surveys, now: datetime) -> SurveyForm:
    """Return the form of a survey. Raises NotFoundError for a survey that is unknown, was not sent or has expired."""
    return _build_form(_load_survey(session, survey_id, settings, now, lock=False), settings, now)


def save_answer(session: Session, survey_id: int, score: int, comment: str, settings: Surveys, now: datetime) -> SurveyForm:
    """Store an answer or change it, and return the form; the same answer again changes nothing.

    Raises NotFoundError as :func:`load_form`, and RefusedError with the code ``bad_score``, ``long_comment`` or ``closed``.
    """
    survey = _load_survey(session, survey_id, settings, now, lock=True)
    if score not in SCORES:
        raise RefusedError("bad_score", "the score must be 1 to 5")
    if len(comment) > MAX_COMMENT_CHARS:
        raise RefusedError("long_comment", f"a comment may have at most {MAX_COMMENT_CHARS} characters")
    if _is_closed(survey, settings, now):
        raise RefusedError("closed", "the answer can no longer be changed")
    if (survey.score, survey.comment) != (score, comment):
        _store(session, survey, score, comment, settings, now)
    return _build_form(survey, settings, now)


def require_survey(session: Session, survey_id: int) -> None:
    """Raise NotFoundError unless the survey exists and has a contact, who can unsubscribe."""
    known = select(Survey.id).where(Survey.id == survey_id, Survey.contact_id.is_not(None))
    if session.execute(known).first() is None:
        raise NotFoundError("there is no such survey")


def unsubscribe(session: Session, survey_id: int, now: datetime) -> None:
    """Send no more surveys to the contact of a survey; a second call changes nothing. Raises NotFoundError."""
    survey = session.get(Survey, survey_id)
    locked = select(Contact).where(Contact.id == (survey.contact_id if survey else None)).with_for_update()
    contact = session.execute(locked).scalar_one_or_none()
    if survey is None or contact is None:
        raise NotFoundError("there is no such survey")
    if contact.surveys_off_at is None:
        contact.surveys_off_at = now
        record_entry(session, survey.ticket_id, "survey", "Unsubscribed from surveys", now, actor=CUSTOMER)


def _load_survey(session: Session, survey_id: int, settings: Surveys, now: datetime, *, lock: bool) -> Survey:
    statement = select(Survey).where(Survey.id == survey_id)
    survey = session.execute(statement.with_for_update() if lock else statement).scalar_one_or_none()
    if survey is None or survey.invited_at is None or survey.state == "skipped":
        raise NotFoundError("there is no such survey")
    if survey.first_answered_at is None and now > survey.invited_at + timedelta(days=settings.open_days):
        raise NotFoundError("the survey has expired")
    return survey


def _is_closed(survey: Survey, settings: Surveys, now: datetime) -> bool:
    first = survey.first_answered_at
    return first is not None and (now > first + timedelta(days=settings.change_days) or survey.answers >= MAX_ANSWERS)


def _build_form(survey: Survey, settings: Surveys, now: datetime) -> SurveyForm:
    return SurveyForm(survey.ticket_id, survey.score, survey.comment, _is_closed(survey, settings, now))


def _store(session: Session, survey: Survey, score: int, comment: str, settings: Surveys, now: datetime) -> None:
    before = survey.score
    title = f"Survey answered: {score} of 5" if before is None else f"Survey answer changed: {before} to {score} of 5"
    data = {"score": score, "comment": comment}
    if before is not None:
        data |= {"before": {"score": before, "comment": survey.comment}}
    body = comment
    if before is not None and survey.comment != comment:
        body = f"{comment or 'No comment'} (before: {survey.comment or 'no comment'})"
    activity_id = record_entry(session, survey.ticket_id, "survey", title, now, actor=CUSTOMER, body=body, data=data)
    survey.score, survey.comment, survey.answered_at = score, comment, now
    survey.first_answered_at = survey.first_answered_at or now
    survey.answers += 1
    if survey.owner_id is not None:
        fact = SurveyAnswered(
            survey.ticket_id, survey.id, activity_id, survey.owner_id, score, before, score <= settings.low_score, bool(comment)
        )
        append_facts(session, [fact], now)
