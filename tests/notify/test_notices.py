"""The creation notice as the recipient gets it: headers, signed names, and no text that arrived."""

from __future__ import annotations

from core import clock
from core.signing import Signer
from notify.delivery import DeliveryWorker
from tests.notify.conftest import MakeHarness
from tests.notify.harness import NotifyHarness, mail
from tests.notify.scripted_server import ScriptedServer
from tests.servers.smtp import SmtpServer
from tickets import intake
from tickets.submission import Submission, TicketSource


def test_creation_notice_has_automatic_headers_and_signed_names(
    harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    ticket_id = harness.add_ticket()
    harness.run_until_idle(worker)
    (message,) = smtp_server.messages
    parsed, one = mail(message.content), harness.delivery()
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["X-Auto-Response-Suppress"] == "All"
    assert parsed["Precedence"] == "bulk"
    assert parsed["X-Loop"] == "casemill.example"
    assert parsed["From"] == "Billing Support <support@casemill.example>"
    assert parsed["To"] == "pat@clinic.example"
    assert harness.signer.verify_message_id(str(parsed["Message-ID"])) == f"t{ticket_id}.d{one.id}"
    assert harness.signer.verify_envelope_sender(message.mail_from) == f"t{ticket_id}.d{one.id}"
    stranger = Signer([b"a key that somebody else has"], "casemill.example")
    assert stranger.verify_message_id(str(parsed["Message-ID"])) is None
    text = parsed.get_body(("plain",))
    assert text is not None
    assert "BS-000001" in text.get_content()


def test_notices_contain_no_text_that_arrived(harness: NotifyHarness, worker: DeliveryWorker, smtp_server: SmtpServer) -> None:
    harness.add_staff("ana@casemill.example", manages_default_team=True)
    arrived = Submission(
        source=TicketSource.EMAIL, received_at=clock.now(), subject="CANARY-subject", text="CANARY-text",
        email="pat@clinic.example", name="CANARY-name", phone="CANARY-phone", company="CANARY-company",
        details=(("CANARY-label", "CANARY-value"),),
        owner_email="ana@casemill.example",
    )  # fmt: skip
    with harness.database.write() as session:
        intake.receive(session, [arrived], harness.settings, clock.now())
    harness.run_until_idle(worker)
    assert sorted(one.recipients[0] for one in smtp_server.messages) == ["ana@casemill.example", "pat@clinic.example"]
    for message in smtp_server.messages:
        bodies = [part.get_content() for part in mail(message.content).walk() if part.get_content_maintype() == "text"]
        assert len(bodies) == 2
        for text in (message.content.decode(), message.mail_from, *bodies):
            assert "CANARY" not in text.upper()


def test_envelope_has_recipient_only(harness: NotifyHarness, scripted_server: ScriptedServer) -> None:
    harness.add_ticket()
    harness.run_until_idle(harness.open_worker(scripted_server.url))
    assert [line for line in scripted_server.commands if line.startswith("RCPT")] == ["RCPT TO:<pat@clinic.example>"]


def test_plus_addressing_gives_customer_signed_reply_address(
    make_harness: MakeHarness, smtp_url: str, smtp_server: SmtpServer
) -> None:
    harness = make_harness(notices={"plus_addressing": True, "reply_to": "help@casemill.example", "bounce_mailbox": "returns"})
    owner = harness.add_staff("ana@casemill.example")
    ticket_id = harness.add_ticket()
    harness.assign_ticket(ticket_id, owner)
    harness.run_until_idle(harness.open_worker(smtp_url))
    by_recipient = {one.recipients[0]: one for one in smtp_server.messages}
    to_customer = mail(by_recipient["pat@clinic.example"].content)
    assert to_customer["Reply-To"] == harness.signer.reply_address(f"t{ticket_id}")
    assert str(to_customer["Reply-To"]).startswith("help+t")
    assert mail(by_recipient["ana@casemill.example"].content)["Reply-To"] == "help@casemill.example"
    assert by_recipient["pat@clinic.example"].mail_from.startswith("returns+t")
