"""Facts create deliveries, and final outcomes reach the ticket."""

from __future__ import annotations

import json

import pytest

from notify.delivery import DeliveryWorker
from notify.mailing_types import CREATED
from outbox.facts import NoticeSettled, TaskRaised, TicketAssigned, TicketCreated
from tests.notify.harness import NotifyHarness
from tests.servers.smtp import SmtpServer


def settled(ticket_id: int, outcome: str, mailing: str = CREATED) -> NoticeSettled:
    return NoticeSettled(ticket_id, 1, mailing, outcome, "some_code", "Some reason", "pat@clinic.example")


def test_fact_relayed_several_times_creates_one_delivery(harness: NotifyHarness) -> None:
    ticket_id = harness.add_ticket()
    harness.relay_facts()
    harness.append_facts(TicketCreated(ticket_id, answer=True), TicketCreated(ticket_id, answer=True))
    harness.relay_facts()
    harness.append_facts(TicketCreated(ticket_id, answer=True))
    harness.relay_facts()
    assert harness.delivery().key == f"ticket_created:{ticket_id}"
    assert harness.delivery().recipient == "pat@clinic.example"


def test_batch_of_facts_creates_delivery_for_each_ticket(harness: NotifyHarness) -> None:
    ids = harness.add_tickets(120)
    harness.relay_facts()
    assert [one.ticket_id for one in harness.deliveries()] == sorted(ids)


def test_skipped_creation_notice_shows_its_reason_on_timeline(harness: NotifyHarness) -> None:
    ticket_id = harness.add_ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    harness.relay_facts()
    assert (harness.delivery().state, harness.delivery().reason_code) == ("skipped", "automatic_mail")
    assert harness.delivery().finished_at is not None
    assert harness.ticket_stages() == [4]
    assert harness.timeline(ticket_id) == [
        ("notice", "Creation notice not sent", "A machine sent it"),
        ("stage", "Moved to 4-In Progress", "The creation notice has its outcome"),
    ]
    assert harness.tasks() == []


def test_repeated_fact_adds_nothing_to_timeline(harness: NotifyHarness) -> None:
    ticket_id = harness.add_ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    harness.relay_facts()
    harness.append_facts(TicketCreated(ticket_id, False, "automatic_mail", "A machine sent it"), settled(ticket_id, "sent"))
    harness.relay_facts()
    assert len(harness.timeline(ticket_id)) == 2


def test_later_fact_does_not_send_skipped_notice(harness: NotifyHarness) -> None:
    ticket_id = harness.add_ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    harness.relay_facts()
    harness.append_facts(TicketCreated(ticket_id, answer=True))
    harness.relay_facts()
    assert harness.delivery_states() == ["skipped"]


@pytest.mark.parametrize("outcome", ["sent", "skipped", "failed", "ambiguous"])
def test_every_final_outcome_moves_ticket_to_stage_4(harness: NotifyHarness, outcome: str) -> None:
    ticket_id = harness.add_ticket()
    harness.append_facts(settled(ticket_id, outcome))
    harness.relay_facts()
    assert harness.ticket_stages() == [4]
    task = ["task"] if outcome in ("failed", "ambiguous") else []
    assert [kind for kind, _, _ in harness.timeline(ticket_id)] == ["notice", "stage", *task]


@pytest.mark.parametrize(("outcome", "tasks"), [("sent", 0), ("skipped", 0), ("failed", 1), ("ambiguous", 1)])
def test_failed_or_ambiguous_notice_gives_owner_one_task(harness: NotifyHarness, outcome: str, tasks: int) -> None:
    owner_id = harness.add_staff("ana@casemill.example")
    harness.add_staff("boss@casemill.example", manages_default_team=True)
    ticket_id = harness.add_ticket(owner_id=owner_id)
    harness.append_facts(settled(ticket_id, outcome), settled(ticket_id, outcome))
    harness.relay_facts()
    harness.append_facts(settled(ticket_id, outcome))
    harness.relay_facts()
    assert [(task.assignee_id, task.kind, task.reason) for task in harness.tasks()] == [
        (owner_id, "notice_problem", "Some reason")
    ] * tasks


def test_task_without_owner_goes_to_default_teams_manager(harness: NotifyHarness) -> None:
    manager_id = harness.add_staff("boss@casemill.example", manages_default_team=True)
    ticket_id = harness.add_ticket()
    harness.append_facts(settled(ticket_id, "failed"))
    harness.relay_facts()
    assert [task.assignee_id for task in harness.tasks()] == [manager_id]


def test_task_without_owner_and_team_has_no_assignee(harness: NotifyHarness) -> None:
    ticket_id = harness.add_ticket()
    harness.append_facts(settled(ticket_id, "failed"))
    harness.relay_facts()
    assert [task.assignee_id for task in harness.tasks()] == [None]


def test_outcome_of_assignment_notice_does_not_change_ticket(harness: NotifyHarness) -> None:
    ticket_id = harness.add_ticket()
    harness.append_facts(settled(ticket_id, "failed", mailing="ticket_assigned"))
    harness.relay_facts()
    assert (harness.ticket_stages(), harness.timeline(ticket_id), harness.tasks()) == ([1], [], [])


def test_each_assignment_creates_one_notice(harness: NotifyHarness) -> None:
    first, second = harness.add_staff("ana@casemill.example"), harness.add_staff("ben@casemill.example")
    ticket_id = harness.add_ticket()
    activities = [harness.assign_ticket(ticket_id, who) for who in (first, second, first)]
    harness.relay_facts()
    assigned = [one for one in harness.deliveries() if one.mailing == "ticket_assigned"]
    assert sorted((one.key, one.recipient, one.outside) for one in assigned) == sorted(
        (f"ticket_assigned:{activity}", email, False)
        for activity, email in zip(
            activities, ["ana@casemill.example", "ben@casemill.example", "ana@casemill.example"], strict=True
        )
    )


def test_repeated_assignment_fact_creates_one_notice(harness: NotifyHarness) -> None:
    who, ticket_id = harness.add_staff("ana@casemill.example"), harness.add_ticket()
    activity_id = harness.assign_ticket(ticket_id, who)
    harness.append_facts(TicketAssigned(ticket_id, who, activity_id, "Again"))
    harness.relay_facts()
    assert [one.mailing for one in harness.deliveries()].count("ticket_assigned") == 1


@pytest.mark.parametrize(("rule", "mailing"), [("reminder", "follow_up_reminder"), ("escalation", "escalation")])
def test_raised_task_is_mailed_once_to_its_assignee(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, rule: str, mailing: str
) -> None:
    boss, ticket_id = harness.add_staff("boss@casemill.example"), harness.add_ticket(answer=False)
    for _ in range(2):
        harness.append_facts(TaskRaised(ticket_id, 7, rule, boss))
        harness.run_until_idle(worker)
    assert [one.key for one in harness.deliveries() if not one.outside] == [f"{mailing}:7"]
    assert [one.recipients for one in smtp_server.messages] == [("boss@casemill.example",)]


def test_task_without_assignee_sends_no_mail(harness: NotifyHarness) -> None:
    harness.append_facts(TaskRaised(harness.add_ticket(answer=False), 7, "escalation", None))
    harness.relay_facts()
    assert [one.mailing for one in harness.deliveries()] == ["ticket_created"]


def test_failing_fact_does_not_delay_other_facts(harness: NotifyHarness) -> None:
    harness.append_facts(TicketAssigned(99_999, 99_999, 1, "Nobody"))
    ticket_id = harness.add_ticket()
    harness.relay_facts()
    assert [one.ticket_id for one in harness.deliveries()] == [ticket_id]


def test_outcome_facts_hold_only_ids_codes_and_reasons(harness: NotifyHarness) -> None:
    harness.add_ticket(answer=False, refusal=("automatic_mail", "A machine sent it"))
    harness.relay_facts()
    (payload,) = harness.read_facts("notice.settled")
    assert set(json.loads(json.dumps(payload))) == {
        "ticket_id", "delivery_id", "mailing", "outcome", "code", "text", "recipient",
    }  # fmt: skip
