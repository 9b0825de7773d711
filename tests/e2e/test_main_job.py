"""The main job with real servers, in both modes: mail, form, workbook and call become owned tickets with sent notices."""

import re
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from demo import inputs
from tests.e2e.system import COMMAND, WORKERS, System
from tests.servers.dovecot import DovecotServer
from tests.servers.redis_server import RedisServer
from tests.servers.smtp import SmtpServer

TEAM = """
[teams.support]
default = true
manager = "ruth@helpdesk.example"
members = ["ruth@helpdesk.example"]
"""
COMPANIES = (
    "name,domains,manager,consultant\nRiverside Family Clinic,riverside.example,ruth@helpdesk.example,omar@helpdesk.example\n"
)


@pytest.fixture(params=["embedded", "scaled"])
def system(request: pytest.FixtureRequest, tmp_path: Path, dovecot: DovecotServer, smtp_server: SmtpServer) -> Iterator[System]:
    for user in ("support", "billing"):
        dovecot.add_user(user)
    scaled = request.param == "scaled"
    redis: RedisServer | None = request.getfixturevalue("redis_server") if scaled else None
    system = System(
        tmp_path,
        dovecot=dovecot,
        mailboxes=["support", "billing"],
        database_url=request.getfixturevalue("postgres_url") if scaled else "",
        redis_url=redis.url if redis else "",
        smtp_url=f"smtp://127.0.0.1:{smtp_server.port}",
        extra=TEAM,
    )
    with closing(system):
        prepare(system, tmp_path)
        if scaled:
            system.start([*COMMAND, "web"], [*COMMAND, "watch"], [*COMMAND, "tick"], WORKERS)
        else:
            system.start()
        yield system


def prepare(system: System, tmp_path: Path) -> None:
    """Create the tables, the staff and a company."""
    (tmp_path / "companies.csv").write_text(COMPANIES)
    system.run("migrate")
    system.run("staff", "add", "ruth@helpdesk.example", "--name", "Ruth Calder", "--role", "manager")
    system.run("staff", "add", "omar@helpdesk.example", "--name", "Omar Haddad")
    system.run("company", "import", str(tmp_path / "companies.csv"))


def write_mail(sender: str, subject: str) -> bytes:
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"], mail["To"], mail["Subject"] = f"Dana Ortiz <{sender}>", "support@helpdesk.example", subject
    mail["Message-ID"], mail["Date"] = f"<{subject.replace(' ', '.')}@riverside.example>", "Sun, 22 Nov 2026 10:00:00 +0000"
    mail.set_content("Claim 88-2041 was denied twice. What can we do?")
    mail.add_attachment(b"%PDF-1.4 remittance", maintype="application", subtype="pdf", filename="remittance.pdf")
    return mail.as_bytes()


def test_every_source_creates_owned_tickets_and_sends_notices(
    system: System, dovecot: DovecotServer, smtp_server: SmtpServer
) -> None:
    question = write_mail("dana.ortiz@riverside.example", "Denied twice")
    dovecot.deliver("support", question)
    dovecot.deliver("billing", b"Received: from elsewhere.example\r\n" + question)
    dovecot.deliver("billing", write_mail("pat@unknown.example", "Second mailbox"))
    assert system.post_form("1512345678", email="lee@riverside.example", subject="By form", details="Please call") == 200
    assert system.post_form("1512345678", email="lee@riverside.example", subject="By form", details="Please call") == 200
    system.drop.mkdir(exist_ok=True)
    (system.drop / "messages.xlsx").write_bytes(inputs.build_workbook())
    system.run("ticket", "new", "--company", "Riverside Family Clinic", "--email", "kim@riverside.example",
               "--description", "Called about a refund", "--owner", "omar@helpdesk.example")  # fmt: skip
    receipt = system.drop / "done" / "messages.receipt.xlsx"
    system.wait(receipt.exists, "the receipt", 60)
    system.wait(lambda: system.count("ticket WHERE source = 'email'") == 2, "the mails", 60)
    system.wait(system.is_settled, "everything to be settled", 60)

    sources = dict(system.rows("SELECT source, count(*) FROM ticket GROUP BY source"))
    assert sources["email"] == 2
    assert sources["formstack"] == 1
    assert sources["phone"] == 1
    assert sources["secure_message"] >= 10
    assert system.count("inbound_item WHERE disposition = 'duplicate' AND ticket_id IS NOT NULL") == 1
    owner = "ticket t JOIN staff s ON s.id = t.owner_id JOIN company c ON c.id = t.company_id"
    assert system.count(f"{owner} WHERE s.email = 'omar@helpdesk.example' AND c.name = 'Riverside Family Clinic'") >= 3
    assert system.count("ticket WHERE stage = 1 OR creation_notice = 'pending'") == 0
    assert system.count("attachment WHERE name = 'remittance.pdf'") == 2
    assert system.count("blob b WHERE EXISTS (SELECT 1 FROM attachment a WHERE a.sha256 = b.sha256)") == 1
    assert dovecot.count("support", "INBOX") == 0
    assert dovecot.count("support", "Done") == 1
    check_notices(system, smtp_server)
    assert set(system.stop()) <= {0}


def check_notices(system: System, smtp_server: SmtpServer) -> None:
    """Check the sent mails: one for each requester and ticket, one for each new owner, without content of messages."""
    sent = smtp_server.messages
    to_dana = [message for message in sent if message.recipients == ("dana.ortiz@riverside.example",)]
    notice = message_from_bytes(to_dana[0].content, policy=policy.default)
    assert re.search(r"BS-\d{6}", str(notice["Subject"]))
    assert notice["Auto-Submitted"] == "auto-generated"
    text = notice.get_body(("plain",))
    assert text is not None
    for word in ("Denied twice", "88-2041", "Dana"):
        assert word not in str(notice["Subject"]) + text.get_content()
    delivered = system.count("delivery WHERE state = 'sent'")
    assert delivered == len(sent)
    assert any(message.recipients == ("omar@helpdesk.example",) for message in sent)


def test_restart_continues_and_repeats_nothing(system: System, dovecot: DovecotServer, smtp_server: SmtpServer) -> None:
    dovecot.deliver("support", write_mail("dana.ortiz@riverside.example", "Before the restart"))
    system.wait(lambda: system.count("ticket") == 1, "the first ticket", 60)
    system.wait(system.is_settled, "the first ticket to be settled", 60)
    commands = [process.args for process in system.processes]
    system.stop()
    dovecot.deliver("support", write_mail("dana.ortiz@riverside.example", "While it was down"))
    before = len(smtp_server.messages)
    system.start(*commands)  # type: ignore[arg-type]
    system.wait(lambda: system.count("ticket") == 2, "the second ticket", 60)
    system.wait(system.is_settled, "the second ticket to be settled", 60)
    assert system.count("ticket") == 2
    assert len(smtp_server.messages) == before + 2
