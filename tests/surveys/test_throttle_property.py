"""For any sequence of events: no customer gets two surveys within the period, and every completion has one outcome."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ingest.ledger.models  # noqa: F401 - all tables are to be known
import notify.models  # noqa: F401
from outbox.facts import TicketCompleted
from surveys.models import Survey
from tests.surveys.survey_world import DAY, SurveyWorld, make_survey_world
from tickets.stages import COMPLETED

MEMORY = Path("/dev/shm")
OUTCOMES = ("sent", "sent", "ambiguous", "failed", "skipped")
STEP = st.tuples(
    st.sampled_from(("turn", "turn", "turn", "force")), st.integers(1, 4), st.integers(0, 400), st.sampled_from(OUTCOMES)
)


@pytest.mark.parametrize("throttle", ["contact", "company"])
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=4, max_size=7))
def test_no_customer_gets_two_surveys_within_period_and_every_completion_has_one_outcome(
    throttle: str, steps: list[tuple[str, int, int, str]]
) -> None:
    # In memory where possible: otherwise hundreds of commits wait for the disk.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        survey_world = make_survey_world(f"sqlite:///{Path(folder) / 'casemill.db'}", throttle=throttle)
        asked: dict[tuple[str, int], list[datetime]] = {}
        for kind, ticket_id, hours, outcome in steps:
            act(survey_world, kind, ticket_id)
            survey_world.now += timedelta(hours=hours)
            deliver(survey_world, outcome, asked)
        survey_world.now += DAY
        deliver(survey_world, "sent", asked)
        check(survey_world, asked, throttle)


def act(survey_world: SurveyWorld, kind: str, ticket_id: int) -> None:
    """Complete an open ticket; reopen a completed one, or force it out of its stage."""
    if survey_world.ticket(ticket_id).stage != COMPLETED:
        survey_world.complete(ticket_id)
    elif kind == "force":
        survey_world.force(5, ticket_id)
    else:
        survey_world.reopen(ticket_id)


def deliver(survey_world: SurveyWorld, outcome: str, asked: dict[tuple[str, int], list[datetime]]) -> None:
    """Send the due surveys and give each this outcome some time later."""
    for due in survey_world.sweep():
        survey_world.now += timedelta(minutes=7)
        survey_world.settle(due.ticket_id, outcome)
        if outcome in ("sent", "ambiguous"):
            survey = survey_world.survey(due.ticket_id)
            asked.setdefault(("contact", survey.contact_id or 0), []).append(survey_world.now)
            asked.setdefault(("company", survey.company_id or 0), []).append(survey_world.now)


def check(survey_world: SurveyWorld, asked: dict[tuple[str, int], list[datetime]], throttle: str) -> None:
    of_nobody = ("company", 0)
    for who, moments in asked.items():
        if who[0] == "contact" or (throttle == "company" and who != of_nobody):
            assert all(later - earlier >= 30 * DAY for earlier, later in pairwise(moments)), who
    completions = [fact for fact in survey_world.facts() if isinstance(fact, TicketCompleted)]
    rows = survey_world.rows(Survey, Survey.id)
    assert all(row.state not in ("waiting", "invited") and row.reason_code and row.reason for row in rows)
    entries = [codes for ticket_id in range(1, 5) for _, codes in survey_world.entries(ticket_id)]
    assert len(entries) == len(completions)
    assert all(len(codes) == 1 for codes in entries)
    assert len(completions) == len(rows) + entries.count(["same_opening"])
    survey_world.database.close()
