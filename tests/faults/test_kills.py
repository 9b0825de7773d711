"""The embedded process is killed many times while mail and forms arrive: nothing is lost or duplicated."""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingest.ledger.handoff import MIN_HANDOFF_ITEMS
from tests.e2e.system import System
from tests.faults import oracle
from tests.faults.report import Row
from tests.faults.trial import CANARY, FULL
from tests.servers.dovecot import DovecotServer
from tests.servers.smtp import SmtpServer

KILLS, POSTS = (50, 250) if FULL else (10, 50)
#: Mails before a kill, in turn: a few wait in the ledger to be claimed, many are handed to the pipeline already claimed.
MAILS = (5, 2 * MIN_HANDOFF_ITEMS)


@pytest.fixture
def system(tmp_path: Path, dovecot: DovecotServer, smtp_server: SmtpServer) -> Iterator[System]:
    dovecot.add_user("support")
    smtp_url = f"smtp://127.0.0.1:{smtp_server.port}"
    with closing(System(tmp_path, dovecot=dovecot, mailboxes=["support"], smtp_url=smtp_url)) as system:
        yield system


def mail(number: int) -> bytes:
    return (
        f"From: Person {number} <p{number}@practice{number % 97}.example>\r\nTo: support@helpdesk.example\r\n"
        f"Subject: Question mail{number}x\r\nMessage-ID: <kill{number}@practice.example>\r\n"
        f"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nWhat about the {CANARY} of claim {number}?\r\n"
    ).encode()


class Poster(threading.Thread):
    """Posts each form until the answer is 200, as Formstack does."""

    def __init__(self, system: System, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.accepted = 0
        self._system = system
        self._ending = stop

    def run(self) -> None:
        for number in range(POSTS):
            answers = {"email": f"f{number}@clinic{number % 89}.example", "subject": f"Form form{number}x"}
            while self._system.post_form(str(9_000_000 + number), **answers) != 200:
                if self._ending.wait(0.05):
                    return
            self.accepted += 1
            time.sleep(0.3)


@pytest.mark.fault("seeded SIGKILLs of the embedded process under load")
@pytest.mark.timeout(1200)
def test_many_kills_in_a_row_lose_nothing_and_double_nothing(
    system: System, dovecot: DovecotServer, smtp_server: SmtpServer, row: Row, seed: int
) -> None:
    chance = random.Random(seed)
    row.runs = KILLS
    ending = threading.Event()
    poster = Poster(system, ending)
    numbers, mails = itertools.count(), itertools.cycle(MAILS)
    system.start()
    poster.start()
    for _ in range(KILLS):
        for number in itertools.islice(numbers, next(mails)):
            dovecot.deliver("support", mail(number))
        time.sleep(chance.uniform(0.0, 3.0))
        system.kill()
        system.start(ready=chance.random() < 0.7)
    system.wait(lambda: poster.accepted == POSTS, "all forms to be accepted", 120)
    ending.set()
    sent = next(numbers)
    system.wait(lambda: system.count("ticket") >= sent + POSTS, "a ticket for everything", 90)
    system.wait(system.is_settled, "everything to be settled", 120)
    assert system.stop() == [0]
    nonces = [f"mail{number}x" for number in range(sent)] + [f"form{number}x" for number in range(POSTS)]
    oracle.check(system, nonces, (message.content for message in smtp_server.messages), canaries=[CANARY])
