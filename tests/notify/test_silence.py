"""The breaker of a ticket, and machines that answer back: both fall silent, and their owner hears of it once."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from core import clock
from notify import rate_limit_counts
from notify.models import Delivery
from notify.rate_limit_counts import RateLimitCounts
from tests.notify.conftest import MakePost
from tests.notify.post import Post
from tests.notify.test_rate_limit_counts import CLINIC, PAT, ruling
from tickets.models import Ticket


@pytest.mark.parametrize(("before", "verdict"), [(5, ("send", "")), (6, ("skip", "ticket_silent"))])
def test_a_ticket_falls_silent_after_six_automatic_mails_in_a_row(before: int, verdict: tuple[str, str]) -> None:
    counts = RateLimitCounts()
    counts.in_a_row[1] = before
    assert ruling(counts) == verdict


@pytest.mark.parametrize(
    ("subject", "answered", "is_loop"),
    [
        ("we received your request", ["hello", "we received your request"], True),
        ("we received your request", ["we received your request"], False),
        ("a third matter", ["hello", "we received your request"], False),
        (None, ["hello", "hello"], False),
    ],
)
def test_a_machine_is_known_by_the_mail_that_comes_back_each_time(
    subject: str | None, answered: list[str], is_loop: bool
) -> None:
    assert rate_limit_counts.is_loop(subject, answered) is is_loop


def test_what_machines_change_in_a_subject_does_not_count() -> None:
    subjects = ["We received it [BS-000001]", "RE: we received it [BS-22]", "Auto: Re: We received it #4711", "We received it"]
    assert {rate_limit_counts.normalise_subject(subject) for subject in subjects} == {"we received it"}
    assert rate_limit_counts.normalise_subject("Claim 1") != rate_limit_counts.normalise_subject("Claim 2")


def automatic(post: Post, ticket_id: int, number: int) -> None:
    """One more automatic mail of a ticket, as some later mailing would bring it."""
    now = clock.now()
    with post.database.write() as session:
        row = {"key": f"more:{ticket_id}:{number}", "mailing": "ticket_created", "ticket_id": ticket_id, "recipient": PAT}
        due = {"domain": CLINIC, "outside": True, "due_at": now, "created_at": now}
        session.add(Delivery(**row, **due, context={"received_at": now.isoformat()}))


def test_a_silent_ticket_tells_its_owner_once_and_speaks_again_after_a_human(make_post: MakePost, smtp_url: str) -> None:
    post = make_post(notices={"per_address_hour": 100, "per_address_day": 100, "per_ticket_ten_minutes": 100})
    worker = post.delivering(smtp_url)
    owner = post.person("ada@billing.example")
    ticket_id = post.ticket(PAT, owner_id=owner, source="formstack")
    post.settle(worker)
    for number in range(8):
        automatic(post, ticket_id, number)
        post.settle(worker)
    assert post.states() == ["sent"] * 6 + ["skipped"] * 3
    assert {one.reason_code for one in post.deliveries() if one.state == "skipped"} == {"ticket_silent"}
    assert [(task.assignee_id, task.kind) for task in post.tasks()] == [(owner, "silence")]
    assert [title for _, title, _ in post.timeline(ticket_id)].count("Automatic mail stopped") == 1
    with post.database.write() as session:
        session.execute(update(Ticket).values(human_at=clock.now()))
    automatic(post, ticket_id, 8)
    post.settle(worker)
    assert post.states()[-1] == "sent"


def test_a_machine_that_answers_every_notice_gets_two_and_the_owner_one_alert_a_day(post: Post, smtp_url: str) -> None:
    worker = post.delivering(smtp_url)
    owner = post.person("ada@billing.example")
    for subject in ("Hello", "Away", "Away", "Away [BS-000003]", "Away"):
        post.ticket(PAT, owner_id=owner, name=subject)
        post.settle(worker)
    assert post.states() == ["sent", "sent", "skipped", "skipped", "skipped"]
    assert {one.reason_code for one in post.deliveries() if one.state == "skipped"} == {"loop_suspected"}
    assert [task.title for task in post.tasks()] == ["Check this ticket: an auto-responder seems to answer our mail"]


def test_a_machine_that_answers_a_whole_batch_is_known_too(post: Post, smtp_url: str) -> None:
    for _ in range(4):
        post.ticket(PAT, name="Away")
    post.settle(post.delivering(smtp_url))
    assert post.states() == ["sent", "sent", "skipped", "skipped"]
    assert len(post.tasks()) == 1


@pytest.mark.parametrize("values", [{"source": "formstack", "name": "Claims"}, {}])
def test_a_person_with_three_matters_or_three_forms_hears_three_times(post: Post, smtp_url: str, values: dict[str, str]) -> None:
    for _ in range(3):
        post.ticket(PAT, **values)  # type: ignore[arg-type]
    post.settle(post.delivering(smtp_url))
    assert post.states() == ["sent"] * 3
