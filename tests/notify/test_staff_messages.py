"""Staff messages sent through a real server, and their effect on the ticket."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from sqlalchemy import insert

from accounts.models import Staff
from accounts.suppressions import AUTOMATIC, Block, block
from core import clock
from core.reasons import Reason
from notify.delivery import DeliveryWorker
from notify.staff_messages import split_paragraphs
from tests.notify.conftest import MakeHarness
from tests.notify.harness import NotifyHarness
from tests.servers.smtp import Behaviour, SmtpServer
from tickets import lifecycle, staff_messages
from tickets.models import Activity, TicketContact
from tickets.staff_messages import QUESTION, RECAP_MESSAGE, REPLY

TEXT = "Hello Pat,\n\nit was paid:\nhttps://payer.example/a?b=1&c=2 <b>\n\nAda\n"
PAT = "pat@clinic.example"


@pytest.fixture
def ticket(harness: NotifyHarness, worker: DeliveryWorker) -> int:
    """Add a resolved ticket of Pat's in 5-Audit, owned by Ada, whose own notices are sent."""
    ada = harness.add_staff("ada@billing.example", manages_default_team=True)
    ticket_id = harness.add_ticket(PAT, owner_id=ada, name="Claim")
    with harness.database.write() as session:
        session.add(TicketContact(ticket_id=ticket_id, contact_id=1, role="requester"))
        data = {"message_id": "<pats.own@clinic.example>"}
        row = {"ticket_id": ticket_id, "at": clock.now(), "kind": "message_in", "actor": PAT, "title": "Claim", "data": data}
        session.execute(insert(Activity).values(row))
    harness.run_until_idle(worker)
    with harness.database.write() as session:
        person = session.get_one(Staff, ada)
        lifecycle.mark_follow_up_sent(session, ticket_id, person, clock.now())
        lifecycle.mark_resolved(session, ticket_id, person, clock.now())
    return ticket_id


def write(harness: NotifyHarness, ticket_id: int, kind: str = RECAP_MESSAGE, subject: str = "How we resolved it") -> int:
    with harness.database.write() as session:
        return staff_messages.send(session, ticket_id, session.get_one(Staff, 1), kind, subject, TEXT, clock.now())


def last(server: SmtpServer) -> EmailMessage:
    message = message_from_bytes(server.messages[-1].content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_accepted_recap_completes_ticket(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int
) -> None:
    assert harness.ticket_stages() == [5]
    write(harness, ticket)
    harness.run_until_idle(worker)
    assert harness.ticket_stages() == [6]
    assert ("mark", "5-Recap of Resolution Sent", "The mail server accepted the recap") in harness.timeline(ticket)
    assert last(smtp_server)["To"] == PAT


def test_staff_message_is_not_automatic_and_continues_customers_thread(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int
) -> None:
    write(harness, ticket, REPLY, "Re: Claim")
    harness.run_until_idle(worker)
    mail = last(smtp_server)
    assert mail["Subject"] == f"Re: Claim [BS-{ticket:06}]"
    assert (mail["In-Reply-To"], mail["References"]) == ("<pats.own@clinic.example>",) * 2
    assert harness.signer.verify_message_id(mail["Message-ID"]) == f"t{ticket}.d{harness.deliveries()[-1].id}"
    assert str(mail["From"]).startswith('"ada, ')
    for automatic in ("Auto-Submitted", "Precedence", "X-Auto-Response-Suppress"):
        assert mail[automatic] is None


def test_both_parts_show_written_text_without_interpreting_markup(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int
) -> None:
    write(harness, ticket, QUESTION)
    harness.run_until_idle(worker)
    mail = last(smtp_server)
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert page is not None
    assert TEXT.strip() in text.get_content().replace("\r\n", "\n")
    html = page.get_content()
    assert '<a href="https://payer.example/a?b=1&amp;c=2"' in html.replace(' rel="noopener noreferrer"', "")
    assert "&lt;b&gt;" in html
    assert "it was paid:<br>" in html


@pytest.mark.parametrize("kind", [RECAP_MESSAGE, REPLY])
def test_ambiguous_recap_checks_no_box_and_gives_owner_task(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int, kind: str
) -> None:
    smtp_server.set_behaviour(Behaviour(drop="dot_lost"))
    write(harness, ticket, kind)
    harness.run_until_idle(worker)
    if kind == RECAP_MESSAGE:  # sent once more, the same bytes, and then left alone
        assert harness.delivery_states()[-1] == "ambiguous"
        harness.update_deliveries(due_at=clock.now())
        harness.run_until_idle(worker)
    assert harness.delivery_states()[-1] == "ambiguous"
    assert harness.ticket_stages() == [5]
    tried = smtp_server.transactions[1:]
    assert len({one.content for one in tried}) == 1
    assert len(tried) == (2 if kind == RECAP_MESSAGE else 1)
    (task,) = [task for task in harness.tasks() if task.kind == "notice_problem"]
    assert (task.assignee_id, "may not have reached pat@clinic.example" in task.title) == (1, True)


def test_blocked_address_gets_no_staff_message_and_owner_gets_task(
    harness: NotifyHarness, worker: DeliveryWorker, ticket: int
) -> None:
    with harness.database.write() as session:
        block(session, [Block(PAT, AUTOMATIC, Reason("bounced", "Mail to it came back"), None)], clock.now())
    write(harness, ticket)
    harness.run_until_idle(worker)
    assert harness.delivery_states()[-1] == "skipped"
    assert harness.ticket_stages() == [5]
    assert [task.kind for task in harness.tasks()] == ["notice_problem"]


def test_limits_do_not_stop_staff_messages(make_harness: MakeHarness, smtp_url: str) -> None:
    harness = make_harness(notices={"per_address_hour": 1, "per_address_day": 1})
    worker = harness.open_worker(smtp_url)
    harness.add_staff("ada@billing.example")
    ticket_id = harness.add_ticket(PAT, owner_id=1)
    with harness.database.write() as session:
        session.add(TicketContact(ticket_id=ticket_id, contact_id=1, role="requester"))
    harness.run_until_idle(worker)
    for _ in range(3):
        write(harness, ticket_id, REPLY)
    harness.run_until_idle(worker)
    assert harness.delivery_states() == ["sent"] * 4


def test_silenced_ticket_still_sends_staff_messages(harness: NotifyHarness, worker: DeliveryWorker, ticket: int) -> None:
    for _ in range(7):
        write(harness, ticket, REPLY)
    harness.run_until_idle(worker)
    assert set(harness.delivery_states()) == {"sent"}


def test_text_is_split_into_paragraphs_of_lines() -> None:
    assert split_paragraphs("a \nb\n\n\n c\n") == [["a", "b"], [" c"]]
    assert split_paragraphs(" \n\n") == []
