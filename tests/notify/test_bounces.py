"""What comes back about our mail reaches the delivery, the ticket, its owner, and what may be sent from then on."""

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
from tests.notify.post import Post


def bounced(delivery_id: int, status: str = "5.1.1", *, item_id: int = 7, delayed: bool = False) -> BounceReceived:
    permanent = status.startswith("5")
    return BounceReceived(item_id, delivery_id, delayed, status, "delayed" if delayed else "failed", permanent, 60)


def reports(post: Post) -> list[tuple[int, str, str, str]]:
    with post.database.read() as session:
        rows = session.execute(select(DeliveryReport).order_by(DeliveryReport.item_id)).scalars()
        return [(row.delivery_id, row.kind, row.status, row.action) for row in rows]


def blocked(post: Post, scope: str = suppressions.AUTOMATIC, *, days: float = 0) -> set[str]:
    with post.database.read() as session:
        return suppressions.find_blocked(session, ["pat@clinic.example"], clock.now() + timedelta(days=days), scope)


def send_one(post: Post, worker: DeliveryWorker, **values: int) -> int:
    ticket_id = post.ticket(**values)  # type: ignore[arg-type]
    post.settle(worker)
    return ticket_id


def test_a_bounce_for_good_marks_the_delivery_blocks_the_address_and_gives_the_owner_a_task(
    post: Post, worker: DeliveryWorker
) -> None:
    owner = post.person("ada@billing.example")
    ticket_id = send_one(post, worker, owner_id=owner)
    post.tell(bounced(post.delivery().id))
    post.relay()
    assert reports(post) == [(post.delivery().id, "bounce", "5.1.1", "failed")]
    assert blocked(post) == {"pat@clinic.example"}
    assert (blocked(post, days=59), blocked(post, days=61)) == ({"pat@clinic.example"}, set())
    (task,) = post.tasks()
    assert (task.assignee_id, task.kind, task.title) == (owner, "notice_problem", "Reach them another way: our mail came back")
    text = (
        "The mail “ticket created” to pat@clinic.example came back: there is no such address (5.1.1);"
        " this address gets no automatic mail for 60 days"
    )
    assert task.reason == text
    assert post.timeline(ticket_id)[-1] == ("note", "Our mail came back", text)


def test_a_bounce_that_may_pass_blocks_nobody_and_still_gives_the_owner_a_task(post: Post, worker: DeliveryWorker) -> None:
    send_one(post, worker)
    post.tell(bounced(post.delivery().id, "4.4.7"))
    post.relay()
    assert blocked(post) == set()
    assert [task.title for task in post.tasks()] == ["Reach them another way: our mail came back"]
    assert "did not accept it for days (4.4.7)" in post.tasks()[0].reason


def test_a_delay_is_noted_and_nothing_else(post: Post, worker: DeliveryWorker) -> None:
    ticket_id = send_one(post, worker)
    post.tell(bounced(post.delivery().id, "4.4.1", delayed=True))
    post.relay()
    assert reports(post) == [(post.delivery().id, "delay", "4.4.1", "delayed")]
    assert (blocked(post), post.tasks()) == (set(), [])
    assert post.timeline(ticket_id)[-1][1] == "Our mail is delayed"


def test_two_bounces_of_one_mail_are_one_task(post: Post, worker: DeliveryWorker) -> None:
    send_one(post, worker)
    post.tell(bounced(post.delivery().id), bounced(post.delivery().id, item_id=8))
    post.relay()
    post.tell(bounced(post.delivery().id, item_id=9), bounced(post.delivery().id, item_id=9))
    post.relay()
    assert (len(post.tasks()), len(reports(post))) == (1, 3)


def test_a_bounce_of_mail_to_staff_blocks_nobody(post: Post, worker: DeliveryWorker) -> None:
    owner = post.person("ada@billing.example")
    ticket_id = post.ticket(email=None, owner_id=owner)
    post.assign(ticket_id, owner)
    post.settle(worker)
    to_staff = next(one for one in post.deliveries() if one.recipient == "ada@billing.example")
    post.tell(bounced(to_staff.id))
    post.relay()
    with post.database.read() as session:
        assert suppressions.list_blocks(session, clock.now()) == []


def test_a_bounce_of_a_delivery_that_is_gone_changes_nothing(post: Post) -> None:
    post.tell(bounced(4711), ReportReceived(8, 4711, "complaint", "abuse"))
    post.relay()
    assert (reports(post), post.tasks()) == ([], [])


def test_who_is_blocked_is_told_no_more_until_the_block_is_lifted(post: Post, worker: DeliveryWorker) -> None:
    send_one(post, worker)
    post.tell(bounced(post.delivery().id))
    send_one(post, worker)
    assert [(one.state, one.reason_code) for one in post.deliveries()][1] == ("skipped", "suppressed")
    with post.database.write() as session:
        assert suppressions.lift(session, " Pat@clinic.example ") == 1
    send_one(post, worker)
    assert post.states() == ["sent", "skipped", "sent"]


def test_a_complaint_ends_surveys_and_nothing_else(post: Post, worker: DeliveryWorker) -> None:
    ticket_id = send_one(post, worker)
    post.tell(ReportReceived(9, post.delivery().id, "complaint", "abuse"))
    post.relay()
    assert (blocked(post), blocked(post, suppressions.SURVEYS)) == (set(), {"pat@clinic.example"})
    assert blocked(post, suppressions.SURVEYS, days=3650) == {"pat@clinic.example"}
    assert post.timeline(ticket_id)[-1][1] == "The recipient reported our mail as spam"


@pytest.mark.parametrize("report", ["receipt", "feedback", "delivery"])
def test_receipts_and_the_like_are_recorded_only(post: Post, worker: DeliveryWorker, report: str) -> None:
    ticket_id = send_one(post, worker)
    before = post.timeline(ticket_id)
    post.tell(ReportReceived(9, post.delivery().id, report, "displayed"))
    post.relay()
    assert reports(post) == [(post.delivery().id, report, "", "displayed")]
    assert post.timeline(ticket_id) == before
    assert blocked(post, suppressions.SURVEYS) == set()


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
def test_a_status_is_told_in_plain_words(status: str, words: str) -> None:
    assert bounces.describe_status(status) == words
