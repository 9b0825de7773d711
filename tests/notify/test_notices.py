"""What the mail itself says, as the other side gets it: whose it is, that a machine sent it, and nothing of what arrived."""

from __future__ import annotations

from core import clock
from core.signing import Signer
from notify.delivery import DeliveryWorker
from tests.notify.conftest import MakePost
from tests.notify.post import Post, mail
from tests.notify.scripted import ScriptedServer
from tests.servers.smtp import SmtpServer
from tickets import intake
from tickets.submission import Submission, TicketSource


def test_the_mail_says_what_it_is_and_where_it_comes_from(post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    ticket_id = post.ticket()
    post.settle(worker)
    (message,) = smtp_server.messages
    parsed, one = mail(message.content), post.delivery()
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["X-Auto-Response-Suppress"] == "All"
    assert parsed["Precedence"] == "bulk"
    assert parsed["X-Loop"] == "casemill.example"
    assert parsed["From"] == "Billing Support <support@casemill.example>"
    assert parsed["To"] == "pat@clinic.example"
    assert post.signer.verify_message_id(str(parsed["Message-ID"])) == f"t{ticket_id}.d{one.id}"
    assert post.signer.verify_envelope_sender(message.mail_from) == f"t{ticket_id}.d{one.id}"
    stranger = Signer([b"a key that somebody else has"], "casemill.example")
    assert stranger.verify_message_id(str(parsed["Message-ID"])) is None
    text = parsed.get_body(("plain",))
    assert text is not None
    assert "BS-000001" in text.get_content()


def test_nothing_that_arrived_goes_out(post: Post, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    post.person("ana@casemill.example", manages_default_team=True)
    arrived = Submission(
        source=TicketSource.EMAIL, received_at=clock.now(), subject="CANARY-subject", text="CANARY-text", email="pat@clinic.example",
        name="CANARY-name", phone="CANARY-phone", company="CANARY-company", details=(("CANARY-label", "CANARY-value"),),
        owner_email="ana@casemill.example",
    )  # fmt: skip
    with post.database.write() as session:
        intake.receive(session, [arrived], post.settings, clock.now())
    post.settle(worker)
    assert sorted(one.recipients[0] for one in smtp_server.messages) == ["ana@casemill.example", "pat@clinic.example"]
    for message in smtp_server.messages:
        bodies = [part.get_content() for part in mail(message.content).walk() if part.get_content_maintype() == "text"]
        assert len(bodies) == 2
        for text in (message.content.decode(), message.mail_from, *bodies):
            assert "CANARY" not in text.upper()


def test_the_envelope_goes_to_nobody_but_the_recipient(post: Post, scripted: ScriptedServer) -> None:
    post.ticket()
    post.settle(post.delivering(scripted.url))
    assert [line for line in scripted.commands if line.startswith("RCPT")] == ["RCPT TO:<pat@clinic.example>"]


def test_where_the_mailbox_takes_such_addresses_an_answer_goes_to_one_that_names_its_ticket(
    make_post: MakePost, smtp_url: str, smtp_server: SmtpServer
) -> None:
    post = make_post(notices={"plus_addressing": True, "reply_to": "help@casemill.example", "bounce_mailbox": "returns"})
    owner = post.person("ana@casemill.example")
    ticket_id = post.ticket()
    post.assign(ticket_id, owner)
    post.settle(post.delivering(smtp_url))
    by_recipient = {one.recipients[0]: one for one in smtp_server.messages}
    to_customer = mail(by_recipient["pat@clinic.example"].content)
    assert to_customer["Reply-To"] == post.signer.reply_address(f"t{ticket_id}")
    assert str(to_customer["Reply-To"]).startswith("help+t")
    assert mail(by_recipient["ana@casemill.example"].content)["Reply-To"] == "help@casemill.example"
    assert by_recipient["pat@clinic.example"].mail_from.startswith("returns+t")
