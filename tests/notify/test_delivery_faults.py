"""Sending while processes die, servers hang or go down: no mail is lost, and only ambiguous mail is sent twice."""

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
from tests.notify.crash_worker import run_until
from tests.notify.harness import HookedTransport, NotifyHarness, stored
from tests.servers.postgres import PostgresServer
from tests.servers.smtp import Behaviour, SmtpServer
from tests.waiting import scale_budget, wait_until

ONLY_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten times: claims 3 s, renewed every 0.2 s; a mail is slow after 0.5 s; the relay pause is 0.3 s."""
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


def drain_until_sent(harness: NotifyHarness, worker: DeliveryWorker, seconds: float = 30) -> None:
    """Drain as the sweep does, ten times as often."""

    def is_done() -> bool:
        worker.drain()
        return set(harness.delivery_states()) == {"sent"}

    wait_until(is_done, seconds)


# A relay that is down


def test_mail_waits_for_relay_that_is_down(harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, hasty: None) -> None:
    smtp_server.stop()
    harness.add_tickets(60)
    worker = harness.open_worker(smtp_url)
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["pending"] * 60
    assert {(one.attempts, one.reason_code, one.tried_at) for one in harness.deliveries()} == {(0, None, None)}
    smtp_server.start()
    drain_until_sent(harness, worker)
    assert recipients(smtp_server) == everybody(60)
    assert {one.attempts for one in harness.deliveries()} == {1}


def test_mail_waits_for_relay_that_goes_down_during_batch(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    hooked = HookedTransport(open_transport(smtp_url))

    def stop_at_the_fourth() -> None:
        if len(hooked.recipients) == 4:
            smtp_server.stop()

    hooked._before = stop_at_the_fourth
    harness.add_tickets(10)
    worker = harness.open_worker(hooked)
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"] * 3 + ["pending"] * 7
    assert [one.attempts for one in harness.deliveries()] == [1] * 3 + [0] * 7
    smtp_server.start()
    drain_until_sent(harness, worker)
    assert [one.recipients[0] for one in smtp_server.messages] == list(everybody(10))


def test_unavailable_relay_gets_one_connection_for_each_pause(harness: NotifyHarness, smtp_server: SmtpServer) -> None:
    smtp_server.set_behaviour(Behaviour(drop="connect"))
    harness.add_tickets(120)
    harness.relay_facts()
    worker = harness.open_worker(f"smtp://127.0.0.1:{smtp_server.port}")
    while worker.drain():
        pass
    assert smtp_server.connections == 1
    assert harness.delivery_states() == ["pending"] * 120


def test_sending_resumes_within_15_seconds_of_relay_return() -> None:
    sweep_seconds = 5.0
    assert delivery.RELAY_PAUSE_SECONDS + sweep_seconds <= 15


# A relay that is slow


def test_slow_answer_keeps_claim_and_mail_is_not_sent_again(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    harness.add_ticket()
    harness.relay_facts()
    smtp_server.set_behaviour(Behaviour(dot_delay=4.5), times=1)  # half as long again as a claim lasts
    first, second = harness.open_worker(smtp_url), harness.open_worker(smtp_url)
    thread = in_thread(first.drain)
    wait_until(lambda: harness.delivery_states() == ["intent"])
    while thread.is_alive():
        assert claims.recover_expired(harness.database) == 0
        assert second.drain() == 0
        time.sleep(0.1)
    assert (harness.delivery_states(), len(smtp_server.transactions)) == (["sent"], 1)


def test_deliveries_behind_slow_mail_are_sent_by_other_worker(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    answer = threading.Event()
    slow = HookedTransport(open_transport(smtp_url), before_dot=lambda: answer.wait(scale_budget(60)))
    harness.add_tickets(8)
    harness.relay_facts()
    first, second = harness.open_worker(slow), harness.open_worker(smtp_url)
    thread = in_thread(first.drain)
    wait_until(lambda: "intent" in harness.delivery_states())

    def have_others_gone() -> bool:
        second.drain()
        return harness.delivery_states() == ["intent"] + ["sent"] * 7

    wait_until(have_others_gone)
    answer.set()
    thread.join()
    assert harness.delivery_states() == ["sent"] * 8
    assert recipients(smtp_server) == everybody(8)


def test_outcome_is_written_while_next_mail_hangs(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, hasty: None
) -> None:
    seen: list[str] = []
    hooked = HookedTransport(open_transport(smtp_url))

    def look_at_the_first() -> None:
        if len(hooked.recipients) == 2:
            seen.append(harness.delivery_states()[0])
            wait_until(lambda: harness.delivery_states()[0] == "sent")

    hooked._before = look_at_the_first
    harness.add_tickets(2)
    harness.run_until_idle(harness.open_worker(hooked))
    assert seen == ["intent"]
    assert harness.delivery_states() == ["sent", "sent"]


# Several workers


def test_concurrent_workers_send_each_mail_once(harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness.add_tickets(180)
    harness.relay_facts()

    def work() -> None:
        worker = harness.open_worker(smtp_url)
        while worker.drain():
            claims.recover_expired(harness.database)

    threads = [in_thread(work) for _ in range(3)]
    for thread in threads:
        thread.join()
    assert recipients(smtp_server) == everybody(180)
    assert harness.delivery_states() == ["sent"] * 180
    assert {one.attempts for one in harness.deliveries()} == {1}


def test_delivery_claimed_by_other_worker_is_not_sent_and_previous_outcome_is_written(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str
) -> None:
    hooked = HookedTransport(open_transport(smtp_url))

    def lose_the_second() -> None:
        if len(hooked.recipients) == 2:
            harness.claim_for_other_worker(2, "another")

    hooked._before = lose_the_second
    harness.add_tickets(4)
    harness.run_until_idle(harness.open_worker(hooked))
    assert harness.delivery_states() == ["sent", "claimed", "sent", "sent"]
    harness.expire_claims()
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert harness.delivery_states() == ["sent"] * 4
    assert recipients(smtp_server) == everybody(4)


def test_lost_claim_on_sent_delivery_does_not_stop_next_delivery(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str
) -> None:
    hooked = HookedTransport(open_transport(smtp_url))

    def lose_the_first() -> None:
        if len(hooked.recipients) == 2:
            harness.claim_for_other_worker(1, "another")

    hooked._before = lose_the_first
    harness.add_tickets(3)
    harness.run_until_idle(harness.open_worker(hooked))
    assert harness.delivery_states() == ["intent", "sent", "sent"]


# Stopping


def test_stopping_finishes_current_mail_and_releases_the_rest(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str
) -> None:
    stopping = threading.Event()
    hooked = HookedTransport(open_transport(smtp_url), before=lambda: stopping.set() if len(hooked.recipients) == 3 else None)
    harness.add_tickets(6)
    worker = harness.open_worker(hooked, stopping=stopping)
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"] * 3 + ["pending"] * 3
    assert worker.drain() == 0
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert recipients(smtp_server) == everybody(6)


def test_close_from_other_thread_waits_for_current_mail(harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness.add_tickets(3)
    harness.relay_facts()
    smtp_server.set_behaviour(Behaviour(dot_delay=0.7), times=1)
    worker = harness.open_worker(smtp_url)
    thread = in_thread(worker.drain)
    wait_until(lambda: "intent" in harness.delivery_states())
    worker.close()
    thread.join()
    assert harness.delivery_states() == ["sent", "pending", "pending"]
    assert worker.drain() == 0
    assert b"QUIT" not in smtp_server.messages[0].content


def test_close_does_not_wait_for_relay_that_hangs(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "CLOSE_TIMEOUT_SECONDS", 0.2)
    harness.add_ticket()
    harness.relay_facts()
    smtp_server.set_behaviour(Behaviour(dot_delay=2), times=1)
    worker = harness.open_worker(SmtpTransport(smtp_url))
    thread = in_thread(worker.drain)
    wait_until(lambda: harness.delivery_states() == ["intent"])
    begun = time.monotonic()
    worker.close()
    assert time.monotonic() - begun < 1.5
    thread.join()
    assert harness.delivery_states() == ["sent"]


# An unavailable database


@ONLY_POSTGRES
def test_outcome_waits_for_unavailable_database(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, postgres_server: PostgresServer
) -> None:
    restart = threading.Timer(1.5, postgres_server.start)

    def take_away() -> None:
        postgres_server.stop("immediate")
        restart.start()

    harness.add_ticket()
    harness.run_until_idle(harness.open_worker(HookedTransport(open_transport(smtp_url), before_dot=take_away)))
    restart.join()
    assert (harness.delivery_states(), len(smtp_server.transactions)) == (["sent"], 1)


@ONLY_POSTGRES
def test_database_restart_between_mails_neither_loses_nor_repeats_mail(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, postgres_server: PostgresServer
) -> None:
    hooked = HookedTransport(open_transport(smtp_url))

    def restart_at_the_third() -> None:
        if len(hooked.recipients) == 3:
            postgres_server.restart("immediate")

    hooked._before = restart_at_the_third
    harness.add_tickets(6)
    harness.run_until_idle(harness.open_worker(hooked))
    assert harness.delivery_states() == ["sent"] * 6
    assert recipients(smtp_server) == everybody(6)


# Killed


KILLS = ["notify.claimed", "notify.frozen", "notify.intent", "notify.accepted"]


@pytest.mark.parametrize("failpoint", KILLS)
def test_killed_worker_loses_no_mail_and_repeats_only_ambiguous_mail(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str, failpoint: str
) -> None:
    harness.add_tickets(3)
    assert (
        run_until(failpoint, harness.database.url.render_as_string(hide_password=False), smtp_url, harness.folder)
        == -signal.SIGKILL
    )
    frozen = {one.id: one.frozen for one in harness.deliveries() if one.frozen}
    assert harness.delivery_states() == (["intent", "claimed", "claimed"] if failpoint in KILLS[2:] else ["claimed"] * 3)
    harness.expire_claims()
    assert harness.delivery_states() == (["ambiguous", "pending", "pending"] if failpoint in KILLS[2:] else ["pending"] * 3)
    harness.run_until_idle(harness.open_worker(smtp_url))
    twice = Counter({"pat0@clinic0.example": 1}) if failpoint == "notify.accepted" else Counter()
    assert recipients(smtp_server) == everybody(3) + twice
    assert (harness.delivery_states(), harness.ticket_stages()) == (["sent"] * 3, [4, 4, 4])
    sent = {one.recipients[0]: one.content for one in smtp_server.messages}
    for one in harness.deliveries():
        assert one.frozen == frozen.get(one.id, one.frozen) == sent[one.recipient]
    assert len({one.content for one in smtp_server.messages}) == 3


@pytest.mark.parametrize("failpoint", KILLS)
def test_maildir_holds_each_mail_once_after_killed_worker(harness: NotifyHarness, tmp_path: Path, failpoint: str) -> None:
    harness.add_tickets(3)
    target, url = f"maildir:{tmp_path / 'sent'}", harness.database.url.render_as_string(hide_password=False)
    assert run_until(failpoint, url, target, harness.folder) == -signal.SIGKILL
    harness.expire_claims()
    harness.run_until_idle(harness.open_worker(target))
    assert (harness.delivery_states(), harness.ticket_stages()) == (["sent"] * 3, [4, 4, 4])
    assert len(stored(tmp_path / "sent")) == 3
    assert {one.frozen for one in harness.deliveries()} == {
        content.partition(b"Delivered-To: ")[2].partition(b"\r\n")[2] for content in stored(tmp_path / "sent")
    }


def test_worker_without_failpoint_sends_everything(harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness.add_tickets(3)
    assert run_until("nowhere", harness.database.url.render_as_string(hide_password=False), smtp_url, harness.folder) == 0
    assert harness.delivery_states() == ["sent"] * 3
