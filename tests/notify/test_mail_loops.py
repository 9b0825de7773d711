"""Mail loops: a ticket with many automatic mails in a row and an auto-responder get no more mail; the owner gets an alert."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from core import clock
from notify import rate_limit_counts
from notify.models import Delivery
from notify.rate_limit_counts import RateLimitCounts
from tests.notify.conftest import MakeHarness
from tests.notify.harness import NotifyHarness
from tests.notify.test_rate_limit_counts import CLINIC, PAT, decide
from tickets.models import Ticket


@pytest.mark.parametrize(("before", "expected"), [(5, ("send", "")), (6, ("skip", "ticket_silent"))])
def test_ticket_sends_at_most_six_automatic_mails_in_a_row(before: int, expected: tuple[str, str]) -> None:
    counts = RateLimitCounts()
    counts.in_a_row[1] = before
    assert decide(counts) == expected


@pytest.mark.parametrize(
    ("subject", "answered", "is_loop"),
    [
        ("we received your request", ["hello", "we received your request"], True),
        ("we received your request", ["we received your request"], False),
        ("a third matter", ["hello", "we received your request"], False),
        (None, ["hello", "hello"], False),
    ],
)
def test_loop_is_detected_by_repeated_subject(subject: str | None, answered: list[str], is_loop: bool) -> None:
    assert rate_limit_counts.is_loop(subject, answered) is is_loop


def test_normalised_subject_ignores_numbers_and_prefixes() -> None:
    subjects = ["We received it [BS-000001]", "RE: we received it [BS-22]", "Auto: Re: We received it #4711", "We received it"]
    assert {rate_limit_counts.normalise_subject(subject) for subject in subjects} == {"we received it"}
    assert rate_limit_counts.normalise_subject("Claim 1") != rate_limit_counts.normalise_subject("Claim 2")


def automatic(harness: NotifyHarness, ticket_id: int, number: int) -> None:
    """Add one more automatic mail to a ticket, as a later mailing would."""
    now = clock.now()
    with harness.database.write() as session:
        row = {"key": f"more:{ticket_id}:{number}", "mailing": "ticket_created", "ticket_id": ticket_id, "recipient": PAT}
        due = {"domain": CLINIC, "outside": True, "due_at": now, "created_at": now}
        session.add(Delivery(**row, **due, context={"received_at": now.isoformat()}))


def test_silenced_ticket_alerts_owner_once_and_sends_again_after_person_writes(make_harness: MakeHarness, smtp_url: str) -> None:
    harness = make_harness(notices={"per_address_hour": 100, "per_address_day": 100, "per_ticket_ten_minutes": 100})
    worker = harness.open_worker(smtp_url)
    owner = harness.add_staff("ada@billing.example")
    ticket_id = harness.add_ticket(PAT, owner_id=owner, source="formstack")
    harness.run_until_idle(worker)
    for number in range(8):
        automatic(harness, ticket_id, number)
        harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"] * 6 + ["skipped"] * 3
    assert {one.reason_code for one in harness.deliveries() if one.state == "skipped"} == {"ticket_silent"}
    assert [(task.assignee_id, task.kind) for task in harness.tasks()] == [(owner, "silence")]
    assert [title for _, title, _ in harness.timeline(ticket_id)].count("Automatic mail stopped") == 1
    with harness.database.write() as session:
        session.execute(update(Ticket).values(human_at=clock.now()))
    automatic(harness, ticket_id, 8)
    harness.run_until_idle(worker)
    assert harness.delivery_states()[-1] == "sent"


def test_auto_responder_gets_two_notices_and_owner_one_alert_a_day(harness: NotifyHarness, smtp_url: str) -> None:
    worker = harness.open_worker(smtp_url)
    owner = harness.add_staff("ada@billing.example")
    for subject in ("Hello", "Away", "Away", "Away [BS-000003]", "Away"):
        harness.add_ticket(PAT, owner_id=owner, name=subject)
        harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent", "sent", "skipped", "skipped", "skipped"]
    assert {one.reason_code for one in harness.deliveries() if one.state == "skipped"} == {"loop_suspected"}
    assert [task.title for task in harness.tasks()] == ["Check this ticket: an auto-responder seems to answer our mail"]


def test_auto_responder_is_detected_within_one_batch(harness: NotifyHarness, smtp_url: str) -> None:
    for _ in range(4):
        harness.add_ticket(PAT, name="Away")
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert harness.delivery_states() == ["sent", "sent", "skipped", "skipped"]
    assert len(harness.tasks()) == 1


@pytest.mark.parametrize("values", [{"source": "formstack", "name": "Claims"}, {}])
def test_person_with_three_subjects_or_forms_gets_three_notices(
    harness: NotifyHarness, smtp_url: str, values: dict[str, str]
) -> None:
    for _ in range(3):
        harness.add_ticket(PAT, **values)  # type: ignore[arg-type]
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert harness.delivery_states() == ["sent"] * 3
