"""The IMAP watcher with a real Dovecot: what it accepts, and when it changes something on the server."""

import logging
import threading
import time
from datetime import UTC, date, datetime

import pytest
from imapclient import IMAPClient

from core.database.session import Database
from core.settings.sections import Limits
from ingest.sources.imap.session import ImapSession
from tests.ingest.sources.support import (
    bodies,
    cursor,
    items,
    last_uid,
    mailbox,
    message,
    moved,
    numbers,
    sightings,
    watching,
)
from tests.servers.dovecot import DovecotServer
from tests.waiting import wait_until


def sign_in(server: DovecotServer, user: str = "desk") -> IMAPClient:
    client = IMAPClient(server.host, server.port, ssl=False, timeout=10)
    client.login(user, server.password)
    return client


def test_full_mailbox_is_accepted_oldest_first_and_byte_for_byte(either_database: Database, desk: DovecotServer) -> None:
    sent = [message(number) for number in range(1, 251)]
    for one in sent:
        desk.deliver("desk", one)
    with watching(either_database, mailbox(desk)):
        wait_until(lambda: last_uid(either_database) == 250)
    assert numbers(either_database) == list(range(1, 251))
    assert bodies(either_database) == sent
    row = cursor(either_database)
    assert row is not None and (row.errors, row.error, row.left_out) == (0, None, 0)
    assert sightings(either_database)[0].place == f"INBOX/{row.uidvalidity}/1"
    assert {item.source for item in items(either_database)} == {"mailbox:desk"}
    assert {item.kind for item in items(either_database)} == {"mail"}


def test_date_of_arrival_is_stored_in_utc(database: Database, desk: DovecotServer) -> None:
    with sign_in(desk) as client:
        arrived = datetime(2026, 10, 3, 23, 30, tzinfo=UTC).astimezone()
        client.append("INBOX", message(1), msg_time=arrived)
    with watching(database, mailbox(desk)):
        wait_until(lambda: items(database))
    assert items(database)[0].received_at == datetime(2026, 10, 3, 23, 30, tzinfo=UTC)


def test_watcher_without_move_folder_changes_nothing_on_the_server(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", message(1))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 1)
    with sign_in(desk) as client:
        client.select_folder("INBOX", readonly=True)
        assert b"\\Seen" not in client.get_flags([1])[1]
        assert client.search("ALL") == [1]


def test_idle_reports_new_mail_long_before_the_next_poll(database: Database, desk: DovecotServer) -> None:
    with watching(database, mailbox(desk, poll_seconds=300)):
        wait_until(lambda: last_uid(database) == 0)
        # Some mails arrive while IDLE begins, some while it lasts.
        for number in range(1, 6):
            desk.deliver("desk", message(number))
            wait_until(lambda wanted=number: len(items(database)) == wanted, 30)  # type: ignore[misc]


def test_event_that_arrives_with_the_answer_to_idle_is_not_missed(desk: DovecotServer) -> None:
    settings = mailbox(desk)
    for round_number in range(1, 16):
        with ImapSession(settings) as session:
            desk.deliver("desk", message(round_number))
            time.sleep(0.01 * (round_number % 5))
            begun = time.monotonic()
            session.wait(20, lambda: False, threading.Event())
            assert time.monotonic() - begun < 15, "the event was in the buffer, and the session missed it"


def test_same_bytes_twice_are_one_item_with_two_sightings(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2, 1):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 3)
    assert numbers(database) == [1, 2]
    assert [sighting.first for sighting in sightings(database)] == [True, True, False]


def test_new_uidvalidity_gives_new_sightings_and_no_duplicate_items(either_database: Database, desk: DovecotServer) -> None:
    for number in range(1, 6):
        desk.deliver("desk", message(number))
    with watching(either_database, mailbox(desk)):
        wait_until(lambda: last_uid(either_database) == 5)
    before = cursor(either_database)
    desk.reset_uidvalidity("desk")
    desk.deliver("desk", message(6))
    with watching(either_database, mailbox(desk)):
        wait_until(lambda: len(items(either_database)) == 6)
        wait_until(lambda: last_uid(either_database) == 6)
    after = cursor(either_database)
    assert before is not None and after is not None and before.uidvalidity != after.uidvalidity
    assert sorted(numbers(either_database)) == [1, 2, 3, 4, 5, 6]
    assert len(sightings(either_database)) == 11


def test_new_uidvalidity_leaves_out_the_same_old_mail(database: Database, desk: DovecotServer) -> None:
    with sign_in(desk) as client:
        for number in (1, 2):
            client.append("INBOX", message(number), msg_time=datetime(2025, 1, number, tzinfo=UTC))
    with watching(database, mailbox(desk, since=None)):
        wait_until(lambda: last_uid(database) == 2)
        desk.deliver("desk", message(3))
        wait_until(lambda: len(items(database)) == 1)
    desk.reset_uidvalidity("desk")
    desk.deliver("desk", message(4))
    with watching(database, mailbox(desk, since=None)):
        wait_until(lambda: len(items(database)) == 2)
        wait_until(lambda: last_uid(database) == 4)
    assert numbers(database) == [3, 4]


def test_first_read_without_since_accepts_only_new_mail(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk, since=None)):
        wait_until(lambda: last_uid(database) == 3)
        desk.deliver("desk", message(4))
        wait_until(lambda: last_uid(database) == 4)
    assert numbers(database) == [4]
    row = cursor(database)
    assert row is not None and (row.first_uid, row.left_out) == (4, 3)


def test_first_read_with_a_date_accepts_mail_from_that_day_on(database: Database, desk: DovecotServer) -> None:
    with sign_in(desk) as client:
        for number, day in enumerate((3, 20, 5, 21), 1):
            client.append("INBOX", message(number), msg_time=datetime(2026, 10, day, 12, tzinfo=UTC))
    with watching(database, mailbox(desk, since=date(2026, 10, 10))):
        wait_until(lambda: last_uid(database) == 4)
    assert numbers(database) == [2, 4]
    row = cursor(database)
    assert row is not None and row.left_out == 2


def test_since_all_set_later_accepts_the_mail_that_was_left_out(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk, since=None)):
        wait_until(lambda: last_uid(database) == 2)
        desk.deliver("desk", message(3))
        wait_until(lambda: last_uid(database) == 3)
    with watching(database, mailbox(desk)):
        wait_until(lambda: len(items(database)) == 3)
        wait_until(lambda: last_uid(database) == 3)
    assert sorted(numbers(database)) == [1, 2, 3]
    row = cursor(database)
    assert row is not None and row.left_out == 0
    assert len(sightings(database)) == 3


def test_oversize_message_is_accepted_as_its_header(database: Database, desk: DovecotServer) -> None:
    for number, size in ((1, 0), (2, 90_000), (3, 0)):
        desk.deliver("desk", message(number, size))
    with watching(database, mailbox(desk), limits=Limits(message_bytes=50_000)):
        wait_until(lambda: last_uid(database) == 3)
    assert sorted(item.kind for item in items(database)) == ["mail", "mail", "oversize"]
    oversize = next(item for item in items(database) if item.kind == "oversize")
    assert oversize.extra == {"size": len(message(2, 90_000)), "oversize": True}
    assert bodies(database)[1] == message(2).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert oversize.identity == f"oversize:{oversize.sha256}"


def test_message_of_twenty_megabytes_is_accepted_whole(database: Database, desk: DovecotServer) -> None:
    large = message(1, 20 * 1024 * 1024) + b"\r\n"
    desk.deliver("desk", large)
    desk.deliver("desk", message(2))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 2, 30)
    assert bodies(database) == [large, message(2)]


def test_empty_message_is_an_item(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", b"")
    desk.deliver("desk", message(2))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 2)
    assert bodies(database) == [b"", message(2)]


def test_vanished_uid_is_skipped(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    with sign_in(desk) as client:
        client.select_folder("INBOX")
        client.delete_messages([2])
        client.expunge()
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 3)
    assert numbers(database) == [1, 3]


# -- moves


def test_accepted_messages_are_moved_to_a_folder_that_is_created(either_database: Database, desk: DovecotServer) -> None:
    sent = [message(number) for number in range(1, 121)]
    for one in sent:
        desk.deliver("desk", one)
    with watching(either_database, mailbox(desk, move_to="Casemill/Tekén")):
        wait_until(lambda: moved(either_database) == 120)
        desk.deliver("desk", message(121))
        wait_until(lambda: moved(either_database) == 121)
    assert desk.count("desk") == 0
    assert sorted(desk.messages("desk", "Casemill/Tekén")) == sorted([*sent, message(121)])


def test_failed_move_is_retried_without_duplicates(
    database: Database, desk: DovecotServer, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = desk.maildir("desk") / ".Done"
    blocked.write_text("a file where the folder should be")
    desk.deliver("desk", message(1))
    with caplog.at_level(logging.WARNING, "casemill.sources"), watching(database, mailbox(desk, move_to="Done")):
        wait_until(lambda: any("not moved" in record.message for record in caplog.records))
        assert (last_uid(database), moved(database), desk.count("desk")) == (1, 0, 1)
        desk.deliver("desk", message(2))
        wait_until(lambda: last_uid(database) == 2)
        blocked.unlink()
        wait_until(lambda: moved(database) == 2)
    assert desk.count("desk", "Done") == 2
    assert numbers(database) == [1, 2]


def test_move_folder_set_later_moves_messages_accepted_before(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", message(1))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 1)
    with watching(database, mailbox(desk, move_to="Done")):
        wait_until(lambda: moved(database) == 1)
    assert (desk.count("desk"), desk.count("desk", "Done")) == (0, 1)
