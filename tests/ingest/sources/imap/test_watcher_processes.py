"""Watchers in their own processes: killed, stopped and continued."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from core.database.session import Database
from core.leases import Lease
from core.settings.sections import Mailbox
from ingest.sources.imap.fetch import FIRST_BATCH_MESSAGES
from tests.ingest.sources.support import items, last_uid, mailbox, message, moved, numbers, sightings, watching
from tests.servers.dovecot import DovecotServer
from tests.servers.proxy import Proxy
from tests.waiting import scale_budget, wait_until

ROOT = Path(__file__).resolve().parents[4]
WATCH = """
import sys, threading
from core.database.session import Database
from core.settings.sections import Limits, Mailbox
from ingest.sources.imap.watcher import MailboxWatcher
import accounts.models, tickets.models
url, box, lease = sys.argv[1:]
mailbox = Mailbox.model_validate_json(box)
MailboxWatcher("desk", mailbox, Database(url), Limits(), threading.Event(), lease_seconds=float(lease)).run()
"""


@contextmanager
def watching_process(
    database: Database, box: Mailbox, crash_at: str = "", lease_seconds: float = 15
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a watcher in its own process; kill it at the end."""
    settings = box.model_dump_json().replace("**********", box.password.get_secret_value())
    environ = os.environ | {"PYTHONPATH": str(ROOT)} | ({"CASEMILL_CRASH_AT": crash_at} if crash_at else {})
    url = database.url.render_as_string(hide_password=False)
    process = subprocess.Popen([sys.executable, "-c", WATCH, url, settings, str(lease_seconds)], env=environ, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def expire_leases(database: Database) -> None:
    """Expire the leases of dead processes, as time would."""
    with database.write() as session:
        session.execute(update(Lease).values(until=datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize("failpoint", ["imap.fetched", "imap.accepted", "imap.moved"])
def test_kill_at_any_step_loses_and_duplicates_nothing(either_database: Database, desk: DovecotServer, failpoint: str) -> None:
    box = mailbox(desk, move_to="Done")
    for number in range(1, 131):
        desk.deliver("desk", message(number))
    with watching_process(either_database, box, failpoint) as process:
        assert process.wait(scale_budget(30)) == -signal.SIGKILL
    accepted = {"imap.fetched": 0, "imap.accepted": FIRST_BATCH_MESSAGES, "imap.moved": FIRST_BATCH_MESSAGES}[failpoint]
    moved_count = {"imap.fetched": 0, "imap.accepted": 0, "imap.moved": FIRST_BATCH_MESSAGES}[failpoint]
    assert (len(items(either_database)), moved(either_database)) == (accepted, 0)
    assert desk.count("desk", "Done") == moved_count
    expire_leases(either_database)
    with watching(either_database, box):
        wait_until(lambda: moved(either_database) == 130)
    assert numbers(either_database) == list(range(1, 131))
    assert len(sightings(either_database)) == 130
    assert (desk.count("desk"), desk.count("desk", "Done")) == (0, 130)


def test_another_watcher_takes_over_within_thirty_seconds_of_a_kill(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk)
    with watching_process(database, box) as process:
        wait_until(lambda: last_uid(database) == 0)
        with watching(database, box):
            process.kill()
            process.wait()
            desk.deliver("desk", message(1))
            wait_until(lambda: last_uid(database) == 1, 30)
    assert numbers(database) == [1]


def test_stopped_watcher_whose_lease_expired_writes_nothing_when_continued(
    either_database: Database, desk: DovecotServer, make_proxy: Callable[[int], Proxy]
) -> None:
    proxy = make_proxy(desk.port)
    slow_mailbox = mailbox(desk, port=proxy.port, tls=False, ca_file=None)
    with watching_process(either_database, slow_mailbox, lease_seconds=2) as process:
        wait_until(lambda: last_uid(either_database) == 0)
        # It waits for the answer to its next search or fetch.
        proxy.hang()
        desk.deliver("desk", message(1))
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        with watching(either_database, mailbox(desk), lease_seconds=2):
            desk.deliver("desk", message(2))
            wait_until(lambda: last_uid(either_database) == 2, 20)
            proxy.resume()
            process.send_signal(signal.SIGCONT)
            desk.deliver("desk", message(3))
            wait_until(lambda: last_uid(either_database) == 3, 20)
            time.sleep(1)
    assert numbers(either_database) == [1, 2, 3]
    assert len(sightings(either_database)) == 3


def test_slow_server_does_not_lose_the_lease(database: Database, desk: DovecotServer, make_proxy: Callable[[int], Proxy]) -> None:
    proxy = make_proxy(desk.port)
    slow = mailbox(desk, port=proxy.port, tls=False, ca_file=None)
    with watching(database, slow, lease_seconds=1.5):
        wait_until(lambda: last_uid(database) == 0)
        with watching(database, mailbox(desk), lease_seconds=1.5):
            proxy.hang()
            desk.deliver("desk", message(1))
            time.sleep(5)
            assert items(database) == []
            proxy.resume()
            wait_until(lambda: last_uid(database) == 1)
    assert numbers(database) == [1]
