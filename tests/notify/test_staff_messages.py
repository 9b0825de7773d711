"""Letters on their way: made, sent through a real server, and what that means for the ticket."""

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
from tests.notify.conftest import MakePost
from tests.notify.post import Post
from tests.servers.smtp import Behaviour, SmtpServer
from tickets import lifecycle, staff_messages
from tickets.models import Activity, TicketContact
from tickets.staff_messages import QUESTION, RECAP_MESSAGE, REPLY

TEXT = "Hello Pat,\n\nit was paid:\nhttps://payer.example/a?b=1&c=2 <b>\n\nAda\n"
PAT = "pat@clinic.example"


@pytest.fixture
def ticket(post: Post, worker: DeliveryWorker) -> int:
    """A ticket of Pat's in 5-Audit, resolved; Ada owns it. Its own notices are out."""
    ada = post.person("ada@billing.example", manages_default_team=True)
    ticket_id = post.ticket(PAT, owner_id=ada, name="Claim")
    with post.database.write() as session:
        session.add(TicketContact(ticket_id=ticket_id, contact_id=1, role="requester"))
        data = {"message_id": "<pats.own@clinic.example>"}
        row = {"ticket_id": ticket_id, "at": clock.now(), "kind": "message_in", "actor": PAT, "title": "Claim", "data": data}
        session.execute(insert(Activity).values(row))
    post.settle(worker)
    with post.database.write() as session:
        person = session.get_one(Staff, ada)
        lifecycle.mark_follow_up_sent(session, ticket_id, person, clock.now())
        lifecycle.mark_resolved(session, ticket_id, person, clock.now())
    return ticket_id


def write(post: Post, ticket_id: int, kind: str = RECAP_MESSAGE, subject: str = "How we resolved it") -> int:
    with post.database.write() as session:
        return staff_messages.send(session, ticket_id, session.get_one(Staff, 1), kind, subject, TEXT, clock.now())


def last(server: SmtpServer) -> EmailMessage:
    message = message_from_bytes(server.messages[-1].content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_recap_that_the_server_accepts_completes_the_ticket(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int
) -> None:
    assert post.stages() == [5]
    write(post, ticket)
    post.settle(worker)
    assert post.stages() == [6]
    assert ("mark", "5-Recap of Resolution Sent", "The mail server accepted the recap") in post.timeline(ticket)
    assert last(smtp_server)["To"] == PAT


def test_a_letter_is_a_persons_mail_in_the_thread_of_the_customers_own(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int
) -> None:
    write(post, ticket, REPLY, "Re: Claim")
    post.settle(worker)
    mail = last(smtp_server)
    assert mail["Subject"] == f"Re: Claim [BS-{ticket:06}]"
    assert (mail["In-Reply-To"], mail["References"]) == ("<pats.own@clinic.example>",) * 2
    assert post.signer.verify_message_id(mail["Message-ID"]) == f"t{ticket}.d{post.deliveries()[-1].id}"
    assert str(mail["From"]).startswith('"ada, ')
    for automatic in ("Auto-Submitted", "Precedence", "X-Auto-Response-Suppress"):
        assert mail[automatic] is None


def test_both_parts_say_what_was_written_and_nothing_of_it_is_markup(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int
) -> None:
    write(post, ticket, QUESTION)
    post.settle(worker)
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
def test_a_dropped_final_dot_checks_nothing_and_the_owner_is_told(
    post: Post, worker: DeliveryWorker, smtp_server: SmtpServer, ticket: int, kind: str
) -> None:
    smtp_server.set_behaviour(Behaviour(drop="dot_lost"))
    write(post, ticket, kind)
    post.settle(worker)
    if kind == RECAP_MESSAGE:  # sent once more, the same bytes, and then left alone
        assert post.states()[-1] == "ambiguous"
        post.change(due_at=clock.now())
        post.settle(worker)
    assert post.states()[-1] == "ambiguous"
    assert post.stages() == [5]
    tried = smtp_server.transactions[1:]
    assert len({one.content for one in tried}) == 1
    assert len(tried) == (2 if kind == RECAP_MESSAGE else 1)
    (task,) = [task for task in post.tasks() if task.kind == "notice_problem"]
    assert (task.assignee_id, "may not have reached pat@clinic.example" in task.title) == (1, True)


def test_a_blocked_address_gets_no_letter_and_the_owner_hears_why(post: Post, worker: DeliveryWorker, ticket: int) -> None:
    with post.database.write() as session:
        block(session, [Block(PAT, AUTOMATIC, Reason("bounced", "Mail to it came back"), None)], clock.now())
    write(post, ticket)
    post.settle(worker)
    assert post.states()[-1] == "skipped"
    assert post.stages() == [5]
    assert [task.kind for task in post.tasks()] == ["notice_problem"]


def test_the_limits_on_answers_do_not_stop_what_people_write(make_post: MakePost, smtp_url: str) -> None:
    post = make_post(notices={"per_address_hour": 1, "per_address_day": 1})
    worker = post.delivering(smtp_url)
    post.person("ada@billing.example")
    ticket_id = post.ticket(PAT, owner_id=1)
    with post.database.write() as session:
        session.add(TicketContact(ticket_id=ticket_id, contact_id=1, role="requester"))
    post.settle(worker)
    for _ in range(3):
        write(post, ticket_id, REPLY)
    post.settle(worker)
    assert post.states() == ["sent"] * 4


def test_a_silent_ticket_does_not_keep_people_from_writing(post: Post, worker: DeliveryWorker, ticket: int) -> None:
    for _ in range(7):
        write(post, ticket, REPLY)
    post.settle(worker)
    assert set(post.states()) == {"sent"}


def test_a_text_becomes_paragraphs_of_lines() -> None:
    assert split_paragraphs("a \nb\n\n\n c\n") == [["a", "b"], [" c"]]
    assert split_paragraphs(" \n\n") == []
