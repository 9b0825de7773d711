"""Whatever happens and when: no customer gets two surveys within the span, and every completion has one outcome."""

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
from tests.surveys.desk import DAY, Desk, make_desk
from tickets.stages import COMPLETED

MEMORY = Path("/dev/shm")
OUTCOMES = ("sent", "sent", "ambiguous", "failed", "skipped")
STEP = st.tuples(
    st.sampled_from(("turn", "turn", "turn", "force")), st.integers(1, 4), st.integers(0, 400), st.sampled_from(OUTCOMES)
)


@pytest.mark.parametrize("throttle", ["contact", "company"])
@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=4, max_size=7))
def test_nobody_is_asked_twice_within_the_span_and_every_completion_has_one_outcome(
    throttle: str, steps: list[tuple[str, int, int, str]]
) -> None:
    # In memory where there is such a place: hundreds of commits wait for the disk otherwise.
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        desk = make_desk(f"sqlite:///{Path(folder) / 'casemill.db'}", throttle=throttle)
        asked: dict[tuple[str, int], list[datetime]] = {}
        for kind, ticket_id, hours, outcome in steps:
            act(desk, kind, ticket_id)
            desk.now += timedelta(hours=hours)
            deliver(desk, outcome, asked)
        desk.now += DAY
        deliver(desk, "sent", asked)
        check(desk, asked, throttle)


def act(desk: Desk, kind: str, ticket_id: int) -> None:
    """Complete an open ticket; reopen a completed one, or force it out of its stage."""
    if desk.ticket(ticket_id).stage != COMPLETED:
        desk.complete(ticket_id)
    elif kind == "force":
        desk.force(5, ticket_id)
    else:
        desk.reopen(ticket_id)


def deliver(desk: Desk, outcome: str, asked: dict[tuple[str, int], list[datetime]]) -> None:
    """What is due is told of and has this outcome some time later."""
    for due in desk.sweep():
        desk.now += timedelta(minutes=7)
        desk.settle(due.ticket_id, outcome)
        if outcome in ("sent", "ambiguous"):
            survey = desk.survey(due.ticket_id)
            asked.setdefault(("contact", survey.contact_id or 0), []).append(desk.now)
            asked.setdefault(("company", survey.company_id or 0), []).append(desk.now)


def check(desk: Desk, asked: dict[tuple[str, int], list[datetime]], throttle: str) -> None:
    of_nobody = ("company", 0)
    for who, moments in asked.items():
        if who[0] == "contact" or (throttle == "company" and who != of_nobody):
            assert all(later - earlier >= 30 * DAY for earlier, later in pairwise(moments)), who
    completions = [fact for fact in desk.facts() if isinstance(fact, TicketCompleted)]
    rows = desk.rows(Survey, Survey.id)
    assert all(row.state not in ("waiting", "invited") and row.reason_code and row.reason for row in rows)
    entries = [codes for ticket_id in range(1, 5) for _, codes in desk.entries(ticket_id)]
    assert len(entries) == len(completions)
    assert all(len(codes) == 1 for codes in entries)
    assert len(completions) == len(rows) + entries.count(["same_opening"])
    desk.database.close()
