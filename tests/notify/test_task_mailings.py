"""What people are told when a rule raises a task or a ticket changes hands: the mails as they arrive."""

from __future__ import annotations

from datetime import timedelta
from email.message import EmailMessage

import pytest

from core import clock
from notify.delivery import DeliveryWorker
from tests.notify.post import Post, mail
from tests.servers.smtp import SmtpServer
from tests.tickets.staff_actions import assign_ticket, mark
from tests.tickets.world import World, dana_mail
from tickets import lifecycle, timers

CANARY = "CANARY"
ADA, BEN, MAX, OLGA = (f"{name}@billing.example" for name in ("ada", "ben", "max", "olga"))


@pytest.fixture
def desk(post: Post) -> World:
    """Ada consults for Lakeside, which Max manages; Olga manages the default team, Ben is there too."""
    world = World(post.database, post.settings)
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.staff("Ben")
    world.team("billing", default=True, manager=world.staff("Olga", role="manager"))
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    return world


def opened(desk: World, days: int) -> None:
    """A ticket of Ada that was opened days ago, and whatever is due on it by now."""
    desk.receive(dana_mail(subject=CANARY, text=CANARY, reasons=()), now=clock.now() - timedelta(days=days))
    while timers.sweep(desk.database, desk.settings.calendar):
        pass


def about(smtp_server: SmtpServer, subject: str) -> list[tuple[str, EmailMessage]]:
    """Recipient and mail, of all whose subject begins so."""
    mails = [(one.recipients[0], mail(one.content)) for one in smtp_server.messages]
    return [(recipient, one) for recipient, one in mails if str(one["Subject"]).startswith(subject)]


def bodies(message: EmailMessage) -> tuple[str, str]:
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None and html is not None
    return plain.get_content(), html.get_content()


def test_the_owner_is_reminded_by_mail_once(desk: World, post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    opened(desk, days=2)
    for _ in range(2):
        post.settle(worker)
        timers.sweep(desk.database, desk.settings.calendar)
    ((recipient, message),) = about(smtp_server, "Please follow up")
    assert recipient == ADA
    assert message["Subject"] == "Please follow up with the customer [BS-000001]"
    for body in bodies(message):
        for words in ("BS-000001", "Lakeside", "Ada", "4-Support Follow Up Sent", "casemill ticket follow-up-sent BS-000001"):
            assert words in body


def test_the_companys_manager_is_told_of_an_escalation_and_who_owns_the_ticket(
    desk: World, post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    opened(desk, days=3)
    post.settle(worker)
    ((recipient, message),) = about(smtp_server, "Escalation")
    assert (recipient, message["Subject"]) == (MAX, "Escalation: not resolved in time [BS-000001]")
    for body in bodies(message):
        for words in ("BS-000001", "Lakeside", "Ada", "casemill ticket assign BS-000001"):
            assert words in body


def test_without_a_company_the_default_teams_manager_is_told(
    desk: World, post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    stranger = dana_mail(email="lee@elsewhere.example")
    desk.receive(stranger, now=clock.now() - timedelta(days=3))
    timers.sweep(desk.database, desk.settings.calendar)
    post.settle(worker)
    told = [*about(smtp_server, "Escalation"), *about(smtp_server, "Please follow up")]
    assert [recipient for recipient, _ in told] == [OLGA, OLGA]
    for _, message in told:
        for body in bodies(message):
            assert "not known yet" in body and "no owner yet" in body


def test_what_was_done_in_time_is_mailed_about_to_nobody(
    desk: World, post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    desk.receive(dana_mail(), now=clock.now() - timedelta(days=3))
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved):
        mark(desk, verb, at=clock.now())
    assert timers.sweep(desk.database, desk.settings.calendar) == 0
    post.settle(worker)
    assert sorted(one.recipients[0] for one in smtp_server.messages) == [ADA, "dana@lakeside.example"]


def test_no_word_of_the_customer_is_in_a_mail_about_a_task(
    desk: World, post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    opened(desk, days=3)
    post.settle(worker)
    told = [*about(smtp_server, "Escalation"), *about(smtp_server, "Please follow up")]
    assert len(told) == 2
    for _, message in told:
        assert CANARY not in "".join((str(message["Subject"]), *bodies(message)))


def test_the_new_owner_is_told_of_a_handing_over_with_its_reason(
    desk: World, post: Post, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    opened(desk, days=0)
    post.settle(worker)
    assign_ticket(desk, "Ben", by="Ada", reason="You know their payer", at=clock.now())
    post.settle(worker)
    first, second = about(smtp_server, "A new ticket is yours")
    assert (first[0], second[0]) == (ADA, BEN)
    assert all("You know their payer" in body for body in bodies(second[1]))
