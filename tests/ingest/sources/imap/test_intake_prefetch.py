"""The IMAP watcher fetches the next batch while the last one is committed."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from core.database.session import Database
from ingest.sources.imap import fetch as imap_fetch
from ingest.sources.imap import intake
from ingest.sources.imap.fetch import FIRST_BATCH_MESSAGES, MAX_BATCH_MESSAGES
from ingest.sources.imap.session import ImapSession
from tests.ingest.sources.support import items, last_uid, mailbox, message, moved, numbers, sightings, watching
from tests.servers.dovecot import DovecotServer
from tests.servers.proxy import Proxy
from tests.waiting import scale_budget, wait_until

COUNT = 2 * FIRST_BATCH_MESSAGES


class CommitGate:
    """Blocks commits of mail until it is opened, and records which batches were fetched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetched: list[int] = []
        self.reached = threading.Event()
        self._opened = threading.Event()
        accept, fetch = intake.accept, imap_fetch.fetch_messages

        def accept_after_open(session: Any, arrivals: Sequence[Any], *args: Any, **keywords: Any) -> Any:
            if arrivals:
                self.reached.set()
                assert self._opened.wait(scale_budget(30))
            return accept(session, arrivals, *args, **keywords)

        def record_fetch(session: ImapSession, batch: Sequence[Any], max_bytes: int) -> Any:
            outcomes = fetch(session, batch, max_bytes)
            self.fetched.append(len(batch))
            return outcomes

        monkeypatch.setattr(intake, "accept", accept_after_open)
        monkeypatch.setattr(imap_fetch, "fetch_messages", record_fetch)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> CommitGate:
    return CommitGate(monkeypatch)


def test_only_the_next_batch_is_fetched_while_one_is_committed(database: Database, desk: DovecotServer, gate: CommitGate) -> None:
    count = FIRST_BATCH_MESSAGES + 2 * MAX_BATCH_MESSAGES
    for number in range(count):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk, move_to="Accepted")):
        assert gate.reached.wait(scale_budget(30))
        wait_until(lambda: len(gate.fetched) == 2)
        assert items(database) == [] and moved(database) == 0, "no message is moved before its commit"
        assert gate.fetched == [FIRST_BATCH_MESSAGES, MAX_BATCH_MESSAGES]
        gate.open()
        wait_until(lambda: last_uid(database) == count and moved(database) == count)
    assert numbers(database) == list(range(count))


def test_connection_cut_during_a_commit_loses_and_duplicates_nothing(
    database: Database, desk: DovecotServer, gate: CommitGate, make_proxy: Callable[[int], Proxy]
) -> None:
    for number in range(COUNT):
        desk.deliver("desk", message(number))
    proxy = make_proxy(desk.port)
    with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None, insecure=True, poll_seconds=0.3)):
        assert gate.reached.wait(scale_budget(30))
        proxy.cut_now()
        gate.open()
        wait_until(lambda: last_uid(database) == COUNT)
    assert numbers(database) == list(range(COUNT))
    assert len(sightings(database)) == COUNT


def test_mail_that_cannot_be_stored_is_recorded_and_stops_no_other(database: Database, desk: DovecotServer) -> None:
    unstorable = message(5, 77)
    with database.write() as session:
        refuse = (
            f"CREATE TRIGGER refuse BEFORE INSERT ON blob WHEN NEW.size = {len(unstorable)} BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        session.execute(text(refuse))
    for number in range(COUNT):
        desk.deliver("desk", unstorable if number == 5 else message(number))
    with watching(database, mailbox(desk, poll_seconds=0.3)):
        wait_until(lambda: last_uid(database) == COUNT)
    assert sorted(item.kind for item in items(database)) == ["mail"] * (COUNT - 1) + ["unfetched"]
    assert next(item.extra for item in items(database) if item.kind == "unfetched") == {"error": "storage_failure"}
