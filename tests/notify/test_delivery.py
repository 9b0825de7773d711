"""Sending what is due through real servers: outcomes, repeats, and frozen bytes."""

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
from tests.notify.conftest import MakePost
from tests.notify.post import TEMPLATES, Commits, HookedSender, Post, mail, stored
from tests.servers.smtp import Behaviour, SmtpServer

MONDAY = datetime(2026, 3, 2, 15, tzinfo=UTC)


@pytest.fixture
def travel() -> Iterator[Traveller]:
    with time_machine.travel(MONDAY, tick=False) as traveller:
        yield traveller


# Sent


def test_a_sent_notice_moves_its_ticket_to_stage_4(post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    ticket_id = post.ticket()
    post.settle(worker)
    assert (post.states(), post.stages()) == (["sent"], [4])
    assert post.timeline(ticket_id)[0] == ("notice", "Creation notice sent", "The mail server accepted it")
    (message,) = smtp_server.messages
    assert message.recipients == ("pat@clinic.example",)
    one = post.delivery()
    assert (one.attempts, one.claim, one.finished_at is not None, one.smtp_reply) == (1, None, True, "250 OK")


def test_a_requester_without_an_address_gets_none_and_the_ticket_moves_on(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    ticket_id = post.ticket(None)
    post.settle(worker)
    assert (post.states(), post.stages(), smtp_server.connections) == (["skipped"], [4], 0)
    assert post.timeline(ticket_id)[0][1:] == ("Creation notice not sent", "The requester has no email address")


def test_an_address_on_the_list_of_those_never_answered_gets_none(make_post: MakePost, smtp_url: str) -> None:
    post = make_post(notices={"never_answer": ["clinic.example"]})
    ticket_id = post.ticket()
    post.settle(post.delivering(smtp_url))
    assert (post.states(), post.stages()) == (["skipped"], [4])
    assert post.timeline(ticket_id)[0][2] == "The address is on the list of addresses that get no automatic mail"


def test_many_notices_share_one_connection_and_each_arrives_once(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    post.tickets(75)
    post.settle(worker)
    assert [one.recipients[0] for one in smtp_server.messages] == [f"pat{n}@clinic{n}.example" for n in range(75)]
    assert smtp_server.connections == 1
    assert post.stages() == [4] * 75


def test_a_maildir_takes_each_notice_once_with_its_envelope(post: Post, tmp_path: Path) -> None:
    post.tickets(3)
    post.settle(post.delivering(f"maildir:{tmp_path / 'sent'}"))
    mails = [mail(content) for content in stored(tmp_path / "sent")]
    assert sorted(str(one["Delivered-To"]) for one in mails) == [f"pat{n}@clinic{n}.example" for n in range(3)]
    assert post.states() == ["sent"] * 3


def test_one_commit_holds_what_was_sent_and_what_is_next(post: Post, worker: DeliveryWorker) -> None:
    post.tickets(20)
    post.relay()
    with Commits(post.database.engine) as commits:
        assert worker.drain() == 20
    assert post.states() == ["sent"] * 20
    # The claim, the frozen bytes, twenty intents, and the last outcome.
    assert commits.count == 23


# Refused and put off


def test_a_refusal_for_good_fails_at_once_and_becomes_a_task(post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    owner_id = post.person("ana@casemill.example")
    ticket_id = post.ticket(owner_id=owner_id)
    smtp_server.set_behaviour(Behaviour(rcpt="550 5.1.1 No such user"))
    post.settle(worker)
    assert (post.states(), post.stages(), smtp_server.messages) == (["failed"], [4], [])
    assert post.timeline(ticket_id)[0] == (
        "notice", "Creation notice failed", "The mail server refused it: 550 5.1.1 No such user",
    )  # fmt: skip
    assert [task.assignee_id for task in post.tasks()] == [owner_id]


def test_a_refusal_for_good_without_an_owner_is_a_task_of_the_default_teams_manager(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    manager_id = post.person("boss@casemill.example", manages_default_team=True)
    post.ticket()
    smtp_server.set_behaviour(Behaviour(dot="554 5.7.1 Rejected"))
    post.settle(worker)
    assert (post.states(), [task.assignee_id for task in post.tasks()]) == (["failed"], [manager_id])


def test_one_refused_recipient_does_not_touch_the_others(post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    post.tickets(5)
    smtp_server.set_behaviour(Behaviour(rcpt_of={"pat1@clinic1.example": "550 no", "pat3@clinic3.example": "451 later"}))
    post.settle(worker)
    assert post.states() == ["sent", "failed", "sent", "pending", "sent"]
    assert len(smtp_server.messages) == 3


def test_what_is_put_off_is_tried_again_with_growing_pauses(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    post.ticket()
    smtp_server.set_behaviour(Behaviour(dot="451 4.3.0 Try later"))
    pauses = []
    post.settle(worker)
    for attempt in range(1, 12):
        one = post.delivery()
        assert (one.state, one.attempts, one.reason_code) == ("pending", attempt, "put_off")
        pauses.append(one.due_at - clock.now())
        travel.shift(pauses[-1] - timedelta(seconds=1))
        assert worker.drain() == 0
        travel.shift(1)
        post.settle(worker)
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[-1]) == (timedelta(minutes=1), timedelta(minutes=2), timedelta(hours=4))
    assert post.stages() == [1]
    smtp_server.set_behaviour(Behaviour())
    travel.shift(timedelta(hours=4))
    post.settle(worker)
    assert (post.states(), post.stages(), len(smtp_server.messages)) == (["sent"], [4], 1)


@pytest.mark.parametrize("behaviour", [Behaviour(dot="451 Try later"), Behaviour(rcpt="450 Busy")])
def test_what_is_put_off_for_five_days_is_given_up_and_becomes_a_task(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller, behaviour: Behaviour
) -> None:
    manager_id = post.person("boss@casemill.example", manages_default_team=True)
    post.ticket()
    smtp_server.set_behaviour(behaviour)
    post.settle(worker)
    while post.states() == ["pending"]:
        assert clock.now() - MONDAY <= timedelta(days=5, hours=4)
        travel.shift(post.delivery().due_at - clock.now())
        post.settle(worker)
    assert clock.now() - MONDAY >= timedelta(days=5)
    assert (post.states(), post.delivery().reason_code, post.stages()) == (["failed"], "gave_up", [4])
    assert [task.assignee_id for task in post.tasks()] == [manager_id]
    assert smtp_server.messages == []


def test_a_mail_that_waited_days_for_the_relay_is_not_given_up_at_its_first_no(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    post.ticket()
    post.relay()
    travel.shift(timedelta(days=6))
    smtp_server.set_behaviour(Behaviour(rcpt="450 4.2.0 greylisted"), times=1)
    post.settle(worker)
    assert post.states() == ["pending"]
    travel.shift(timedelta(minutes=1))
    post.settle(worker)
    assert post.states() == ["sent"]


@pytest.mark.parametrize("failures", [1, 2, 10, 500, 100_000])
def test_a_pause_is_never_longer_than_four_hours(failures: int) -> None:
    assert timedelta(minutes=1) <= attempts.RETRY_BACKOFF.after(failures) <= timedelta(hours=4)


# Ambiguous


@pytest.mark.parametrize("drop", ["dot_stored", "dot_lost"])
def test_a_mail_whose_answer_was_lost_is_sent_once_more_with_the_same_bytes(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller, drop: str
) -> None:
    post.ticket()
    smtp_server.set_behaviour(Behaviour(drop=drop), times=1)  # type: ignore[arg-type]
    post.settle(worker)
    one = post.delivery()
    assert (one.state, one.reason_code, one.finished_at) == ("ambiguous", "outcome_unknown", None)
    assert post.stages() == [1]
    assert one.due_at - clock.now() == attempts.REPEAT_PAUSE
    travel.shift(attempts.REPEAT_PAUSE)
    post.settle(worker)
    assert (post.states(), post.stages(), post.delivery().attempts) == (["sent"], [4], 2)
    first, second = smtp_server.transactions
    assert first.content == second.content
    assert first.mail_from == second.mail_from
    assert mail(first.content)["Message-ID"] == mail(second.content)["Message-ID"] == post.delivery().message_id


def test_a_mail_whose_answer_is_lost_twice_stays_ambiguous_and_becomes_a_task(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    owner_id = post.person("ana@casemill.example")
    ticket_id = post.ticket(owner_id=owner_id)
    smtp_server.set_behaviour(Behaviour(drop="dot_stored"))
    for _ in range(4):
        post.settle(worker)
        travel.shift(timedelta(hours=1))
    assert len(smtp_server.transactions) == 2
    assert (post.states(), post.delivery().ambiguities, post.stages()) == (["ambiguous"], 2, [4])
    assert post.timeline(ticket_id)[0][1] == "Creation notice may not have arrived"
    assert [task.assignee_id for task in post.tasks()] == [owner_id]


def test_an_assignment_notice_is_never_repeated(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    ana = post.person("ana@casemill.example")
    ticket_id = post.ticket(answer=False)
    post.assign(ticket_id, ana)
    smtp_server.set_behaviour(Behaviour(drop="dot_lost"), times=1)
    for _ in range(3):
        post.settle(worker)
        travel.shift(timedelta(hours=1))
    assert len(smtp_server.transactions) == 1
    assert post.states() == ["skipped", "ambiguous"]
    assert post.tasks() == []


@pytest.mark.parametrize("reply", ["550 no", "451 later"])
def test_a_repeat_that_is_refused_leaves_open_whether_the_first_one_arrived(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller, reply: str
) -> None:
    post.ticket()
    smtp_server.set_behaviour(Behaviour(drop="dot_stored"), times=1)
    post.settle(worker)
    smtp_server.set_behaviour(Behaviour(rcpt=reply))
    for _ in range(60):
        travel.shift(timedelta(hours=4))
        post.settle(worker)
    assert (post.states(), post.stages(), len(post.tasks())) == (["ambiguous"], [4], 1)
    assert post.delivery().finished_at is not None


def test_a_connection_lost_before_the_final_dot_is_tried_again_and_not_ambiguous(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, travel: Traveller
) -> None:
    post.ticket()
    smtp_server.set_behaviour(Behaviour(drop="data"), times=1)
    post.settle(worker)
    assert (post.states(), post.delivery().ambiguities) == (["pending"], 0)
    travel.shift(timedelta(minutes=1))
    post.settle(worker)
    assert (post.states(), len(smtp_server.transactions)) == (["sent"], 1)


# Frozen


def test_frozen_bytes_stay_the_same_when_the_template_changes_between_attempts(
    post: Post, smtp_server: SmtpServer, smtp_url: str, tmp_path: Path, travel: Traveller
) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    post.tickets(2)
    smtp_server.set_behaviour(Behaviour(dot="451 Try later"), times=1)
    post.settle(post.delivering(smtp_url, renderer=Renderer(folder)))
    before = post.deliveries()[0].frozen
    for part in ("body.txt", "body.html", "subject.txt"):
        (folder / "ticket_created" / part).write_text("Another text")
    travel.shift(timedelta(minutes=1))
    post.settle(post.delivering(smtp_url, renderer=Renderer(folder)))
    assert post.states() == ["sent", "sent"]
    contents = [one.content for one in smtp_server.messages]
    assert len(contents) == 2
    assert before in contents
    assert not any(b"Another text" in content for content in contents)
    assert mail(contents[-1])["Date"].datetime == MONDAY


def test_a_notice_that_cannot_be_made_fails_alone(post: Post, smtp_server: SmtpServer, smtp_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    (folder / "ticket_assigned" / "body.txt").write_text("{{ nobody_gives_this }}")
    ana, ids = post.person("ana@casemill.example"), post.tickets(3)
    post.assign(ids[1], ana)
    post.settle(post.delivering(smtp_url, renderer=Renderer(folder)))
    assert post.states() == ["sent", "sent", "sent", "failed"]
    assert post.deliveries()[3].reason_code == "not_renderable"
    assert post.stages() == [4, 4, 4]


def test_an_odd_context_fails_alone(post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    post.ticket()
    post.relay()
    post.change(context={"received_at": "no date at all"})
    post.ticket("kim@clinic.example")
    post.settle(worker)
    assert post.states() == ["failed", "sent"]
    assert len(post.tasks()) == 1


def test_an_address_that_is_none_fails_alone_and_says_so(post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    post.ticket("pat@clinic.example\r\nRSET")
    post.ticket("kim@clinic.example")
    post.settle(worker)
    assert post.states() == ["failed", "sent"]
    assert post.deliveries()[0].reason_code == "unusable_address"


def test_a_fault_of_our_own_puts_off_one_mail_and_nothing_behind_it(
    post: Post, smtp_server: SmtpServer, smtp_url: str, travel: Traveller
) -> None:
    sender = post.delivering(smtp_url)._transport
    hooked = HookedSender(sender)

    def fail_for_the_second() -> None:
        if hooked.recipients == ["pat0@clinic0.example", "pat1@clinic1.example"]:
            raise ZeroDivisionError

    hooked._before = fail_for_the_second
    post.tickets(4)
    worker = post.delivering(hooked)
    post.settle(worker)
    assert post.states() == ["sent", "pending", "sent", "sent"]
    travel.shift(timedelta(minutes=1))
    post.settle(worker)
    assert post.states() == ["sent"] * 4
    assert len(smtp_server.messages) == 4


def test_a_fault_of_our_own_after_the_intent_is_ambiguous(post: Post, smtp_server: SmtpServer, smtp_url: str) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    post.ticket()
    post.settle(post.delivering(HookedSender(post.delivering(smtp_url)._transport, before_dot=fail)))
    assert (post.states(), post.delivery().ambiguities, smtp_server.messages) == (["ambiguous"], 1, [])
