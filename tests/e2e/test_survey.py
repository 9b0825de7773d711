"""From stage 6 to an answered survey: real processes, the real mail from an SMTP server, the form over HTTP."""

import re
import urllib.parse
import urllib.request
from contextlib import closing
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from tests.e2e.system import System
from tests.servers.smtp import SmtpServer

EXTRA = """
[surveys]
delay_hours = 0
"""


def mail_about(smtp_server: SmtpServer, words: str) -> EmailMessage | None:
    mails = [message_from_bytes(one.content, policy=policy.default) for one in smtp_server.messages]
    found = [mail for mail in mails if words in str(mail["Subject"])]
    return found[0] if found else None


def test_a_completed_ticket_is_surveyed_and_the_answer_reaches_its_owner(tmp_path: Path, smtp_server: SmtpServer) -> None:
    system = System(tmp_path, smtp_url=f"smtp://127.0.0.1:{smtp_server.port}", extra=EXTRA)
    with closing(system):
        system.run("migrate")
        system.run("staff", "add", "omar@mill.example", "--name", "Omar Haddad")
        system.start()
        system.run("ticket", "new", "--company", "Riverside", "--email", "kim@riverside.example",
                   "--description", "Called about a refund", "--owner", "omar@mill.example")  # fmt: skip
        for verb in ("follow-up-sent", "resolve", "recap"):
            system.run("ticket", verb, "BS-000001", "--by", "omar@mill.example")
        system.wait(lambda: mail_about(smtp_server, "How did we do?"), "the invitation", 60)
        invitation = mail_about(smtp_server, "How did we do?")
        assert invitation is not None
        assert "/care/surveys/unsubscribe/" in invitation["List-Unsubscribe"]
        assert invitation["Auto-Submitted"] == "auto-generated"
        text = invitation.get_body(("plain",))
        assert text is not None
        found = re.search(r"^https?://\S*?(/care/surveys/s\S+)", text.get_content(), re.MULTILINE)
        assert found is not None
        form = urllib.parse.urlencode({"score": "2", "comment": "Took long"}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{system.port}{found[1]}", form, timeout=30) as answer:
            assert answer.status == 200
        system.wait(lambda: mail_about(smtp_server, "Low score: 2 of 5"), "the answer's mail to the owner", 60)
        told = mail_about(smtp_server, "Low score: 2 of 5")
        assert told is not None
        assert told["To"] == "omar@mill.example"
        assert "Took long" not in told.as_string()
        assert "Took long" in system.run("ticket", "show", "BS-000001").stdout
        assert '"score": 2' in system.run("survey", "list", "--state", "answered", "--json").stdout
