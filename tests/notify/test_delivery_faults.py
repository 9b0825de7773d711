"""Sending when something dies, hangs or goes away: nothing is lost, and nothing is sent twice without being told."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from core import claims as core_claims
from notify import claims, delivery
from notify.delivery import DeliveryWorker
from notify.smtp import SmtpTransport
from notify.transport_factory import open_transport
from tests.notify.crash import run_until
from tests.notify.post import HookedSender, Post, stored
from tests.servers.postgres import PostgresServer
from tests.servers.smtp import Behaviour, SmtpServer
from tests.waiting import wait_until

ONLY_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims last 3 s and are renewed every 0.2 s, patience ends after 0.5 s, pauses after 0.3 s."""
    monkeypatch.setattr(core_claims, "CLAIM_TTL", timedelta(seconds=3))
    monkeypatch.setattr(core_claims, "RENEW_INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr(delivery, "SLOW_MAIL_SECONDS", 0.5)
    monkeypatch.setattr(delivery, "RELAY_PAUSE_SECONDS", 0.3)


def recipients(server: SmtpServer) -> Counter[str]:
    return Counter(one.recipients[0] for one in server.messages)


def everybody(count: int) -> Counter[str]:
    return Counter(f"pat{n}@clinic{n}.example" for n in range(count))


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def drain_until_sent(post: Post, worker: DeliveryWorker, seconds: float = 30) -> None:
    """What the clock does, ten times as often."""

    def is_done() -> bool:
        worker.drain()
        return set(post.states()) == {"sent"}

    wait_until(is_done, seconds)


# A relay that is away


def test_mail_waits_for_a_relay_that_is_down_from_the_start(
    post: Post, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    smtp_server.stop()
    post.tickets(60)
    worker = post.delivering(smtp_url)
    post.settle(worker)
    assert post.states() == ["pending"] * 60
    assert {(one.attempts, one.reason_code, one.tried_at) for one in post.deliveries()} == {(0, None, None)}
    smtp_server.start()
    drain_until_sent(post, worker)
    assert recipients(smtp_server) == everybody(60)
    assert {one.attempts for one in post.deliveries()} == {1}


def test_mail_waits_for_a_relay_that_goes_down_in_the_middle(
    post: Post, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    hooked = HookedSender(open_transport(smtp_url))

    def stop_at_the_fourth() -> None:
        if len(hooked.recipients) == 4:
            smtp_server.stop()

    hooked._before = stop_at_the_fourth
    post.tickets(10)
    worker = post.delivering(hooked)
    post.settle(worker)
    assert post.states() == ["sent"] * 3 + ["pending"] * 7
    assert [one.attempts for one in post.deliveries()] == [1] * 3 + [0] * 7
    smtp_server.start()
    drain_until_sent(post, worker)
    assert [one.recipients[0] for one in smtp_server.messages] == list(everybody(10))


def test_a_relay_that_is_away_is_asked_once_a_pause_however_much_mail_waits(post: Post, smtp_server: SmtpServer) -> None:
    smtp_server.set_behaviour(Behaviour(drop="connect"))
    post.tickets(120)
    post.relay()
    worker = post.delivering(f"smtp://127.0.0.1:{smtp_server.port}")
    while worker.drain():
        pass
    assert smtp_server.connections == 1
    assert post.states() == ["pending"] * 120


def test_mail_goes_on_within_fifteen_seconds_of_the_relays_return() -> None:
    sweep_seconds = 5.0
    assert delivery.RELAY_PAUSE_SECONDS + sweep_seconds <= 15


# A relay that is slow


def test_a_slow_answer_keeps_its_claim_and_nobody_sends_the_mail_again(
    post: Post, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    post.ticket()
    post.relay()
    smtp_server.set_behaviour(Behaviour(dot_delay=4.5), times=1)  # half as long again as a claim lasts
    first, second = post.delivering(smtp_url), post.delivering(smtp_url)
    thread = in_thread(first.drain)
    wait_until(lambda: post.states() == ["intent"])
    while thread.is_alive():
        assert claims.recover_expired(post.database) == 0
        assert second.drain() == 0
        time.sleep(0.1)
    assert (post.states(), len(smtp_server.transactions)) == (["sent"], 1)


def test_those_who_wait_behind_a_slow_mail_are_taken_by_another_worker(
    post: Post, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    answer = threading.Event()
    slow = HookedSender(open_transport(smtp_url), before_dot=lambda: answer.wait(60))
    post.tickets(8)
    post.relay()
    first, second = post.delivering(slow), post.delivering(smtp_url)
    thread = in_thread(first.drain)
    wait_until(lambda: "intent" in post.states())

    def have_others_gone() -> bool:
        second.drain()
        return post.states() == ["intent"] + ["sent"] * 7

    wait_until(have_others_gone)
    answer.set()
    thread.join()
    assert post.states() == ["sent"] * 8
    assert recipients(smtp_server) == everybody(8)


def test_an_outcome_is_written_although_the_next_mail_hangs(
    post: Post, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    seen: list[str] = []
    hooked = HookedSender(open_transport(smtp_url))

    def look_at_the_first() -> None:
        if len(hooked.recipients) == 2:
            seen.append(post.states()[0])
            wait_until(lambda: post.states()[0] == "sent")

    hooked._before = look_at_the_first
    post.tickets(2)
    post.settle(post.delivering(hooked))
    assert seen == ["intent"]
    assert post.states() == ["sent", "sent"]


# Several workers


def test_workers_side_by_side_send_each_mail_once(post: Post, smtp_server: SmtpServer, smtp_url: str) -> None:
    post.tickets(180)
    post.relay()

    def work() -> None:
        worker = post.delivering(smtp_url)
        while worker.drain():
            claims.recover_expired(post.database)

    threads = [in_thread(work) for _ in range(3)]
    for thread in threads:
        thread.join()
    assert recipients(smtp_server) == everybody(180)
    assert post.states() == ["sent"] * 180
    assert {one.attempts for one in post.deliveries()} == {1}


def test_a_delivery_that_others_took_over_is_left_to_them_and_the_outcome_before_it_is_kept(
    post: Post, smtp_server: SmtpServer, smtp_url: str
) -> None:
    hooked = HookedSender(open_transport(smtp_url))

    def lose_the_second() -> None:
        if len(hooked.recipients) == 2:
            post.hand_over(2, "another")

    hooked._before = lose_the_second
    post.tickets(4)
    post.settle(post.delivering(hooked))
    assert post.states() == ["sent", "claimed", "sent", "sent"]
    post.expire_claims()
    post.settle(post.delivering(smtp_url))
    assert post.states() == ["sent"] * 4
    assert recipients(smtp_server) == everybody(4)


def test_an_outcome_that_others_have_taken_over_holds_up_nothing(post: Post, smtp_server: SmtpServer, smtp_url: str) -> None:
    hooked = HookedSender(open_transport(smtp_url))

    def lose_the_first() -> None:
        if len(hooked.recipients) == 2:
            post.hand_over(1, "another")

    hooked._before = lose_the_first
    post.tickets(3)
    post.settle(post.delivering(hooked))
    assert post.states() == ["intent", "sent", "sent"]


# Stopping


def test_stopping_lets_the_mail_in_hand_end_and_gives_back_the_rest(post: Post, smtp_server: SmtpServer, smtp_url: str) -> None:
    stopping = threading.Event()
    hooked = HookedSender(open_transport(smtp_url), before=lambda: stopping.set() if len(hooked.recipients) == 3 else None)
    post.tickets(6)
    worker = post.delivering(hooked, stopping=stopping)
    post.settle(worker)
    assert post.states() == ["sent"] * 3 + ["pending"] * 3
    assert worker.drain() == 0
    post.settle(post.delivering(smtp_url))
    assert recipients(smtp_server) == everybody(6)


def test_closing_from_another_thread_waits_for_the_mail_in_hand(post: Post, smtp_server: SmtpServer, smtp_url: str) -> None:
    post.tickets(3)
    post.relay()
    smtp_server.set_behaviour(Behaviour(dot_delay=0.7), times=1)
    worker = post.delivering(smtp_url)
    thread = in_thread(worker.drain)
    wait_until(lambda: "intent" in post.states())
    worker.close()
    thread.join()
    assert post.states() == ["sent", "pending", "pending"]
    assert worker.drain() == 0
    assert b"QUIT" not in smtp_server.messages[0].content


def test_closing_does_not_wait_for_ever_for_a_relay_that_hangs(
    post: Post, smtp_server: SmtpServer, smtp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "CLOSE_TIMEOUT_SECONDS", 0.2)
    post.ticket()
    post.relay()
    smtp_server.set_behaviour(Behaviour(dot_delay=2), times=1)
    worker = post.delivering(SmtpTransport(smtp_url))
    thread = in_thread(worker.drain)
    wait_until(lambda: post.states() == ["intent"])
    begun = time.monotonic()
    worker.close()
    assert time.monotonic() - begun < 1.5
    thread.join()
    assert post.states() == ["sent"]


# A database that goes away


@ONLY_POSTGRES
def test_an_outcome_waits_for_a_database_that_is_away(
    post: Post, smtp_server: SmtpServer, smtp_url: str, postgres_server: PostgresServer
) -> None:
    restart = threading.Timer(1.5, postgres_server.start)

    def take_away() -> None:
        postgres_server.stop("immediate")
        restart.start()

    post.ticket()
    post.settle(post.delivering(HookedSender(open_transport(smtp_url), before_dot=take_away)))
    restart.join()
    assert (post.states(), len(smtp_server.transactions)) == (["sent"], 1)


@ONLY_POSTGRES
def test_a_database_that_is_restarted_between_mails_neither_loses_nor_doubles_one(
    post: Post, smtp_server: SmtpServer, smtp_url: str, postgres_server: PostgresServer
) -> None:
    hooked = HookedSender(open_transport(smtp_url))

    def restart_at_the_third() -> None:
        if len(hooked.recipients) == 3:
            postgres_server.restart("immediate")

    hooked._before = restart_at_the_third
    post.tickets(6)
    post.settle(post.delivering(hooked))
    assert post.states() == ["sent"] * 6
    assert recipients(smtp_server) == everybody(6)


# Killed


KILLS = ["notify.claimed", "notify.frozen", "notify.intent", "notify.accepted"]


@pytest.mark.parametrize("failpoint", KILLS)
def test_a_worker_killed_on_the_way_loses_no_mail_and_doubles_at_most_the_ambiguous_one(
    post: Post, smtp_server: SmtpServer, smtp_url: str, failpoint: str
) -> None:
    post.tickets(3)
    assert run_until(failpoint, post.database.url.render_as_string(hide_password=False), smtp_url, post.folder) == -signal.SIGKILL
    frozen = {one.id: one.frozen for one in post.deliveries() if one.frozen}
    assert post.states() == (["intent", "claimed", "claimed"] if failpoint in KILLS[2:] else ["claimed"] * 3)
    post.expire_claims()
    assert post.states() == (["ambiguous", "pending", "pending"] if failpoint in KILLS[2:] else ["pending"] * 3)
    post.settle(post.delivering(smtp_url))
    twice = Counter({"pat0@clinic0.example": 1}) if failpoint == "notify.accepted" else Counter()
    assert recipients(smtp_server) == everybody(3) + twice
    assert (post.states(), post.stages()) == (["sent"] * 3, [4, 4, 4])
    sent = {one.recipients[0]: one.content for one in smtp_server.messages}
    for one in post.deliveries():
        assert one.frozen == frozen.get(one.id, one.frozen) == sent[one.recipient]
    assert len({one.content for one in smtp_server.messages}) == 3


@pytest.mark.parametrize("failpoint", KILLS)
def test_a_maildir_holds_each_mail_once_wherever_a_worker_was_killed(post: Post, tmp_path: Path, failpoint: str) -> None:
    post.tickets(3)
    target, url = f"maildir:{tmp_path / 'sent'}", post.database.url.render_as_string(hide_password=False)
    assert run_until(failpoint, url, target, post.folder) == -signal.SIGKILL
    post.expire_claims()
    post.settle(post.delivering(target))
    assert (post.states(), post.stages()) == (["sent"] * 3, [4, 4, 4])
    assert len(stored(tmp_path / "sent")) == 3
    assert {one.frozen for one in post.deliveries()} == {
        content.partition(b"Delivered-To: ")[2].partition(b"\r\n")[2] for content in stored(tmp_path / "sent")
    }


def test_a_worker_that_is_not_killed_sends_everything(post: Post, smtp_server: SmtpServer, smtp_url: str) -> None:
    post.tickets(3)
    assert run_until("nowhere", post.database.url.render_as_string(hide_password=False), smtp_url, post.folder) == 0
    assert post.states() == ["sent"] * 3
