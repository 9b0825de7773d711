"""The IMAP watcher against a real Dovecot: what is taken, once, and when the server is told."""

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


def test_a_full_mailbox_is_taken_oldest_first_and_byte_for_byte(either_database: Database, desk: DovecotServer) -> None:
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


def test_the_date_of_arrival_is_kept_in_utc(database: Database, desk: DovecotServer) -> None:
    with sign_in(desk) as client:
        arrived = datetime(2026, 10, 3, 23, 30, tzinfo=UTC).astimezone()
        client.append("INBOX", message(1), msg_time=arrived)
    with watching(database, mailbox(desk)):
        wait_until(lambda: items(database))
    assert items(database)[0].received_at == datetime(2026, 10, 3, 23, 30, tzinfo=UTC)


def test_without_a_folder_to_move_to_nothing_changes_on_the_server(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", message(1))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 1)
    with sign_in(desk) as client:
        client.select_folder("INBOX", readonly=True)
        assert b"\\Seen" not in client.get_flags([1])[1]
        assert client.search("ALL") == [1]


def test_new_mail_is_taken_by_idle_long_before_the_next_poll(database: Database, desk: DovecotServer) -> None:
    with watching(database, mailbox(desk, poll_seconds=300)):
        wait_until(lambda: last_uid(database) == 0)
        for number in range(1, 6):  # some come while IDLE begins, some while it lasts
            desk.deliver("desk", message(number))
            wait_until(lambda wanted=number: len(items(database)) == wanted, 30)  # type: ignore[misc]


def test_news_that_come_together_with_the_go_ahead_of_idle_are_not_overlooked(desk: DovecotServer) -> None:
    settings = mailbox(desk)
    for round_number in range(1, 16):
        with ImapSession(settings) as session:
            desk.deliver("desk", message(round_number))
            time.sleep(0.01 * (round_number % 5))
            begun = time.monotonic()
            session.wait(20, lambda: False, threading.Event())
            assert time.monotonic() - begun < 15, "the server had said it, and nobody looked"


def test_the_same_bytes_twice_are_one_item_with_two_sightings(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2, 1):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 3)
    assert numbers(database) == [1, 2]
    assert [sighting.first for sighting in sightings(database)] == [True, True, False]


def test_after_a_new_uidvalidity_everything_is_seen_again_and_nothing_taken_twice(
    either_database: Database, desk: DovecotServer
) -> None:
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


def test_a_new_uidvalidity_does_not_bring_in_what_the_first_contact_left_out(database: Database, desk: DovecotServer) -> None:
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


def test_the_first_contact_takes_only_what_arrives_from_now_on(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk, since=None)):
        wait_until(lambda: last_uid(database) == 3)
        desk.deliver("desk", message(4))
        wait_until(lambda: last_uid(database) == 4)
    assert numbers(database) == [4]
    row = cursor(database)
    assert row is not None and (row.first_uid, row.left_out) == (4, 3)


def test_the_first_contact_takes_mail_from_a_date_on(database: Database, desk: DovecotServer) -> None:
    with sign_in(desk) as client:
        for number, day in enumerate((3, 20, 5, 21), 1):
            client.append("INBOX", message(number), msg_time=datetime(2026, 10, day, 12, tzinfo=UTC))
    with watching(database, mailbox(desk, since=date(2026, 10, 10))):
        wait_until(lambda: last_uid(database) == 4)
    assert numbers(database) == [2, 4]
    row = cursor(database)
    assert row is not None and row.left_out == 2


def test_setting_since_to_all_later_brings_in_what_was_left_out(database: Database, desk: DovecotServer) -> None:
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


def test_of_a_message_too_large_only_the_header_is_taken_and_the_mailbox_goes_on(database: Database, desk: DovecotServer) -> None:
    for number, size in ((1, 0), (2, 90_000), (3, 0)):
        desk.deliver("desk", message(number, size))
    with watching(database, mailbox(desk), limits=Limits(message_bytes=50_000)):
        wait_until(lambda: last_uid(database) == 3)
    assert sorted(item.kind for item in items(database)) == ["mail", "mail", "oversize"]
    oversize = next(item for item in items(database) if item.kind == "oversize")
    assert oversize.extra == {"size": len(message(2, 90_000)), "oversize": True}
    assert bodies(database)[1] == message(2).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert oversize.identity == f"oversize:{oversize.sha256}"


def test_a_message_of_twenty_megabytes_arrives_whole(database: Database, desk: DovecotServer) -> None:
    large = message(1, 20 * 1024 * 1024) + b"\r\n"
    desk.deliver("desk", large)
    desk.deliver("desk", message(2))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 2, 30)
    assert bodies(database) == [large, message(2)]


def test_an_empty_message_is_an_item_too(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", b"")
    desk.deliver("desk", message(2))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 2)
    assert bodies(database) == [b"", message(2)]


def test_a_uid_that_vanished_is_passed(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    with sign_in(desk) as client:
        client.select_folder("INBOX")
        client.delete_messages([2])
        client.expunge()
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 3)
    assert numbers(database) == [1, 3]


# -- moving


def test_what_was_taken_is_moved_to_a_folder_that_is_made_when_missing(either_database: Database, desk: DovecotServer) -> None:
    sent = [message(number) for number in range(1, 121)]
    for one in sent:
        desk.deliver("desk", one)
    with watching(either_database, mailbox(desk, move_to="Casemill/Tekén")):
        wait_until(lambda: moved(either_database) == 120)
        desk.deliver("desk", message(121))
        wait_until(lambda: moved(either_database) == 121)
    assert desk.count("desk") == 0
    assert sorted(desk.messages("desk", "Casemill/Tekén")) == sorted([*sent, message(121)])


def test_a_move_that_failed_is_tried_again_and_takes_nothing_twice(
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


def test_moving_set_up_later_moves_what_had_been_taken_before(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", message(1))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 1)
    with watching(database, mailbox(desk, move_to="Done")):
        wait_until(lambda: moved(database) == 1)
    assert (desk.count("desk"), desk.count("desk", "Done")) == (0, 1)
