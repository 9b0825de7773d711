"""Rate limits: the rules, and the counts behind them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from accounts import suppressions
from accounts.suppressions import Suppression
from core import clock
from core.settings import Settings
from core.settings.sections import Notices
from notify import rate_limit_counts
from notify.rate_limit_counts import DelayedQueue, RateLimitCounts
from tests.notify.conftest import MakeHarness
from tests.notify.harness import NotifyHarness
from tests.servers.smtp import Behaviour, SmtpServer

NOW = datetime(2026, 3, 2, 15, tzinfo=UTC)
PAT, CLINIC = "pat@clinic.example", "clinic.example"


def decide(counts: RateLimitCounts, domain: str = CLINIC) -> tuple[str, str]:
    decision = rate_limit_counts.decide(9, 1, PAT, domain, counts, Notices(), NOW)
    return decision.action, decision.reason.code if decision.reason else ""


def counts_after(times: int) -> RateLimitCounts:
    counts = RateLimitCounts()
    for ticket_id in range(100, 100 + times):
        counts.add(ticket_id, PAT, CLINIC)
    return counts


# The rules


@pytest.mark.parametrize(("before", "expected"), [(0, ("send", "")), (2, ("send", "")), (3, ("skip", "address_limit"))])
def test_address_gets_three_mails_an_hour(before: int, expected: tuple[str, str]) -> None:
    assert decide(counts_after(before)) == expected


@pytest.mark.parametrize(("before", "expected"), [(9, ("send", "")), (10, ("skip", "address_limit"))])
def test_address_gets_ten_mails_a_day(before: int, expected: tuple[str, str]) -> None:
    counts = RateLimitCounts()
    counts.address_day[PAT] = before
    assert decide(counts) == expected


@pytest.mark.parametrize(("before", "expected"), [(9, ("send", "")), (10, ("skip", "ticket_limit"))])
def test_ticket_sends_recipient_ten_mails_in_ten_minutes(before: int, expected: tuple[str, str]) -> None:
    counts = RateLimitCounts()
    counts.ticket_ten_minutes[1, PAT] = before
    assert decide(counts) == expected


@pytest.mark.parametrize(
    ("domain", "before", "expected"),
    [
        (CLINIC, 99, ("send", "")),
        (CLINIC, 100, ("delay", "domain_limit")),
        ("gmail.com", 100, ("send", "")),
        ("gmail.com", 999, ("send", "")),
        ("gmail.com", 1000, ("delay", "domain_limit")),
    ],
)
def test_public_domain_has_higher_limit_than_other_domain(domain: str, before: int, expected: tuple[str, str]) -> None:
    counts = RateLimitCounts()
    counts.domain_hour[domain] = before
    assert decide(counts, domain) == expected


@pytest.mark.parametrize(("before", "expected"), [(1999, ("send", "")), (2000, ("delay", "total_limit"))])
def test_all_mail_together_has_hourly_limit(before: int, expected: tuple[str, str]) -> None:
    assert decide(RateLimitCounts(total_hour=before)) == expected


def test_delayed_mail_is_due_when_oldest_counted_mail_is_an_hour_old() -> None:
    counts = RateLimitCounts(total_hour=2000, total_since=NOW - timedelta(minutes=20))
    assert rate_limit_counts.decide(9, 1, PAT, CLINIC, counts, Notices(), NOW).until == NOW + timedelta(minutes=40)


def test_delayed_mail_waits_at_least_a_minute() -> None:
    counts = RateLimitCounts(total_hour=2000, total_since=NOW - timedelta(minutes=59, seconds=59))
    assert rate_limit_counts.decide(9, 1, PAT, CLINIC, counts, Notices(), NOW).until == NOW + rate_limit_counts.MIN_DELAY


def test_zero_means_no_limit_and_ignores_earlier_queues() -> None:
    queue = DelayedQueue(5, NOW + timedelta(minutes=7))
    counts = RateLimitCounts(total_hour=10**6, total_queue=queue, domain_queues={CLINIC: queue, "gmail.com": queue})
    counts.domain_hour[CLINIC] = counts.domain_hour["gmail.com"] = 10**6
    unlimited = Notices(total_hour=0, per_domain_hour=0, per_public_domain_hour=0)
    for domain in (CLINIC, "gmail.com"):
        assert rate_limit_counts.decide(6, 1, PAT, domain, counts, unlimited, NOW) == rate_limit_counts.SEND


def test_domains_without_limit_are_not_counted(make_harness: MakeHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness = make_harness(notices={"total_hour": 0, "per_domain_hour": 0})
    for number in range(3):
        harness.add_ticket(f"pat{number}@busy.example")
    harness.add_ticket("kim@gmail.com")
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert harness.delivery_states() == ["sent"] * 4
    domains = ["busy.example", "gmail.com"]
    with harness.database.read() as session:
        counts = rate_limit_counts.load_counts(session, [], domains, [], harness.settings.notices, clock.now())
    assert (counts.total_hour, dict(counts.domain_hour)) == (0, {"gmail.com": 1})


@pytest.mark.parametrize("whole", [True, False])
def test_newer_mail_does_not_overtake_delayed_mail(whole: bool) -> None:
    queue = DelayedQueue(5, NOW + timedelta(minutes=7))
    counts = RateLimitCounts(total_queue=queue) if whole else RateLimitCounts(domain_queues={CLINIC: queue})
    older, newer = (rate_limit_counts.decide(number, 1, PAT, CLINIC, counts, Notices(), NOW) for number in (4, 6))
    assert older == rate_limit_counts.SEND
    assert (newer.action, newer.until) == ("delay", queue.due_at)


def test_queue_of_one_domain_does_not_delay_other_domain() -> None:
    counts = RateLimitCounts(domain_queues={"busy.example": DelayedQueue(1, NOW)})
    assert decide(counts) == ("send", "")


@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 12))
def test_never_more_mails_than_limits_allow(asked: int, hourly: int, daily: int) -> None:
    settings = Notices(per_address_hour=hourly, per_address_day=daily, per_ticket_ten_minutes=100)
    counts, sent = RateLimitCounts(), 0
    for number in range(asked):
        if rate_limit_counts.decide(number, number, PAT, CLINIC, counts, settings, NOW) == rate_limit_counts.SEND:
            counts.add(number, PAT, CLINIC)
            sent += 1
    assert sent == min(asked, hourly, daily)


# Addresses that never get automatic mail


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("", "no_address"),
        ("blocked@clinic.example", "suppressed"),
        ("support@casemill.example", "own_address"),
        ("care@box.example", "own_address"),
        ("old@casemill.example", "own_address"),
        ("never@clinic.example", "never_answer"),
        ("anybody@robots.example", "never_answer"),
        (PAT, None),
    ],
)
def test_address_without_automatic_mail_is_skipped_with_reason(recipient: str, code: str | None) -> None:
    settings = Settings.model_validate({
        "mailboxes": {"care": {"host": "imap.box.example", "user": "care", "password": "x", "address": "care@box.example"}},
        "notices": {"own_addresses": ["old@casemill.example"], "never_answer": ["never@clinic.example", "robots.example"]},
    })  # fmt: skip
    own, domain = rate_limit_counts.own_addresses(settings), recipient.rpartition("@")[2]
    refused = rate_limit_counts.check_address(recipient, own, {"blocked@clinic.example"})
    refused = refused or rate_limit_counts.check_never_answer(recipient, domain, settings.notices)
    assert (refused and refused.reason and refused.reason.code) == code


def test_address_block_ends_at_its_time(harness: NotifyHarness) -> None:
    now = clock.now()
    with harness.database.write() as session:
        for name, until in (("past", -1), ("soon", 1)):
            ends = now + timedelta(hours=until)
            session.add(Suppression(address=f"{name}@x.example", code="bounce", reason="It bounced", until=ends, created_at=now))
        session.add(Suppression(address="ever@x.example", code="bounce", reason="It bounced", until=None, created_at=now))
    with harness.database.read() as session:
        names = ["past@x.example", "soon@x.example", "ever@x.example", "other@x.example"]
        assert suppressions.find_blocked(session, names, now) == {"soon@x.example", "ever@x.example"}


# With a database and a mail server


def test_fourth_notice_to_address_within_an_hour_is_skipped(
    harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str
) -> None:
    ids = [harness.add_ticket() for _ in range(5)]
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert harness.delivery_states() == ["sent"] * 3 + ["skipped"] * 2
    assert len(smtp_server.messages) == 3
    assert harness.ticket_stages() == [4] * 5
    assert harness.timeline(ids[4])[0] == (
        "notice", "Creation notice not sent", "The limit of 3 automatic mails an hour to one address is reached",
    )  # fmt: skip


def test_counts_survive_restart(make_harness: MakeHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    first = make_harness()
    for _ in range(3):
        first.add_ticket()
    first.run_until_idle(first.open_worker(smtp_url))
    first.close()
    second = make_harness()
    second.add_ticket()
    second.run_until_idle(second.open_worker(smtp_url))
    assert second.delivery_states() == ["sent"] * 3 + ["skipped"]


def test_hourly_limit_resets_until_daily_limit_is_reached(harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    worker = harness.open_worker(smtp_url)
    with time_machine.travel(NOW, tick=False) as traveller:
        for _ in range(5):
            for _ in range(3):
                harness.add_ticket()
            harness.run_until_idle(worker)
            traveller.shift(timedelta(minutes=61))
    assert harness.delivery_states().count("sent") == 10
    assert {one.reason for one in harness.deliveries()[10:]} == {
        "The limit of 10 automatic mails a day to one address is reached"
    }


def test_mail_to_staff_is_neither_limited_nor_counted(make_harness: MakeHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness = make_harness(notices={"total_hour": 2, "per_domain_hour": 2})
    worker, ana = harness.open_worker(smtp_url), harness.add_staff("ana@clinic.example")
    ticket_id = harness.add_ticket(answer=False)
    for _ in range(8):
        harness.assign_ticket(ticket_id, ana)
    harness.run_until_idle(worker)
    for name in ("pat", "kim", "lee"):
        harness.add_ticket(f"{name}@clinic.example")
    harness.assign_ticket(ticket_id, ana)
    harness.run_until_idle(worker)
    staff, outside = ([one.state for one in harness.deliveries() if one.outside is side] for side in (False, True))
    assert staff == ["sent"] * 9
    assert outside == ["skipped", "sent", "sent", "pending"]


def test_domain_at_its_limit_delays_only_its_own_mail(make_harness: MakeHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness = make_harness(notices={"per_domain_hour": 2})
    for number in range(4):
        harness.add_ticket(f"pat{number}@busy.example")
    harness.add_ticket("kim@calm.example")
    harness.run_until_idle(harness.open_worker(smtp_url))
    assert harness.delivery_states() == ["sent", "sent", "pending", "pending", "sent"]
    assert harness.ticket_stages() == [4, 4, 1, 1, 4]
    assert harness.deliveries()[2].reason_code == "domain_limit"


def test_delayed_domain_mail_is_sent_in_order_before_newer_mail(
    make_harness: MakeHarness, smtp_server: SmtpServer, smtp_url: str
) -> None:
    harness = make_harness(notices={"per_domain_hour": 2})
    worker = harness.open_worker(smtp_url)
    with time_machine.travel(NOW, tick=False) as traveller:
        for number in range(4):
            harness.add_ticket(f"pat{number}@busy.example")
        harness.run_until_idle(worker)
        traveller.shift(timedelta(minutes=30))
        harness.add_ticket("pat4@busy.example")
        harness.run_until_idle(worker)
        for _ in range(6):
            traveller.shift(timedelta(minutes=31))
            harness.run_until_idle(worker)
    assert [one.recipients[0] for one in smtp_server.messages] == [f"pat{number}@busy.example" for number in range(5)]
    assert harness.delivery_states() == ["sent"] * 5


def test_mail_delayed_by_total_limit_is_sent_in_order(make_harness: MakeHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness = make_harness(notices={"total_hour": 60})
    worker = harness.open_worker(smtp_url)
    with time_machine.travel(NOW, tick=False) as traveller:
        harness.add_tickets(130)
        harness.run_until_idle(worker)
        assert len(smtp_server.messages) == 60
        for _ in range(5):
            traveller.shift(timedelta(minutes=61))
            harness.run_until_idle(worker)
    assert [one.recipients[0] for one in smtp_server.messages] == [f"pat{n}@clinic{n}.example" for n in range(130)]


def test_two_workers_at_once_send_no_more_than_limit(make_harness: MakeHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    harness = make_harness(notices={"per_address_day": 100})
    for _ in range(200):
        harness.add_ticket()
    harness.relay_facts()
    workers = [harness.open_worker(smtp_url) for _ in range(3)]

    def work(number: int) -> None:
        while workers[number].drain():
            pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(smtp_server.messages) == 3
    assert sorted(set(harness.delivery_states())) == ["sent", "skipped"]


def test_deferred_mail_does_not_count_toward_limit(harness: NotifyHarness, smtp_server: SmtpServer, smtp_url: str) -> None:
    smtp_server.set_behaviour(Behaviour(rcpt="450 4.2.0 greylisted"), times=2)
    worker = harness.open_worker(smtp_url)
    for _ in range(2):
        harness.add_ticket()
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["pending"] * 2
    for _ in range(3):
        harness.add_ticket()
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["pending"] * 2 + ["sent"] * 3
    harness.update_deliveries(due_at=clock.now())
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["skipped"] * 2 + ["sent"] * 3
