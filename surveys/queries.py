"""Queries for managers: answers, average scores, and skipped surveys with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from accounts.models import Company, Staff
from core.errors import RefusedError
from surveys.models import Survey
from tickets.numbers import format_number

GROUPS = ("owner", "company", "month")


@dataclass(frozen=True, slots=True)
class SurveyTotals:
    """Survey counts for metrics and the status page: by state, by score, and skips by reason code."""

    states: dict[str, int]
    scores: dict[int, int]
    skips: dict[str, int]


def list_surveys(
    session: Session, *, state: str | None = None, ticket_id: int | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Return surveys, the newest first. ``state`` is a state of the table, or ``answered`` for those with a score."""
    statement = _select_surveys()
    if state == "answered":
        statement = statement.where(Survey.score.is_not(None))
    elif state is not None:
        statement = statement.where(Survey.state == state)
    if ticket_id is not None:
        statement = statement.where(Survey.ticket_id == ticket_id)
    return [_build_row(*row) for row in session.execute(statement.order_by(Survey.id.desc()).limit(limit))]


def average_scores(session: Session, by: str) -> list[dict[str, Any]]:
    """Return answer counts and average scores by owner at completion, company, or month of the first answer (UTC).

    Raises RefusedError unless ``by`` is one of :data:`GROUPS`.
    """
    if by not in GROUPS:
        raise RefusedError("unknown_group", f"averages by {by!r} are not available", hint=f"choose one of {', '.join(GROUPS)}")
    scores: dict[str, list[int]] = {}
    for survey, owner, company in session.execute(_select_surveys().where(Survey.score.is_not(None))):
        month = survey.first_answered_at.strftime("%Y-%m") if survey.first_answered_at else ""
        name = {"owner": owner or "no owner", "company": company or "no company", "month": month}[by]
        scores.setdefault(name, []).append(survey.score)
    return [
        {by: name, "answers": len(group), "average": round(sum(group) / len(group), 2)} for name, group in sorted(scores.items())
    ]


def read_survey_totals(session: Session) -> SurveyTotals:
    """Return the counts of surveys by state, of answers by score, and of skips by reason code."""
    states: dict[str, int] = {}
    skips: dict[str, int] = {}
    by_state = select(Survey.state, Survey.reason_code, func.count()).group_by(Survey.state, Survey.reason_code)
    for state, code, count in session.execute(by_state):
        states[state] = states.get(state, 0) + count
        if state == "skipped":
            skips[code or ""] = count
    by_score = select(Survey.score, func.count()).where(Survey.answered_at.is_not(None)).group_by(Survey.score)
    return SurveyTotals(states, {score or 0: count for score, count in session.execute(by_score)}, skips)


def _select_surveys() -> Select[*tuple[Any, ...]]:
    joined = select(Survey, Staff.name, Company.name).outerjoin(Staff, Staff.id == Survey.owner_id)
    return joined.outerjoin(Company, Company.id == Survey.company_id)


def _build_row(survey: Survey, owner: str | None, company: str | None) -> dict[str, Any]:
    return {
        "ticket": format_number(survey.ticket_id),
        "opening": survey.opening,
        "state": survey.state,
        "reason": survey.reason,
        "reason_code": survey.reason_code,
        "owner": owner,
        "company": company,
        "due_at": _format_moment(survey.due_at),
        "sent_at": _format_moment(survey.sent_at),
        "score": survey.score,
        "comment": survey.comment,
        "answered_at": _format_moment(survey.answered_at),
    }


def _format_moment(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None
