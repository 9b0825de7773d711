"""The daily digest: one a person and day, in their morning, without customer text."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from accounts.models import Staff
from core.settings.sections import Calendar
from notify import digests
from notify.delivery import DeliveryWorker
from notify.models import Delivery
from tests.notify.harness import NotifyHarness, mail
from tests.servers.smtp import SmtpServer
from tests.tickets.staff_actions import clock_at
from tests.tickets.world import World, dana_mail

CANARY = "CANARY"
MORNING = datetime(2026, 11, 23, 15, tzinfo=UTC)  # Monday, 10:00 in New York


def made(harness: NotifyHarness) -> list[Delivery]:
    with harness.database.read() as session:
        statement = select(Delivery).where(Delivery.mailing == "digest").order_by(Delivery.id)
        return list(session.execute(statement).scalars())


def sweep(harness: NotifyHarness, at: datetime = MORNING) -> int:
    with clock_at(at):
        return digests.sweep(harness.database, harness.settings.calendar)


@pytest.fixture
def desk(harness: NotifyHarness) -> World:
    """Ada gets the digest and owns a ticket of Lakeside; the manager Max gets it too, Ben does not."""
    world = World(harness.database, harness.settings)
    ada = world.staff("Ada", digest=True)
    world.staff("Ben")
    world.staff("Max", role="manager", digest=True)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    world.receive(dana_mail(subject=CANARY, text=CANARY), now=MORNING - timedelta(days=1))
    return world


def test_digest_is_created_once_a_day_for_subscribers_and_empty_digest_is_skipped(desk: World, harness: NotifyHarness) -> None:
    assert [sweep(harness), sweep(harness)] == [2, 0]
    assert [(row.recipient, row.state, row.reason_code) for row in made(harness)] == [
        ("ada@billing.example", "pending", None),
        ("max@billing.example", "skipped", "nothing_to_say"),
    ]
    assert sweep(harness, MORNING + timedelta(days=1)) == 2


def test_digest_shows_number_company_stage_and_age_but_no_customer_text(
    desk: World, harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    desk.receive(dana_mail(email="x@elsewhere.example", subject=CANARY, text=CANARY), now=MORNING)
    sweep(harness)
    harness.run_until_idle(worker)
    digest = {one.recipients[0]: one for one in smtp_server.messages if b"Your day" in one.content}
    assert set(digest) == {"ada@billing.example", "max@billing.example"}
    for address, words in (("ada", ("Lakeside", "1 day", "1-Submitted")), ("max", ("Tickets without an owner", "BS-000002"))):
        content = digest[f"{address}@billing.example"].content
        assert CANARY.encode() not in content
        plain = mail(content).get_body(("plain",))
        assert plain is not None
        for word in words:
            assert word in plain.get_content()


def test_two_schedulers_at_once_create_one_digest_each_person(desk: World, harness: NotifyHarness) -> None:
    gate = threading.Barrier(2)

    def run() -> None:
        gate.wait()
        digests.sweep(harness.database, harness.settings.calendar)

    with clock_at(MORNING):
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(made(harness)) == 2


def test_absent_staff_get_no_digest(desk: World, harness: NotifyHarness) -> None:
    desk.away(1, MORNING - timedelta(days=1), MORNING + timedelta(days=1))
    assert sweep(harness) == 1


@pytest.mark.parametrize(
    ("at", "due"),
    [
        ("2026-11-23T12:29:00", False),  # Monday 07:29 in New York
        ("2026-11-23T12:30:00", True),
        ("2026-11-23T22:59:00", True),  # found late, but still at work
        ("2026-11-23T23:00:00", False),
        ("2026-11-21T15:00:00", False),  # a Saturday
        ("2026-11-26T15:00:00", False),  # a holiday
    ],
)
def test_digest_is_due_from_set_time_to_end_of_work_on_working_days(at: str, due: bool) -> None:
    from datetime import date, time

    person = Staff(active=True, digest=True, zone="America/New_York", weekdays="01234", starts=time(8), ends=time(18))
    calendar = Calendar(holidays=[date(2026, 11, 26)])
    assert digests.is_due(person, calendar, datetime.fromisoformat(at).replace(tzinfo=UTC)) is due
