"""Bounces and reports: records on the delivery, notes and tasks on the ticket, blocked addresses."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from accounts import suppressions
from core import clock
from notify import bounces
from notify.delivery import DeliveryWorker
from notify.models import DeliveryReport
from outbox.facts import BounceReceived, ReportReceived
from tests.notify.harness import NotifyHarness


def bounced(delivery_id: int, status: str = "5.1.1", *, item_id: int = 7, delayed: bool = False) -> BounceReceived:
    permanent = status.startswith("5")
    return BounceReceived(item_id, delivery_id, delayed, status, "delayed" if delayed else "failed", permanent, 60)


def reports(harness: NotifyHarness) -> list[tuple[int, str, str, str]]:
    with harness.database.read() as session:
        rows = session.execute(select(DeliveryReport).order_by(DeliveryReport.item_id)).scalars()
        return [(row.delivery_id, row.kind, row.status, row.action) for row in rows]


def blocked(harness: NotifyHarness, scope: str = suppressions.AUTOMATIC, *, days: float = 0) -> set[str]:
    with harness.database.read() as session:
        return suppressions.find_blocked(session, ["pat@clinic.example"], clock.now() + timedelta(days=days), scope)


def send_one(harness: NotifyHarness, worker: DeliveryWorker, **values: int) -> int:
    ticket_id = harness.add_ticket(**values)  # type: ignore[arg-type]
    harness.run_until_idle(worker)
    return ticket_id


def test_permanent_bounce_is_recorded_blocks_address_and_gives_owner_task(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    owner = harness.add_staff("ada@billing.example")
    ticket_id = send_one(harness, worker, owner_id=owner)
    harness.append_facts(bounced(harness.delivery().id))
    harness.relay_facts()
    assert reports(harness) == [(harness.delivery().id, "bounce", "5.1.1", "failed")]
    assert blocked(harness) == {"pat@clinic.example"}
    assert (blocked(harness, days=59), blocked(harness, days=61)) == ({"pat@clinic.example"}, set())
    (task,) = harness.tasks()
    assert (task.assignee_id, task.kind, task.title) == (owner, "notice_problem", "Reach them another way: our mail came back")
    text = (
        "The mail “ticket created” to pat@clinic.example came back: there is no such address (5.1.1);"
        " this address gets no automatic mail for 60 days"
    )
    assert task.reason == text
    assert harness.timeline(ticket_id)[-1] == ("note", "Our mail came back", text)


def test_temporary_bounce_blocks_no_address_and_gives_owner_task(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    send_one(harness, worker)
    harness.append_facts(bounced(harness.delivery().id, "4.4.7"))
    harness.relay_facts()
    assert blocked(harness) == set()
    assert [task.title for task in harness.tasks()] == ["Reach them another way: our mail came back"]
    assert "did not accept it for days (4.4.7)" in harness.tasks()[0].reason


def test_delay_warning_is_noted_without_task_or_block(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    ticket_id = send_one(harness, worker)
    harness.append_facts(bounced(harness.delivery().id, "4.4.1", delayed=True))
    harness.relay_facts()
    assert reports(harness) == [(harness.delivery().id, "delay", "4.4.1", "delayed")]
    assert (blocked(harness), harness.tasks()) == (set(), [])
    assert harness.timeline(ticket_id)[-1][1] == "Our mail is delayed"


def test_two_bounces_of_one_mail_raise_one_task(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    send_one(harness, worker)
    harness.append_facts(bounced(harness.delivery().id), bounced(harness.delivery().id, item_id=8))
    harness.relay_facts()
    harness.append_facts(bounced(harness.delivery().id, item_id=9), bounced(harness.delivery().id, item_id=9))
    harness.relay_facts()
    assert (len(harness.tasks()), len(reports(harness))) == (1, 3)


def test_bounce_of_mail_to_staff_blocks_no_address(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    owner = harness.add_staff("ada@billing.example")
    ticket_id = harness.add_ticket(email=None, owner_id=owner)
    harness.assign_ticket(ticket_id, owner)
    harness.run_until_idle(worker)
    to_staff = next(one for one in harness.deliveries() if one.recipient == "ada@billing.example")
    harness.append_facts(bounced(to_staff.id))
    harness.relay_facts()
    with harness.database.read() as session:
        assert suppressions.list_blocks(session, clock.now()) == []


def test_bounce_of_unknown_delivery_changes_nothing(harness: NotifyHarness) -> None:
    harness.append_facts(bounced(4711), ReportReceived(8, 4711, "complaint", "abuse"))
    harness.relay_facts()
    assert (reports(harness), harness.tasks()) == ([], [])


def test_blocked_address_gets_no_mail_until_block_is_lifted(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    send_one(harness, worker)
    harness.append_facts(bounced(harness.delivery().id))
    send_one(harness, worker)
    assert [(one.state, one.reason_code) for one in harness.deliveries()][1] == ("skipped", "suppressed")
    with harness.database.write() as session:
        assert suppressions.lift(session, " Pat@clinic.example ") == 1
    send_one(harness, worker)
    assert harness.delivery_states() == ["sent", "skipped", "sent"]


def test_complaint_blocks_surveys_only(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    ticket_id = send_one(harness, worker)
    harness.append_facts(ReportReceived(9, harness.delivery().id, "complaint", "abuse"))
    harness.relay_facts()
    assert (blocked(harness), blocked(harness, suppressions.SURVEYS)) == (set(), {"pat@clinic.example"})
    assert blocked(harness, suppressions.SURVEYS, days=3650) == {"pat@clinic.example"}
    assert harness.timeline(ticket_id)[-1][1] == "The recipient reported our mail as spam"


@pytest.mark.parametrize("report", ["receipt", "feedback", "delivery"])
def test_receipts_and_other_reports_are_only_recorded(harness: NotifyHarness, worker: DeliveryWorker, report: str) -> None:
    ticket_id = send_one(harness, worker)
    before = harness.timeline(ticket_id)
    harness.append_facts(ReportReceived(9, harness.delivery().id, report, "displayed"))
    harness.relay_facts()
    assert reports(harness) == [(harness.delivery().id, report, "", "displayed")]
    assert harness.timeline(ticket_id) == before
    assert blocked(harness, suppressions.SURVEYS) == set()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("5.1.10", "there is no such address (5.1.10)"),
        ("5.2.2", "the mailbox is full (5.2.2)"),
        ("5.7.1", "a policy of the recipient's mail server refuses our mail (5.7.1)"),
        ("5.0.0", "the recipient's mail server refused it permanently (5.0.0)"),
        ("", "it could not be delivered"),
    ],
)
def test_status_code_is_described_in_words(status: str, words: str) -> None:
    assert bounces.describe_status(status) == words
