"""Facts become deliveries, and what becomes of them reaches the ticket."""

from __future__ import annotations

import json

import pytest

from notify.delivery import DeliveryWorker
from notify.mailing_types import CREATED
from outbox.facts import NoticeSettled, TaskRaised, TicketAssigned, TicketCreated
from tests.notify.post import Post
from tests.servers.smtp import SmtpServer


def settled(ticket_id: int, outcome: str, mailing: str = CREATED) -> NoticeSettled:
    return NoticeSettled(ticket_id, 1, mailing, outcome, "some_code", "Some reason", "pat@clinic.example")


def test_there_is_one_delivery_however_often_the_fact_is_relayed(post: Post) -> None:
    ticket_id = post.ticket()
    post.relay()
    post.tell(TicketCreated(ticket_id, answer=True), TicketCreated(ticket_id, answer=True))
    post.relay()
    post.tell(TicketCreated(ticket_id, answer=True))
    post.relay()
    assert post.delivery().key == f"ticket_created:{ticket_id}"
    assert post.delivery().recipient == "pat@clinic.example"


def test_a_batch_of_facts_makes_a_delivery_for_each_ticket(post: Post) -> None:
    ids = post.tickets(120)
    post.relay()
    assert [one.ticket_id for one in post.deliveries()] == sorted(ids)


def test_a_requester_who_must_not_be_answered_has_the_reason_on_the_timeline(post: Post) -> None:
    ticket_id = post.ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    post.relay()
    assert (post.delivery().state, post.delivery().reason_code) == ("skipped", "automatic_mail")
    assert post.delivery().finished_at is not None
    assert post.stages() == [4]
    assert post.timeline(ticket_id) == [
        ("notice", "Creation notice not sent", "A machine sent it"),
        ("stage", "Moved to 4-In Progress", "The creation notice has its outcome"),
    ]
    assert post.tasks() == []


def test_a_fact_that_comes_again_adds_nothing_to_the_timeline(post: Post) -> None:
    ticket_id = post.ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    post.relay()
    post.tell(TicketCreated(ticket_id, False, "automatic_mail", "A machine sent it"), settled(ticket_id, "sent"))
    post.relay()
    assert len(post.timeline(ticket_id)) == 2


def test_a_later_fact_that_would_answer_does_not_revive_a_skipped_notice(post: Post) -> None:
    ticket_id = post.ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    post.relay()
    post.tell(TicketCreated(ticket_id, answer=True))
    post.relay()
    assert post.states() == ["skipped"]


@pytest.mark.parametrize("outcome", ["sent", "skipped", "failed", "ambiguous"])
def test_every_final_outcome_moves_the_ticket_to_stage_4(post: Post, outcome: str) -> None:
    ticket_id = post.ticket()
    post.tell(settled(ticket_id, outcome))
    post.relay()
    assert post.stages() == [4]
    task = ["task"] if outcome in ("failed", "ambiguous") else []
    assert [kind for kind, _, _ in post.timeline(ticket_id)] == ["notice", "stage", *task]


@pytest.mark.parametrize(("outcome", "tasks"), [("sent", 0), ("skipped", 0), ("failed", 1), ("ambiguous", 1)])
def test_a_notice_that_may_not_have_arrived_gives_the_owner_one_task(post: Post, outcome: str, tasks: int) -> None:
    owner_id = post.person("ana@casemill.example")
    post.person("boss@casemill.example", manages_default_team=True)
    ticket_id = post.ticket(owner_id=owner_id)
    post.tell(settled(ticket_id, outcome), settled(ticket_id, outcome))
    post.relay()
    post.tell(settled(ticket_id, outcome))
    post.relay()
    assert [(task.assignee_id, task.kind, task.reason) for task in post.tasks()] == [
        (owner_id, "notice_problem", "Some reason")
    ] * tasks


def test_without_an_owner_the_manager_of_the_default_team_gets_the_task(post: Post) -> None:
    manager_id = post.person("boss@casemill.example", manages_default_team=True)
    ticket_id = post.ticket()
    post.tell(settled(ticket_id, "failed"))
    post.relay()
    assert [task.assignee_id for task in post.tasks()] == [manager_id]


def test_without_any_team_the_task_waits_for_nobody_in_particular(post: Post) -> None:
    ticket_id = post.ticket()
    post.tell(settled(ticket_id, "failed"))
    post.relay()
    assert [task.assignee_id for task in post.tasks()] == [None]


def test_the_outcome_of_an_assignment_notice_leaves_the_ticket_alone(post: Post) -> None:
    ticket_id = post.ticket()
    post.tell(settled(ticket_id, "failed", mailing="ticket_assigned"))
    post.relay()
    assert (post.stages(), post.timeline(ticket_id), post.tasks()) == ([1], [], [])


def test_every_assignment_has_a_notice_of_its_own(post: Post) -> None:
    first, second = post.person("ana@casemill.example"), post.person("ben@casemill.example")
    ticket_id = post.ticket()
    activities = [post.assign(ticket_id, who) for who in (first, second, first)]
    post.relay()
    assigned = [one for one in post.deliveries() if one.mailing == "ticket_assigned"]
    assert sorted((one.key, one.recipient, one.outside) for one in assigned) == sorted(
        (f"ticket_assigned:{activity}", email, False)
        for activity, email in zip(
            activities, ["ana@casemill.example", "ben@casemill.example", "ana@casemill.example"], strict=True
        )
    )


def test_an_assignment_told_twice_has_one_notice(post: Post) -> None:
    who, ticket_id = post.person("ana@casemill.example"), post.ticket()
    activity_id = post.assign(ticket_id, who)
    post.tell(TicketAssigned(ticket_id, who, activity_id, "Again"))
    post.relay()
    assert [one.mailing for one in post.deliveries()].count("ticket_assigned") == 1


@pytest.mark.parametrize(("rule", "mailing"), [("reminder", "follow_up_reminder"), ("escalation", "escalation")])
def test_a_task_raised_by_the_clock_is_told_once_to_who_has_it(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, rule: str, mailing: str
) -> None:
    boss, ticket_id = post.person("boss@casemill.example"), post.ticket(answer=False)
    for _ in range(2):
        post.tell(TaskRaised(ticket_id, 7, rule, boss))
        post.settle(worker)
    assert [one.key for one in post.deliveries() if not one.outside] == [f"{mailing}:7"]
    assert [one.recipients for one in smtp_server.messages] == [("boss@casemill.example",)]


def test_a_task_that_nobody_has_is_told_to_nobody(post: Post) -> None:
    post.tell(TaskRaised(post.ticket(answer=False), 7, "escalation", None))
    post.relay()
    assert [one.mailing for one in post.deliveries()] == ["ticket_created"]


def test_a_fact_that_cannot_be_read_does_not_hold_up_the_others(post: Post) -> None:
    post.tell(TicketAssigned(99_999, 99_999, 1, "Nobody"))
    ticket_id = post.ticket()
    post.relay()
    assert [one.ticket_id for one in post.deliveries()] == [ticket_id]


def test_facts_about_notices_hold_no_more_than_names_numbers_and_reasons(post: Post) -> None:
    post.ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    post.relay()
    (payload,) = post.facts("notice.settled")
    assert set(json.loads(json.dumps(payload))) == {
        "ticket_id", "delivery_id", "mailing", "outcome", "code", "text", "recipient",
    }  # fmt: skip
