"""Messages that cannot be had: how often they are tried, and that they hold up nobody."""

from pathlib import Path

import pytest
from sqlalchemy import text

from core.database.session import Database
from ingest.sources.imap.failures import BREAKS, REFUSALS, FailureBook
from ingest.sources.imap.fetch import Failure, Vanished
from tests.ingest.sources.support import items, last_uid, mailbox, message, numbers, sightings, watching
from tests.servers.dovecot import DovecotServer
from tests.waiting import wait_until


def hide(path: Path) -> None:
    """Let the server see a message that it cannot read."""
    for name in ("new", "cur"):
        for file in (path.parent.parent / name).glob(path.name + "*"):
            file.chmod(0)


def test_a_message_the_server_cannot_give_is_recorded_and_holds_up_nobody(either_database: Database, desk: DovecotServer) -> None:
    paths = [desk.deliver("desk", message(number)) for number in (1, 2, 3)]
    hide(paths[1])
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


def test_a_message_that_could_be_had_at_the_second_try_is_taken(database: Database, desk: DovecotServer) -> None:
    path = desk.deliver("desk", message(1))
    hide(path)
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


def test_a_mail_the_database_refuses_is_tried_alone_and_then_recorded(database: Database, desk: DovecotServer) -> None:
    refuse = "CREATE TRIGGER refuse BEFORE INSERT ON blob WHEN NEW.size = {} BEGIN SELECT RAISE(ABORT, 'no'); END"
    odd = message(2, 77)
    with database.write() as session:
        session.execute(text(refuse.format(len(odd))))
    for one in (message(1), odd, message(3)):
        desk.deliver("desk", one)
    with watching(database, mailbox(desk, poll_seconds=0.3)):
        wait_until(lambda: last_uid(database) == 3)
    assert sorted(item.kind for item in items(database)) == ["mail", "mail", "unfetched"]
    assert next(item.extra for item in items(database) if item.kind == "unfetched") == {"error": "storage_failure"}


def test_an_answer_without_the_message_counts_three_times() -> None:
    book = FailureBook()
    for _ in range(REFUSALS - 1):
        assert book.judge([Failure(7, "x"), Vanished(8)]) == [Vanished(8)]
    assert book.judge([Failure(7, "x")]) == [Failure(7, "x")]
    book.forget([7])
    assert book.judge([Failure(7, "x")]) == []


@pytest.mark.parametrize("together", [[1, 2, 3]])
def test_a_connection_broken_over_several_messages_condemns_none_of_them(together: list[int]) -> None:
    book = FailureBook()
    for _ in range(BREAKS * 2):
        book.note_break(together)
    assert all(book.is_suspect(uid) and not book.has_broken_off(uid) for uid in together)
    for _ in range(BREAKS):
        book.note_break([2])
    assert [book.has_broken_off(uid) for uid in together] == [False, True, False]
