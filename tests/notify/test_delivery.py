"""Sending due deliveries through real servers: outcomes, repeats, and stored messages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from time_machine import Traveller

from core import clock
from notify import attempts
from notify.delivery import DeliveryWorker
from notify.render import Renderer
from tests.notify.conftest import MakeHarness
from tests.notify.harness import TEMPLATES, Commits, HookedTransport, NotifyHarness, mail, stored
from tests.servers.smtp import Behaviour, SmtpServer

MONDAY = datetime(2026, 3, 2, 15, tzinfo=UTC)


@pytest.fixture
def travel() -> Iterator[Traveller]:
    with time_machine.travel(MONDAY, tick=False) as traveller:
        yield traveller


# Sent


def test_sent_creation_notice_moves_ticket_to_stage_4(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    ticket_id = harness.add_ticket()
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages()) == (["sent"], [4])
    assert harness.timeline(ticket_id)[0] == ("notice", "Creation notice sent", "The mail server accepted it")
    (message,) = smtp_server.messages
    assert message.recipients == ("pat@clinic.example",)
    one = harness.delivery()
    assert (one.attempts, one.claim, one.finished_at is not None, one.smtp_reply) == (1, None, True, "250 OK")


def test_requester_without_address_gets_no_notice_and_ticket_moves_to_stage_4(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    ticket_id = harness.add_ticket(None)
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages(), smtp_server.connections) == (["skipped"], [4], 0)
    assert harness.timeline(ticket_id)[0][1:] == ("Creation notice not sent", "The requester has no email address")


def test_address_on_never_answer_list_gets_no_notice(make_harness: MakeHarness, smtp_url: str) -> None:
    harness = make_harness(notices={"never_answer": ["clinic.example"]})
    ticket_id = harness.add_ticket()
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert (harness.delivery_states(), harness.ticket_stages()) == (["skipped"], [4])
    assert harness.timeline(ticket_id)[0][2] == "The address is on the list of addresses that get no automatic mail"


def test_many_notices_share_one_connection_and_arrive_once(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    harness.add_tickets(75)
    harness.run_until_idle(worker)
    assert [one.recipients[0] for one in smtp_server.messages] == [f"pat{n}@clinic{n}.example" for n in range(75)]
    assert smtp_server.connections == 1
    assert harness.ticket_stages() == [4] * 75


def test_maildir_stores_each_notice_once_with_its_envelope(harness: NotifyHarness, tmp_path: Path) -> None:
    harness.add_tickets(3)
    harness.run_until_idle(harness.open_worker(f"maildir:{tmp_path / 'sent'}"))
    mails = [mail(content) for content in stored(tmp_path / "sent")]
    assert sorted(str(one["Delivered-To"]) for one in mails) == [f"pat{n}@clinic{n}.example" for n in range(3)]
    assert harness.delivery_states() == ["sent"] * 3


def test_outcome_and_next_intent_share_one_commit_in_whole_batch(harness: NotifyHarness, worker: DeliveryWorker) -> None:
    harness.add_tickets(20)
    harness.relay_facts()
    with Commits(harness.database.engine) as commits:
        assert worker.drain() == 20
    assert harness.delivery_states() == ["sent"] * 20
    # The claim, the built messages, twenty intents, and the last outcome.
    assert commits.count == 23


# Refused and deferred


def test_permanent_refusal_fails_at_once_and_gives_owner_task(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    owner_id = harness.add_staff("ana@casemill.example")
    ticket_id = harness.add_ticket(owner_id=owner_id)
    smtp_server.set_behaviour(Behaviour(rcpt="550 5.1.1 No such user"))
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages(), smtp_server.messages) == (["failed"], [4], [])
    assert harness.timeline(ticket_id)[0] == (
        "notice", "Creation notice failed", "The mail server refused it: 550 5.1.1 No such user",
    )  # fmt: skip
    assert [task.assignee_id for task in harness.tasks()] == [owner_id]


def test_permanent_refusal_without_owner_gives_task_to_default_manager(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    manager_id = harness.add_staff("boss@casemill.example", manages_default_team=True)
    harness.add_ticket()
    smtp_server.set_behaviour(Behaviour(dot="554 5.7.1 Rejected"))
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), [task.assignee_id for task in harness.tasks()]) == (["failed"], [manager_id])


def test_refused_recipient_does_not_affect_other_deliveries(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    harness.add_tickets(5)
    smtp_server.set_behaviour(Behaviour(rcpt_of={"pat1@clinic1.example": "550 no", "pat3@clinic3.example": "451 later"}))
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent", "failed", "sent", "pending", "sent"]
    assert len(smtp_server.messages) == 3


def test_deferred_mail_is_retried_with_growing_pauses(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    harness.add_ticket()
    smtp_server.set_behaviour(Behaviour(dot="451 4.3.0 Try later"))
    pauses = []
    harness.run_until_idle(worker)
    for attempt in range(1, 12):
        one = harness.delivery()
        assert (one.state, one.attempts, one.reason_code) == ("pending", attempt, "put_off")
        pauses.append(one.due_at - clock.now())
        travel.shift(pauses[-1] - timedelta(seconds=1))
        assert worker.drain() == 0
        travel.shift(1)
        harness.run_until_idle(worker)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[-1]) == (timedelta(minutes=1), timedelta(minutes=2), timedelta(hours=4))
    assert harness.ticket_stages() == [1]
    smtp_server.set_behaviour(Behaviour())
    travel.shift(timedelta(hours=4))
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages(), len(smtp_server.messages)) == (["sent"], [4], 1)


@pytest.mark.parametrize("behaviour", [Behaviour(dot="451 Try later"), Behaviour(rcpt="450 Busy")])
def test_mail_deferred_for_five_days_fails_and_gives_owner_task(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller, behaviour: Behaviour
) -> None:
    manager_id = harness.add_staff("boss@casemill.example", manages_default_team=True)
    harness.add_ticket()
    smtp_server.set_behaviour(behaviour)
    harness.run_until_idle(worker)
    while harness.delivery_states() == ["pending"]:
        assert clock.now() - MONDAY <= timedelta(days=5, hours=4)
        travel.shift(harness.delivery().due_at - clock.now())
        harness.run_until_idle(worker)
    assert clock.now() - MONDAY >= timedelta(days=5)
    assert (harness.delivery_states(), harness.delivery().reason_code, harness.ticket_stages()) == (["failed"], "gave_up", [4])
    assert [task.assignee_id for task in harness.tasks()] == [manager_id]
    assert smtp_server.messages == []


def test_mail_that_waited_days_for_relay_is_retried_after_first_refusal(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    harness.add_ticket()
    harness.relay_facts()
    travel.shift(timedelta(days=6))
    smtp_server.set_behaviour(Behaviour(rcpt="450 4.2.0 greylisted"), times=1)
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["pending"]
    travel.shift(timedelta(minutes=1))
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"]


@pytest.mark.parametrize("failures", [1, 2, 10, 500, 100_000])
def test_retry_pause_is_at_most_four_hours(failures: int) -> None:
    assert timedelta(minutes=1) <= attempts.RETRY_BACKOFF.after(failures) <= timedelta(hours=4)


# Ambiguous


@pytest.mark.parametrize("drop", ["dot_stored", "dot_lost"])
def test_ambiguous_mail_is_sent_once_more_with_same_bytes(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller, drop: str
) -> None:
    harness.add_ticket()
    smtp_server.set_behaviour(Behaviour(drop=drop), times=1)  # type: ignore[arg-type]
    harness.run_until_idle(worker)
    one = harness.delivery()
    assert (one.state, one.reason_code, one.finished_at) == ("ambiguous", "outcome_unknown", None)
    assert harness.ticket_stages() == [1]
    assert one.due_at - clock.now() == attempts.REPEAT_PAUSE
    travel.shift(attempts.REPEAT_PAUSE)
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages(), harness.delivery().attempts) == (["sent"], [4], 2)
    first, second = smtp_server.transactions
    assert first.content == second.content
    assert first.mail_from == second.mail_from
    assert mail(first.content)["Message-ID"] == mail(second.content)["Message-ID"] == harness.delivery().message_id


def test_mail_ambiguous_twice_stays_ambiguous_and_gives_owner_task(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    owner_id = harness.add_staff("ana@casemill.example")
    ticket_id = harness.add_ticket(owner_id=owner_id)
    smtp_server.set_behaviour(Behaviour(drop="dot_stored"))
    for _ in range(4):
        harness.run_until_idle(worker)
        travel.shift(timedelta(hours=1))
    assert len(smtp_server.transactions) == 2
    assert (harness.delivery_states(), harness.delivery().ambiguities, harness.ticket_stages()) == (["ambiguous"], 2, [4])
    assert harness.timeline(ticket_id)[0][1] == "Creation notice may not have arrived"
    assert [task.assignee_id for task in harness.tasks()] == [owner_id]


def test_ambiguous_assignment_notice_is_not_repeated(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    ana = harness.add_staff("ana@casemill.example")
    ticket_id = harness.add_ticket(answer=False)
    harness.assign_ticket(ticket_id, ana)
    smtp_server.set_behaviour(Behaviour(drop="dot_lost"), times=1)
    for _ in range(3):
        harness.run_until_idle(worker)
        travel.shift(timedelta(hours=1))
    assert len(smtp_server.transactions) == 1
    assert harness.delivery_states() == ["skipped", "ambiguous"]
    assert harness.tasks() == []


@pytest.mark.parametrize("reply", ["550 no", "451 later"])
def test_refused_repeat_leaves_delivery_ambiguous(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller, reply: str
) -> None:
    harness.add_ticket()
    smtp_server.set_behaviour(Behaviour(drop="dot_stored"), times=1)
    harness.run_until_idle(worker)
    smtp_server.set_behaviour(Behaviour(rcpt=reply))
    for _ in range(60):
        travel.shift(timedelta(hours=4))
        harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.ticket_stages(), len(harness.tasks())) == (["ambiguous"], [4], 1)
    assert harness.delivery().finished_at is not None


def test_connection_lost_before_final_dot_is_retried_and_not_ambiguous(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    harness.add_ticket()
    smtp_server.set_behaviour(Behaviour(drop="data"), times=1)
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), harness.delivery().ambiguities) == (["pending"], 0)
    travel.shift(timedelta(minutes=1))
    harness.run_until_idle(worker)
    assert (harness.delivery_states(), len(smtp_server.transactions)) == (["sent"], 1)


# Built messages


def test_message_bytes_stay_same_when_template_changes_between_attempts(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, tmp_path: Path, travel: Traveller
) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    harness.add_tickets(2)
    smtp_server.set_behaviour(Behaviour(dot="451 Try later"), times=1)
    harness.run_until_idle(harness.open_worker(smtp_url, renderer=Renderer(folder)))
    before = harness.deliveries()[0].frozen
    for part in ("body.txt", "body.html", "subject.txt"):
        (folder / "ticket_created" / part).write_text("Another text")
    travel.shift(timedelta(minutes=1))
    harness.run_until_idle(harness.open_worker(smtp_url, renderer=Renderer(folder)))
    assert harness.delivery_states() == ["sent", "sent"]
    contents = [one.content for one in smtp_server.messages]
    assert len(contents) == 2
    assert before in contents
    assert not any(b"Another text" in content for content in contents)
    assert mail(contents[-1])["Date"].datetime == MONDAY


def test_notice_with_broken_template_fails_alone(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    (folder / "ticket_assigned" / "body.txt").write_text("{{ nobody_gives_this }}")
    ana, ids = harness.add_staff("ana@casemill.example"), harness.add_tickets(3)
    harness.assign_ticket(ids[1], ana)
    harness.run_until_idle(harness.open_worker(smtp_url, renderer=Renderer(folder)))
    assert harness.delivery_states() == ["sent", "sent", "sent", "failed"]
    assert harness.deliveries()[3].reason_code == "not_renderable"
    assert harness.ticket_stages() == [4, 4, 4]


def test_notice_with_damaged_context_fails_alone(harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    harness.add_ticket()
    harness.relay_facts()
    harness.update_deliveries(context={"received_at": "no date at all"})
    harness.add_ticket("kim@clinic.example")
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["failed", "sent"]
    assert len(harness.tasks()) == 1


def test_notice_to_malformed_address_fails_alone_with_its_reason(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    harness.add_ticket("pat@clinic.example\r\nRSET")
    harness.add_ticket("kim@clinic.example")
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["failed", "sent"]
    assert harness.deliveries()[0].reason_code == "unusable_address"


def test_unexpected_exception_defers_one_mail_and_sends_the_rest(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, travel: Traveller
) -> None:
    sender = harness.open_worker(smtp_url)._transport
    hooked = HookedTransport(sender)

    def fail_for_the_second() -> None:
        if hooked.recipients == ["pat0@clinic0.example", "pat1@clinic1.example"]:
            raise ZeroDivisionError

    hooked._before = fail_for_the_second
    harness.add_tickets(4)
    worker = harness.open_worker(hooked)
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent", "pending", "sent", "sent"]
    travel.shift(timedelta(minutes=1))
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"] * 4
    assert len(smtp_server.messages) == 4


def test_unexpected_exception_after_intent_is_ambiguous(harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    harness.add_ticket()
    harness.run_until_idle(harness.open_worker(HookedTransport(harness.open_worker(smtp_url)._transport, before_dot=fail)))
    assert (harness.delivery_states(), harness.delivery().ambiguities, smtp_server.messages) == (["ambiguous"], 1, [])
