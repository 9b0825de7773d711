"""`casemill survey`: answers, averages, surveys that were not sent, and cancelling one; and their metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import ingest.ledger.models  # noqa: F401 - all tables are to be known
import notify.models  # noqa: F401
from core import migrations
from core.database.session import Database
from surveys import answers
from tests.cli.support import run
from tests.surveys.survey_world import SurveyWorld
from web import metrics
from web.status import queries

ADA = "ada@billing.example"


@pytest.fixture
def survey_world(workdir: Path) -> Iterator[SurveyWorld]:
    """The survey of ticket 1 was answered with 4, that of ticket 2 was throttled, that of ticket 3 waits."""
    path = workdir / "var" / "casemill.db"
    path.parent.mkdir()
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    survey_world = SurveyWorld(database)
    survey_world.furnish()
    survey = survey_world.invite(1)
    database.transaction(
        lambda s: answers.save_answer(s, survey.id, 4, "Quick", survey_world.settings.surveys, survey_world.now) and None
    )
    survey_world.complete(2)
    survey_world.complete(3)
    survey_world.relay()
    yield survey_world
    database.close()


def test_surveys_are_listed_with_answer_state_and_reason(survey_world: SurveyWorld) -> None:
    rows = {row["ticket"]: (row["state"], row["score"], row["reason_code"]) for row in run("survey", "list", "--json").json}
    assert rows == {
        "BS-000001": ("sent", 4, "accepted"), "BS-000002": ("skipped", None, "throttled"), "BS-000003": ("waiting", None, None),
    }  # fmt: skip
    assert [row["ticket"] for row in run("survey", "list", "--state", "answered", "--json").json] == ["BS-000001"]
    assert "Quick" in run("survey", "show", "BS-000001").out


def test_averages_are_computed_by_owner_company_and_month(survey_world: SurveyWorld) -> None:
    assert run("survey", "list", "--average", "owner", "--json").json == [{"owner": "Ada", "answers": 1, "average": 4.0}]
    assert run("survey", "list", "--average", "company", "--json").json[0]["company"] == "Lakeside"
    assert "4.00" in run("survey", "list", "--average", "month").out
    assert run("survey", "list", "--average", "weather").code != 0


def test_waiting_survey_is_cancelled_once_with_a_reason(survey_world: SurveyWorld) -> None:
    assert run("survey", "skip", "BS-000003", "--by", ADA, "--reason", "Called already").out == "BS-000003: no survey is sent\n"
    assert survey_world.outcome(3) == ("skipped", "by_hand") and survey_world.slot(3) is None
    assert "no longer waits" in run("survey", "skip", "BS-000003", "--by", ADA, "--reason", "Again").err
    assert "has no survey" in run("survey", "show", "BS-000004").err


def test_metrics_count_surveys_answers_and_skips(survey_world: SurveyWorld) -> None:
    with survey_world.database.read() as session:
        lines = metrics.render_totals(queries.read_totals(session, survey_world.now)).decode().splitlines()
    shown = {line for line in lines if line.startswith("casemill_survey")}
    assert shown >= {
        'casemill_surveys{state="sent"} 1.0', 'casemill_surveys{state="skipped"} 1.0', 'casemill_surveys{state="waiting"} 1.0',
        'casemill_survey_answers{score="4"} 1.0', 'casemill_survey_skips{reason="throttled"} 1.0',
    }  # fmt: skip
