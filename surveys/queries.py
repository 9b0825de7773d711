"""What a manager asks of surveys: the answers with their averages, and who got none and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from accounts.models import Company, Staff
from core.errors import RefusedError
from surveys.models import Survey
from tickets.numbers import number

GROUPS = ("owner", "company", "month")


@dataclass(frozen=True, slots=True)
class SurveyTotals:
    """Counts for the metrics."""

    states: dict[str, int]
    scores: dict[int, int]
    skips: dict[str, int]


def list_surveys(
    session: Session, *, state: str | None = None, ticket_id: int | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Surveys, the newest first; ``state`` is a state of the table, or ``answered``."""
    statement = _listed()
    if state == "answered":
        statement = statement.where(Survey.score.is_not(None))
    elif state is not None:
        statement = statement.where(Survey.state == state)
    if ticket_id is not None:
        statement = statement.where(Survey.ticket_id == ticket_id)
    return [_row(*row) for row in session.execute(statement.order_by(Survey.id.desc()).limit(limit))]


def average(session: Session, by: str) -> list[dict[str, Any]]:
    """Answers and their average score by owner at completion, company, or month of the first answer (UTC)."""
    if by not in GROUPS:
        raise RefusedError("unknown_group", f"there is no average by {by!r}", hint=f"choose one of {', '.join(GROUPS)}")
    scores: dict[str, list[int]] = {}
    for survey, owner, company in session.execute(_listed().where(Survey.score.is_not(None))):
        month = survey.first_answered_at.strftime("%Y-%m") if survey.first_answered_at else ""
        name = {"owner": owner or "nobody", "company": company or "not known", "month": month}[by]
        scores.setdefault(name, []).append(survey.score)
    return [
        {by: name, "answers": len(given), "average": round(sum(given) / len(given), 2)} for name, given in sorted(scores.items())
    ]


def read_survey_totals(session: Session) -> SurveyTotals:
    """Surveys by state, answers by score, skips by reason."""
    states: dict[str, int] = {}
    skips: dict[str, int] = {}
    counted = select(Survey.state, Survey.reason_code, func.count()).group_by(Survey.state, Survey.reason_code)
    for state, code, count in session.execute(counted):
        states[state] = states.get(state, 0) + count
        if state == "skipped":
            skips[code or ""] = count
    answered = select(Survey.score, func.count()).where(Survey.answered_at.is_not(None)).group_by(Survey.score)
    return SurveyTotals(states, {score or 0: count for score, count in session.execute(answered)}, skips)


def _listed() -> Select[*tuple[Any, ...]]:
    joined = select(Survey, Staff.name, Company.name).outerjoin(Staff, Staff.id == Survey.owner_id)
    return joined.outerjoin(Company, Company.id == Survey.company_id)


def _row(survey: Survey, owner: str | None, company: str | None) -> dict[str, Any]:
    return {
        "ticket": number(survey.ticket_id),
        "opening": survey.opening,
        "state": survey.state,
        "reason": survey.reason,
        "reason_code": survey.reason_code,
        "owner": owner,
        "company": company,
        "due_at": _moment(survey.due_at),
        "sent_at": _moment(survey.sent_at),
        "score": survey.score,
        "comment": survey.comment,
        "answered_at": _moment(survey.answered_at),
    }


def _moment(value: datetime | None) -> str | None:
    return value.isoformat(timespec="seconds") if value else None
