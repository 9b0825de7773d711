"""Survey answers: stored once, changed with both values on the timeline, reported to the owner, closed in time."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Contact
from core.errors import NotFoundError, RefusedError
from core.signing import Signer
from outbox.facts import SurveyAnswered
from surveys import answers, queries
from surveys.answers import ANSWER, UNSUBSCRIBE, read_link
from surveys.models import Survey
from tests.surveys.survey_world import DAY, SurveyWorld

SIGNER = Signer([b"a-signing-key-of-the-tests"], "casemill.example")


def give(survey_world: SurveyWorld, score: int, comment: str = "") -> None:
    surveys = survey_world.settings.surveys
    survey_world.database.transaction(
        lambda session: answers.save_answer(session, 1, score, comment, surveys, survey_world.now) and None
    )


def told(survey_world: SurveyWorld) -> list[SurveyAnswered]:
    return [fact for fact in survey_world.facts() if isinstance(fact, SurveyAnswered)]


def last_entry(survey_world: SurveyWorld) -> dict[str, Any]:
    return dict(survey_world.show(1)["timeline"][-1])


def test_answer_is_on_timeline_and_goes_to_owner_at_completion(survey_world: SurveyWorld) -> None:
    survey_world.invite()
    owner = survey_world.ticket(1).owner_id
    give(survey_world, 2, "Took long")
    assert (last_entry(survey_world)["title"], last_entry(survey_world)["body"]) == ("Survey answered: 2 of 5", "Took long")
    (fact,) = told(survey_world)
    assert (fact.staff_id, fact.score, fact.before, fact.is_low, fact.has_comment) == (owner, 2, None, True, True)
    assert "Took long" not in repr(fact), "what the customer wrote stays on the ticket"


def test_changed_answer_shows_both_values_and_same_answer_changes_nothing(survey_world: SurveyWorld) -> None:
    survey_world.invite()
    give(survey_world, 2, "Took long")
    give(survey_world, 2, "Took long")
    assert len(told(survey_world)) == 1
    survey_world.now += 7 * DAY
    give(survey_world, 4, "Solved now")
    entry = last_entry(survey_world)
    assert entry["title"] == "Survey answer changed: 2 to 4 of 5"
    assert "Solved now" in entry["body"] and "Took long" in entry["body"]
    assert (told(survey_world)[-1].score, told(survey_world)[-1].before, told(survey_world)[-1].is_low) == (4, 2, False)
    assert survey_world.survey().first_answered_at == survey_world.now - 7 * DAY


def test_answer_is_closed_a_week_after_first_answer(survey_world: SurveyWorld) -> None:
    survey_world.invite()
    give(survey_world, 5)
    survey_world.now += 7 * DAY + DAY / 24
    with pytest.raises(RefusedError, match="no longer"):
        give(survey_world, 1)
    assert survey_world.survey().score == 5


def test_answer_is_closed_after_max_answers(survey_world: SurveyWorld) -> None:
    survey_world.invite()
    for turn in range(answers.MAX_ANSWERS):
        give(survey_world, 1 + turn % 5)
    with pytest.raises(RefusedError, match="no longer"):
        give(survey_world, 1)


@pytest.mark.parametrize(
    ("score", "comment", "code"), [(0, "", "bad_score"), (6, "", "bad_score"), (3, "x" * 4001, "long_comment")]
)
def test_invalid_answer_is_refused(survey_world: SurveyWorld, score: int, comment: str, code: str) -> None:
    survey_world.invite()
    with pytest.raises(RefusedError) as refused:
        give(survey_world, score, comment)
    assert (refused.value.code, survey_world.survey().score) == (code, None)


def test_waiting_or_skipped_or_expired_survey_accepts_no_answer(survey_world: SurveyWorld) -> None:
    with pytest.raises(NotFoundError):
        give(survey_world, 3)
    survey_world.complete()
    survey_world.relay()
    with pytest.raises(NotFoundError):
        give(survey_world, 3)
    survey_world.now += DAY
    survey_world.sweep()
    survey_world.settle()
    survey_world.now += 61 * DAY
    with pytest.raises(NotFoundError):
        give(survey_world, 3)


def test_unsubscribed_contact_gets_no_survey_and_one_timeline_entry(survey_world: SurveyWorld) -> None:
    survey_world.invite()
    for _ in range(2):
        survey_world.database.transaction(lambda session: answers.unsubscribe(session, 1, survey_world.now))
    assert [title for title, _ in survey_world.entries()].count("Unsubscribed from surveys") == 1
    assert survey_world.rows(Contact, Contact.id)[0].surveys_off_at == survey_world.now
    survey_world.now += 60 * DAY
    survey_world.complete(2)
    survey_world.relay()
    assert survey_world.outcome(2) == ("skipped", "unsubscribed")


@pytest.mark.parametrize("signed", ["", "s1", f"s1.{'a' * 26}", SIGNER.link("t1"), SIGNER.link("s1x"), SIGNER.link("u1")])
def test_link_for_other_purpose_names_no_survey(signed: str) -> None:
    assert read_link(SIGNER, ANSWER, signed) is None


def test_signed_link_names_survey_for_its_purpose() -> None:
    assert read_link(SIGNER, ANSWER, SIGNER.link("s17")) == 17
    assert read_link(SIGNER, UNSUBSCRIBE, SIGNER.link("u17")) == 17


def test_averages_are_grouped_by_owner_company_or_month(survey_world: SurveyWorld) -> None:
    survey_world.invite(1)
    give(survey_world, 2)
    survey_world.invite(4)
    surveys = survey_world.settings.surveys
    survey_world.database.transaction(lambda session: answers.save_answer(session, 2, 5, "", surveys, survey_world.now) and None)
    with survey_world.database.read() as session:
        by_company = queries.average_scores(session, "company")
        by_month = queries.average_scores(session, "month")
        totals = queries.read_survey_totals(session)
    assert [tuple(row.values()) for row in by_company] == [("Lakeside", 1, 2.0), ("no company", 1, 5.0)]
    assert by_month == [{"month": "2026-11", "answers": 2, "average": 3.5}]
    assert (totals.states, totals.scores, totals.skips) == ({"sent": 2}, {2: 1, 5: 1}, {})
    assert survey_world.count(Survey) == 2
