"""Messages that cannot be fetched: how often they are tried, and that they delay no other message."""

from pathlib import Path

import pytest
from sqlalchemy import text

from core.database.session import Database
from ingest.sources.imap.failures import MAX_INTERRUPTIONS, MAX_REFUSALS, FailureTracker
from ingest.sources.imap.fetch import FetchFailure, VanishedMessage
from tests.ingest.sources.support import items, last_uid, mailbox, message, numbers, sightings, watching
from tests.servers.dovecot import DovecotServer
from tests.waiting import wait_until


def make_unreadable(path: Path) -> None:
    """Leave the message in the folder, but unreadable for the server."""
    for name in ("new", "cur"):
        for file in (path.parent.parent / name).glob(path.name + "*"):
            file.chmod(0)


def test_message_the_server_cannot_read_is_recorded_and_delays_no_other(either_database: Database, desk: DovecotServer) -> None:
    paths = [desk.deliver("desk", message(number)) for number in (1, 2, 3)]
    make_unreadable(paths[1])
    with watching(either_database, mailbox(desk, poll_seconds=0.3)):
        wait_until(lambda: len(items(either_database)) >= 2)
        desk.deliver("desk", message(4))
        wait_until(lambda: last_uid(either_database) == 4, 40)
    unfetched = [item for item in items(either_database) if item.kind == "unfetched"]
    assert len(unfetched) == 1
    place = next(sighting.place for sighting in sightings(either_database) if sighting.item_id == unfetched[0].id)
    assert unfetched[0].identity == f"unfetched:desk/{place.removeprefix('INBOX/')}"
    assert place.endswith("/2") and set(unfetched[0].extra) == {"error"}
    assert sorted(item.kind for item in items(either_database)) == ["mail", "mail", "mail", "unfetched"]


def test_message_fetched_at_the_second_attempt_is_accepted(database: Database, desk: DovecotServer) -> None:
    path = desk.deliver("desk", message(1))
    make_unreadable(path)
    desk.deliver("desk", message(2))
    with watching(database, mailbox(desk, poll_seconds=60)):
        wait_until(lambda: len(items(database)) == 1)
        assert last_uid(database) == 0
        for file in (path.parent.parent / "cur").glob("*"):
            file.chmod(0o600)
        for file in (path.parent.parent / "new").glob("*"):
            file.chmod(0o600)
        desk.deliver("desk", message(3))
        wait_until(lambda: last_uid(database) == 3, 40)
    assert numbers(database) == [1, 2, 3]


def test_mail_the_database_refuses_is_tried_alone_and_then_recorded(database: Database, desk: DovecotServer) -> None:
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON blob WHEN NEW.size = {} BEGIN SELECT RAISE(ABORT, 'no'); END"
    unstorable = message(2, 77)
    with database.write() as session:
        session.execute(text(refuse.format(len(unstorable))))
    for one in (message(1), unstorable, message(3)):
        desk.deliver("desk", one)
    with watching(database, mailbox(desk, poll_seconds=0.3)):
        wait_until(lambda: last_uid(database) == 3)
    assert sorted(item.kind for item in items(database)) == ["mail", "mail", "unfetched"]
    assert next(item.extra for item in items(database) if item.kind == "unfetched") == {"error": "storage_failure"}


def test_third_answer_without_the_message_is_final() -> None:
    tracker = FailureTracker()
    for _ in range(MAX_REFUSALS - 1):
        assert tracker.drop_retryable([FetchFailure(7, "x"), VanishedMessage(8)]) == [VanishedMessage(8)]
    assert tracker.drop_retryable([FetchFailure(7, "x")]) == [FetchFailure(7, "x")]
    tracker.forget([7])
    assert tracker.drop_retryable([FetchFailure(7, "x")]) == []


@pytest.mark.parametrize("together", [[1, 2, 3]])
def test_connection_lost_during_a_batch_counts_for_none_of_its_messages(together: list[int]) -> None:
    tracker = FailureTracker()
    for _ in range(MAX_INTERRUPTIONS * 2):
        tracker.count_interruption(together)
    assert all(tracker.is_suspect(uid) and not tracker.has_too_many_interruptions(uid) for uid in together)
    for _ in range(MAX_INTERRUPTIONS):
        tracker.count_interruption([2])
    assert [tracker.has_too_many_interruptions(uid) for uid in together] == [False, True, False]
