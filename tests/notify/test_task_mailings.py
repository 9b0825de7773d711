"""The mails for raised tasks and assignments, as they arrive."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage

import pytest

from core import clock
from notify.delivery import DeliveryWorker
from tests.notify.harness import NotifyHarness, mail
from tests.servers.smtp import SmtpServer
from tests.tickets.staff_actions import assign_ticket, mark
from tests.tickets.world import World, dana_mail
from tickets import lifecycle, timers

CANARY = "CANARY"
ADA, BEN, MAX, OLGA = (f"{name}@billing.example" for name in ("ada", "ben", "max", "olga"))


@pytest.fixture
def world(harness: NotifyHarness) -> World:
    """Ada is Lakeside's consultant and Max its manager; Olga manages the default team, to which Ben belongs."""
    world = World(harness.database, harness.settings)
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.staff("Ben")
    world.team("billing", default=True, manager=world.staff("Olga", role="manager"))
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    return world


def opened(world: World, days: int) -> None:
    """Add a ticket of Ada that was opened days ago, and run the timers."""
    world.receive(dana_mail(subject=CANARY, text=CANARY, reasons=()), now=clock.now() - timedelta(days=days))
    while timers.sweep(world.database, world.settings.calendar):
        pass


def about(smtp_server: SmtpServer, subject: str) -> list[tuple[str, EmailMessage]]:
    """Return recipient and mail for each mail whose subject begins with `subject`."""
    mails = [(one.recipients[0], mail(one.content)) for one in smtp_server.messages]
    return [(recipient, one) for recipient, one in mails if str(one["Subject"]).startswith(subject)]


def bodies(message: EmailMessage) -> tuple[str, str]:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None and html is not None
    return plain.get_content(), html.get_content()


def test_owner_gets_reminder_mail_once(
    world: World, harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    opened(world, days=2)
    for _ in range(2):
        harness.run_until_idle(worker)
        timers.sweep(world.database, world.settings.calendar)
    ((recipient, message),) = about(smtp_server, "Please follow up")
    assert recipient == ADA
    assert message["Subject"] == "Please follow up with the customer [BS-000001]"
    for body in bodies(message):
        for words in ("BS-000001", "Lakeside", "Ada", "4-Support Follow Up Sent", "casemill ticket follow-up-sent BS-000001"):
            assert words in body


def test_company_manager_gets_escalation_mail_naming_owner(
    world: World, harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    opened(world, days=3)
    harness.run_until_idle(worker)
    ((recipient, message),) = about(smtp_server, "Escalation")
    assert (recipient, message["Subject"]) == (MAX, "Escalation: not resolved in time [BS-000001]")
    for body in bodies(message):
        for words in ("BS-000001", "Lakeside", "Ada", "casemill ticket assign BS-000001"):
            assert words in body


def test_ticket_without_company_escalates_to_default_teams_manager(
    world: World, harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    stranger = dana_mail(email="lee@elsewhere.example")
    world.receive(stranger, now=clock.now() - timedelta(days=3))
    timers.sweep(world.database, world.settings.calendar)
    harness.run_until_idle(worker)
    told = [*about(smtp_server, "Escalation"), *about(smtp_server, "Please follow up")]
    assert [recipient for recipient, _ in told] == [OLGA, OLGA]
    for _, message in told:
        for body in bodies(message):
            assert "not known yet" in body and "no owner yet" in body


def test_tasks_done_in_time_send_no_mail(
    world: World, harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    world.receive(dana_mail(), now=clock.now() - timedelta(days=3))
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved):
        mark(world, verb, at=clock.now())
    assert timers.sweep(world.database, world.settings.calendar) == 0
    harness.run_until_idle(worker)
    assert sorted(one.recipients[0] for one in smtp_server.messages) == [ADA, "dana@lakeside.example"]


def test_task_mails_contain_no_customer_text(
    world: World, harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    opened(world, days=3)
    harness.run_until_idle(worker)
    told = [*about(smtp_server, "Escalation"), *about(smtp_server, "Please follow up")]
    assert len(told) == 2
    for _, message in told:
        assert CANARY not in "".join((str(message["Subject"]), *bodies(message)))


def test_new_owner_gets_assignment_mail_with_reason(
    world: World, harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    opened(world, days=0)
    harness.run_until_idle(worker)
    assign_ticket(world, "Ben", by="Ada", reason="You know their payer", at=clock.now())
    harness.run_until_idle(worker)
    first, second = about(smtp_server, "A new ticket is yours")
    assert (first[0], second[0]) == (ADA, BEN)
    assert all("You know their payer" in body for body in bodies(second[1]))
