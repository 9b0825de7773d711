"""The lifecycle of a ticket on real processes: from a mail in Dovecot to an answered survey, with a clock that the test moves.

All mails are read from the SMTP server. The test begins five days ago and ends now, so that PostgreSQL's own clock, which is not
moved, is never behind.
"""

import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.e2e.clock import ShiftedClock
from tests.e2e.system import COMMAND, WORKERS, System
from tests.servers.dovecot import DovecotServer
from tests.servers.redis_server import RedisServer
from tests.servers.smtp import SmtpServer
from tests.waiting import scale_budget

HOUR, DAY = 3600, 86_400
BEGIN = -5 * DAY
COMPANIES = (
    "name,domains,manager,consultant\nRiverside Family Clinic,riverside.example,ruth@helpdesk.example,omar@helpdesk.example\n"
)
DANA, OMAR, RUTH = "dana.ortiz@riverside.example", "omar@helpdesk.example", "ruth@helpdesk.example"


class Walk:
    """A system, its clock, and the mail that it sends."""

    def __init__(self, system: System, clock: ShiftedClock, smtp_server: SmtpServer) -> None:
        self.system = system
        self._clock = clock
        self._smtp_server = smtp_server

    def go_to(self, seconds: float) -> None:
        """Set the clock to this many seconds after the begin."""
        self._clock.set_offset(BEGIN + seconds)

    def mail(self, to: str, words: str) -> EmailMessage:
        """Wait for the one mail to an address whose subject contains ``words``, and return it."""
        self.system.wait(lambda: self.mails(to, words), f"the mail to {to}: {words}", 90)
        (found,) = self.mails(to, words)
        return found

    def mails(self, to: str, words: str) -> list[EmailMessage]:
        sent = [message_from_bytes(one.content, policy=policy.default) for one in self._smtp_server.messages]
        return [mail for mail in sent if mail["To"] == to and words in str(mail["Subject"])]

    def act(self, *arguments: str) -> str:
        return self.system.run("ticket", *arguments, "--by", OMAR).stdout

    def stage(self) -> int:
        rows = self.system.rows("SELECT stage FROM ticket")
        return int(rows[0][0]) if rows else 0


@pytest.fixture(params=["embedded", "scaled"])
def walk(request: pytest.FixtureRequest, tmp_path: Path, dovecot: DovecotServer, smtp_server: SmtpServer) -> Iterator[Walk]:
    dovecot.add_user("support")
    scaled = request.param == "scaled"
    redis: RedisServer | None = request.getfixturevalue("redis_server") if scaled else None
    clock = ShiftedClock(tmp_path / "clock")
    clock.set_offset(BEGIN)
    system = System(
        tmp_path,
        dovecot=dovecot,
        mailboxes=["support"],
        database_url=request.getfixturevalue("postgres_url") if scaled else "",
        redis_url=redis.url if redis else "",
        smtp_url=f"smtp://127.0.0.1:{smtp_server.port}",
        variables=clock.environment,
    )
    with closing(system):
        (tmp_path / "companies.csv").write_text(COMPANIES)
        system.run("migrate")
        system.run("staff", "add", RUTH, "--name", "Ruth Calder", "--role", "manager")
        system.run("staff", "add", OMAR, "--name", "Omar Haddad")
        system.run("company", "import", str(tmp_path / "companies.csv"))
        if scaled:
            system.start([*COMMAND, "web"], [*COMMAND, "watch"], [*COMMAND, "tick"], WORKERS)
        else:
            system.start()
        yield Walk(system, clock, smtp_server)


@pytest.mark.timeout(400)
def test_ticket_goes_from_a_mail_to_an_answered_survey(walk: Walk, dovecot: DovecotServer) -> None:
    dovecot.deliver("support", question())
    received = walk.mail(DANA, "We received your request")
    assert received["Auto-Submitted"] == "auto-generated"
    walk.system.wait(lambda: walk.stage() == 4, "4-In Progress")
    walk.mail(OMAR, "BS-000001")

    walk.go_to(2 * DAY + HOUR)
    assert "BS-000001" in str(walk.mail(OMAR, "follow up")["Subject"]), "the owner is reminded after two days"
    walk.go_to(3 * DAY + HOUR)
    walk.mail(RUTH, "BS-000001")  # the company's manager gets the escalation after three days
    assert len(walk.mails(OMAR, "follow up")) == 1

    assert walk.act("follow-up-sent", "BS-000001") == "BS-000001: 5-Audit\n"
    assert walk.act("resolve", "BS-000001") == "BS-000001: 5-Audit\n"
    assert "queued for" in walk.act("recap", "BS-000001", "--resolution", "The payer paid in full.")
    recap = walk.mail(DANA, "How we resolved")
    assert recap["In-Reply-To"] == "<question@riverside.example>"
    assert recap["Auto-Submitted"] is None
    assert "The payer paid in full." in text_of(recap)
    walk.system.wait(lambda: walk.stage() == 6, "6-Completed")

    walk.go_to(4 * DAY)
    invitation = walk.mail(DANA, "How did we do?")
    assert "/care/surveys/unsubscribe/" in invitation["List-Unsubscribe"]
    answer_survey(walk.system, invitation)
    low_score = walk.mail(OMAR, "Low score: 2 of 5")
    assert "Took long" not in low_score.as_string()
    check_the_end(walk)


def answer_survey(system: System, invitation: EmailMessage) -> None:
    found = re.search(r"^https?://\S*?(/care/surveys/s\S+)", text_of(invitation), re.MULTILINE)
    assert found is not None
    form = urllib.parse.urlencode({"score": "2", "comment": "Took long"}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{system.port}{found[1]}", form, timeout=scale_budget(30)) as answer:
        assert answer.status == 200


def check_the_end(walk: Walk) -> None:
    """Check the stages, milestones and tasks of the ticket, and that no mail was sent twice."""
    walk.system.wait(walk.system.is_settled, "everything to be settled")
    shown = walk.system.run("ticket", "show", "BS-000001").stdout
    for words in ("6-Completed", "Took long", "5-Recap of Resolution Sent", "4-Support Follow Up Sent", "Resolution: Yes"):
        assert words in shown
    moves = [title for (title,) in walk.system.rows("SELECT title FROM activity WHERE kind = 'stage' ORDER BY id")]
    assert moves == ["Moved to 4-In Progress", "Moved to 5-Audit", "Moved to 6-Completed"]
    assert walk.system.count("delivery WHERE state <> 'sent'") == 0
    assert sorted(kind for (kind,) in walk.system.rows("SELECT kind FROM follow_up")) == ["escalation", "reminder"]
    assert walk.system.count("follow_up WHERE done_at IS NULL") == 0
    assert '"score": 2' in walk.system.run("survey", "list", "--state", "answered", "--json").stdout
    assert set(walk.system.stop()) <= {0}


def question() -> bytes:
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"], mail["To"], mail["Subject"] = f"Dana Ortiz <{DANA}>", "support@helpdesk.example", "Denied twice"
    mail["Message-ID"], mail["Date"] = "<question@riverside.example>", "Sun, 22 Nov 2026 10:00:00 +0000"
    mail.set_content("Claim 88-2041 was denied twice. What can we do?")
    return mail.as_bytes()


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())
