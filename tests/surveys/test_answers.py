"""Answers: stored once, changed with both values on the timeline, told to the owner at completion, closed in time."""

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
from tests.surveys.desk import DAY, Desk

SIGNER = Signer([b"a-signing-key-of-the-tests"], "casemill.example")


def give(desk: Desk, score: int, comment: str = "") -> None:
    surveys = desk.settings.surveys
    desk.database.transaction(lambda session: answers.save_answer(session, 1, score, comment, surveys, desk.now) and None)


def told(desk: Desk) -> list[SurveyAnswered]:
    return [fact for fact in desk.facts() if isinstance(fact, SurveyAnswered)]


def last_entry(desk: Desk) -> dict[str, Any]:
    return dict(desk.show(1)["timeline"][-1])


def test_an_answer_is_on_the_timeline_and_goes_to_who_owned_it_at_completion(desk: Desk) -> None:
    desk.invite()
    owner = desk.ticket(1).owner_id
    give(desk, 2, "Took long")
    assert (last_entry(desk)["title"], last_entry(desk)["body"]) == ("Survey answered: 2 of 5", "Took long")
    (fact,) = told(desk)
    assert (fact.staff_id, fact.score, fact.before, fact.is_low, fact.has_comment) == (owner, 2, None, True, True)
    assert "Took long" not in repr(fact), "what the customer wrote stays on the ticket"


def test_a_change_shows_both_values_and_the_same_again_changes_nothing(desk: Desk) -> None:
    desk.invite()
    give(desk, 2, "Took long")
    give(desk, 2, "Took long")
    assert len(told(desk)) == 1
    desk.now += 7 * DAY
    give(desk, 4, "Solved now")
    entry = last_entry(desk)
    assert entry["title"] == "Survey answer changed: 2 to 4 of 5"
    assert "Solved now" in entry["body"] and "Took long" in entry["body"]
    assert (told(desk)[-1].score, told(desk)[-1].before, told(desk)[-1].is_low) == (4, 2, False)
    assert desk.survey().first_answered_at == desk.now - 7 * DAY


def test_an_answer_is_closed_a_week_after_the_first(desk: Desk) -> None:
    desk.invite()
    give(desk, 5)
    desk.now += 7 * DAY + DAY / 24
    with pytest.raises(RefusedError, match="no longer"):
        give(desk, 1)
    assert desk.survey().score == 5


def test_an_answer_is_closed_after_many_changes(desk: Desk) -> None:
    desk.invite()
    for turn in range(answers.MAX_ANSWERS):
        give(desk, 1 + turn % 5)
    with pytest.raises(RefusedError, match="no longer"):
        give(desk, 1)


@pytest.mark.parametrize(
    ("score", "comment", "code"), [(0, "", "bad_score"), (6, "", "bad_score"), (3, "x" * 4001, "long_comment")]
)
def test_what_is_no_answer_is_refused(desk: Desk, score: int, comment: str, code: str) -> None:
    desk.invite()
    with pytest.raises(RefusedError) as refused:
        give(desk, score, comment)
    assert (refused.value.code, desk.survey().score) == (code, None)


def test_a_survey_that_waits_or_was_skipped_or_has_run_out_takes_no_answer(desk: Desk) -> None:
    with pytest.raises(NotFoundError):
        give(desk, 3)
    desk.complete()
    desk.relay()
    with pytest.raises(NotFoundError):
        give(desk, 3)
    desk.now += DAY
    desk.sweep()
    desk.settle()
    desk.now += 61 * DAY
    with pytest.raises(NotFoundError):
        give(desk, 3)


def test_who_unsubscribes_gets_no_more_and_it_is_kept_once(desk: Desk) -> None:
    desk.invite()
    for _ in range(2):
        desk.database.transaction(lambda session: answers.unsubscribe(session, 1, desk.now))
    assert [title for title, _ in desk.entries()].count("Unsubscribed from surveys") == 1
    assert desk.rows(Contact, Contact.id)[0].surveys_off_at == desk.now
    desk.now += 60 * DAY
    desk.complete(2)
    desk.relay()
    assert desk.outcome(2) == ("skipped", "unsubscribed")


@pytest.mark.parametrize("signed", ["", "s1", f"s1.{'a' * 26}", SIGNER.link("t1"), SIGNER.link("s1x"), SIGNER.link("u1")])
def test_a_link_that_is_not_for_answering_names_no_survey(signed: str) -> None:
    assert read_link(SIGNER, ANSWER, signed) is None


def test_each_link_names_its_survey_for_its_purpose() -> None:
    assert read_link(SIGNER, ANSWER, SIGNER.link("s17")) == 17
    assert read_link(SIGNER, UNSUBSCRIBE, SIGNER.link("u17")) == 17


def test_averages_are_by_owner_company_and_month(desk: Desk) -> None:
    desk.invite(1)
    give(desk, 2)
    desk.invite(4)
    surveys = desk.settings.surveys
    desk.database.transaction(lambda session: answers.save_answer(session, 2, 5, "", surveys, desk.now) and None)
    with desk.database.read() as session:
        by_company = queries.average_scores(session, "company")
        by_month = queries.average_scores(session, "month")
        totals = queries.read_survey_totals(session)
    assert [tuple(row.values()) for row in by_company] == [("Lakeside", 1, 2.0), ("no company", 1, 5.0)]
    assert by_month == [{"month": "2026-11", "answers": 2, "average": 3.5}]
    assert (totals.states, totals.scores, totals.skips) == ({"sent": 2}, {2: 1, 5: 1}, {})
    assert desk.count(Survey) == 2
