"""Mail loops end: between two installations, with auto-responders, and with bounces.

Each installation runs in this process with all its services. Its mail goes through a real SMTP server; the test passes it on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from accounts.teams import sync_teams
from bootstrap import Services, build_services
from cli.context import prepare_database
from core import clock
from core.settings import Settings
from ingest.ledger.accept import accept
from ingest.ledger.types import Arrival
from tests.servers.smtp import SmtpServer

PAT = "pat@clinic.example"
#: The header fields that a careless relay keeps.
KEPT_FIELDS = re.compile(r"(?:from|to|subject|mime-version|content-\S+):", re.I)


@dataclass
class Site:
    """An installation: its services, and the mail it has sent."""

    services: Services
    address: str
    server: SmtpServer
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _seen: int = 0

    def receive(self, raw: bytes) -> None:
        """Take in a mail and drain until no work is left."""
        arrival = Arrival("mail", "mail", "mailbox:support", f"INBOX/1/{next(self._numbers)}", raw, clock.now())
        self.services.database.transaction(lambda session: accept(session, [arrival], clock.now()))
        self.services.drain()

    def take_sent(self) -> list[tuple[str, bytes]]:
        """Return envelope sender and content of the mails sent since the last call."""
        new = self.server.messages[self._seen :]
        self._seen += len(new)
        return [(one.mail_from, one.content) for one in new]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.services.database.read() as session:
            return [tuple(row) for row in session.execute(text(statement))]


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    with ExitStack() as stack:

        def make(name: str) -> Site:
            server = stack.enter_context(SmtpServer())
            address = f"support@{name}.example"
            settings = Settings.model_validate(
                {
                    "data_dir": tmp_path / name,
                    "secret_key": f"the secret key of {name}, long enough",
                    "smtp_url": f"smtp://127.0.0.1:{server.port}",
                    "notices": {"domain": f"{name}.example"},
                    "mailboxes": {"support": {"host": "localhost", "user": "u", "password": "p", "address": address}},
                    "limits": {"parser_processes": 1},
                }
            )
            services = build_services(settings)
            stack.callback(services.close)
            prepare_database(services.database)
            services.database.transaction(lambda session: sync_teams(session, settings.teams))
            return Site(services, address, server)

        yield make


def write_mail(sender: str, to: str, subject: str, number: int = 1) -> bytes:
    lines = [f"From: {sender}", f"To: {to}", f"Subject: {subject}", f"Message-ID: <{number}@{sender.partition('@')[2]}>"]
    return ("\r\n".join(lines) + "\r\n\r\nA claim was denied.\r\n").encode()


def strip_headers(raw: bytes, number: int) -> bytes:
    """Return a mail as a careless relay passes it on: without the header fields of automatic mail, with a new Message-ID."""
    head, _, body = raw.decode().partition("\r\n\r\n")
    fields = [one for one in re.split(r"\r\n(?![ \t])", head) if KEPT_FIELDS.match(one)]
    text = re.sub(r"/care/cases/\S+", "", body)
    return ("\r\n".join([*fields, f"Message-ID: <{number}@relay.example>"]) + f"\r\n\r\n{text}").encode()


def count_alerts(site: Site) -> int:
    return int(site.rows("SELECT count(*) FROM follow_up WHERE kind = 'silence'")[0][0])


@pytest.mark.parametrize("is_stripped", [False, True])
def test_two_installations_that_answer_each_other_stop(open_site: Callable[[str], Site], is_stripped: bool) -> None:
    one, other = open_site("one"), open_site("other")
    one.receive(write_mail(other.address, one.address, "Hello"))
    numbers = count(1)
    sent = {one.address: 0, other.address: 0}
    for _ in range(8):
        for site, target in ((one, other), (other, one)):
            for _, raw in site.take_sent():
                sent[site.address] += 1
                target.receive(strip_headers(raw, next(numbers)) if is_stripped else raw)
    assert one.take_sent() == other.take_sent() == []
    assert max(sent.values()) <= 2, sent
    assert count_alerts(one) + count_alerts(other) == (1 if is_stripped else 0)


@pytest.mark.parametrize("answers", ["to the mail", "by itself"])
def test_auto_responder_gets_at_most_two_mails(open_site: Callable[[str], Site], answers: str) -> None:
    site = open_site("one")
    site.receive(write_mail(PAT, site.address, "Claim 4711"))
    sent = 0
    for number in range(2, 10):
        for _, raw in site.take_sent():
            sent += 1
            found = re.search(rb"(?im)^Message-ID: (\S+)", raw)
            reply = write_mail(PAT, site.address, "I am away", number)
            assert found is not None
            threaded = b"In-Reply-To: " + found[1] + b"\r\n" if answers == "to the mail" else b""
            site.receive(threaded + reply)
    assert sent == (1 if threaded else 2)
    assert count_alerts(site) == (0 if threaded else 1)
    assert site.take_sent() == []


def test_out_of_office_reply_to_the_envelope_sender_is_added_to_its_ticket(
    open_site: Callable[[str], Site],
) -> None:
    site = open_site("one")
    site.receive(write_mail(PAT, site.address, "Claim 4711"))
    ((envelope, _),) = site.take_sent()
    site.receive(b"Auto-Submitted: auto-replied\r\n" + write_mail(PAT, envelope, "Away", 2))
    assert site.rows("SELECT disposition FROM inbound_item ORDER BY id") == [("ticket",), ("appended",)]
    assert site.take_sent() == []


def test_bounced_notice_creates_a_task_and_blocks_the_address(open_site: Callable[[str], Site]) -> None:
    site = open_site("one")
    site.receive(write_mail(PAT, site.address, "Claim 4711"))
    ((envelope, raw),) = site.take_sent()
    copy = raw.partition(b"\r\n\r\n")[0]
    site.receive(
        b"Return-Path: <>\r\nFrom: MAILER-DAEMON@mx.clinic.example\r\nTo: <" + envelope.encode() + b">\r\n"
        b"Subject: Undelivered Mail\r\nMIME-Version: 1.0\r\nMessage-ID: <b@mx.clinic.example>\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n"
        b"Final-Recipient: rfc822; pat@clinic.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        b"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n" + copy + b"\r\n\r\n--b--\r\n"
    )
    assert site.rows("SELECT kind, status FROM delivery_report") == [("bounce", "5.1.1")]
    assert site.rows("SELECT address, scope, code FROM suppression") == [(PAT, "automatic", "bounce")]
    assert site.rows("SELECT title FROM follow_up") == [("Reach them another way: our mail came back",)]
    assert site.rows("SELECT disposition FROM inbound_item ORDER BY id") == [("ticket",), ("bounce",)]
    site.receive(write_mail(PAT, site.address, "Another claim", 2))
    assert site.take_sent() == []
    assert site.rows("SELECT reason_code FROM delivery ORDER BY id")[-1] == ("suppressed",)
