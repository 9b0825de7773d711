"""The IMAP watcher against a real Dovecot: what is taken, once, and when the server is told."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from imapclient import IMAPClient
from sqlalchemy import update

from core.db import Database
from core.leases import Lease, LeaseHolder
from core.sections import Limits
from ingest.sources.imap import MAX_PAUSE, MailboxWatcher, pause_after
from ingest.sources.imap_session import ImapSession
from tests.ingest.sources.support import (
    LIMITS,
    bodies,
    cursor,
    items,
    last_uid,
    mailbox,
    make_tables,
    message,
    moved,
    numbers,
    sightings,
    wait_until,
    watching,
)
from tests.servers.dovecot import DovecotServer
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

MakeProxy = Callable[[int], Proxy]


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


# -- faults


def test_a_connection_cut_in_the_middle_of_a_message_loses_and_doubles_nothing(
    either_database: Database, desk: DovecotServer, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(desk.port)
    for number in range(1, 41):
        desk.deliver("desk", message(number, 5_000))
    for cut in (60_000, 90_000, 120_000):
        proxy.cut_after(cut)
        box = mailbox(desk, port=proxy.port, tls=False, ca_file=None)
        with watching(either_database, box):
            wait_until(lambda: last_uid(either_database) >= 0)
            wait_until(lambda: last_uid(either_database) == 40)
        with either_database.write() as session:
            session.execute(update(Lease).values(until=datetime.now(UTC) - timedelta(seconds=1)))
    assert sorted(numbers(either_database)) == list(range(1, 41))
    assert {len(body) for body in bodies(either_database)} == {len(message(number, 5_000)) for number in (1, 10)}


def test_every_cut_of_a_first_contact_ends_in_one_item_for_each_message(
    tmp_path_factory: pytest.TempPathFactory, desk: DovecotServer, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(desk.port)
    for number in range(1, 4):
        desk.deliver("desk", message(number, 400))
    for cut in range(0, 4200, 300):
        database = make_tables(f"sqlite:///{tmp_path_factory.mktemp('cut') / 'casemill.db'}")
        proxy.cut_after(cut)
        with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None)):
            wait_until(lambda one=database: last_uid(one) == 3)  # type: ignore[misc]
        assert sorted(numbers(database)) == [1, 2, 3]
        assert {item.kind for item in items(database)} == {"mail"}
        database.close()


def test_a_connection_dropped_while_idling_is_noticed_and_mended_at_once(
    database: Database, desk: DovecotServer, make_proxy: MakeProxy
) -> None:
    proxy = make_proxy(desk.port)
    with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None, poll_seconds=300)):
        wait_until(lambda: last_uid(database) == 0)
        time.sleep(1)
        proxy.cut_now()
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1, 3)
    assert proxy.connections == 2


def test_a_server_that_is_restarted_is_taken_up_again(database: Database, desk: DovecotServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(desk.port)
    with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None)):
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1)
        desk.stop()
        proxy.stop()  # what Dovecot leaves open when it is told to end
        wait_until(lambda: errors(database) > 0)
        desk.deliver("desk", message(2))
        desk.start()
        proxy.start()
        wait_until(lambda: last_uid(database) == 2)
        wait_until(lambda: errors(database) == 0)
    assert numbers(database) == [1, 2]


def test_mail_stays_where_it_is_while_the_database_is_away(
    postgres_url: str, postgres_server: PostgresServer, desk: DovecotServer
) -> None:
    database = make_tables(postgres_url)
    with watching(database, mailbox(desk, move_to="Done")):
        wait_until(lambda: last_uid(database) == 0)
        postgres_server.stop("immediate")
        desk.deliver("desk", message(1))
        time.sleep(3)
        assert desk.count("desk") == 1
        postgres_server.start()
        wait_until(lambda: moved(database) == 1, 30)
    assert numbers(database) == [1]
    database.close()


def test_two_watchers_of_one_mailbox_take_each_message_once(either_database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk, move_to="Done")
    for number in range(1, 31):
        desk.deliver("desk", message(number))
    with watching(either_database, box), watching(either_database, box):
        for number in range(31, 61):
            desk.deliver("desk", message(number))
        wait_until(lambda: moved(either_database) == 60)
    assert sorted(numbers(either_database)) == list(range(1, 61))
    assert len(sightings(either_database)) == 60
    assert desk.count("desk", "Done") == 60


def test_a_second_watcher_takes_over_when_the_first_ends(database: Database, desk: DovecotServer) -> None:
    stop = threading.Event()
    first = MailboxWatcher("desk", mailbox(desk), database, LIMITS, stop)
    thread = threading.Thread(target=first.run)
    thread.start()
    wait_until(lambda: last_uid(database) == 0)
    with watching(database, mailbox(desk)):
        stop.set()
        thread.join(5)
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1, 8)
    assert numbers(database) == [1]


def test_a_watcher_whose_lease_was_taken_stops_writing(database: Database, desk: DovecotServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(desk.port)
    with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None), lease_seconds=60):
        wait_until(lambda: last_uid(database) == 0)
        with database.write() as session:  # the lease ran out while the holder slept
            session.execute(update(Lease).where(Lease.name == "mailbox:desk").values(token=None))
        other = LeaseHolder(database, "mailbox:desk", seconds=600)
        assert other.acquire()
        desk.deliver("desk", message(1))
        time.sleep(3)
        assert (items(database), last_uid(database)) == ([], 0)
        other.release()
        wait_until(lambda: last_uid(database) == 1)


def test_one_mailbox_that_is_down_does_not_stop_another(database: Database, desk: DovecotServer) -> None:
    down = mailbox(desk, port=free_port())
    with watching(database, down, "down"), watching(database, mailbox(desk)):
        wait_until(lambda: (row := cursor(database, "down")) is not None and row.errors >= 1)
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1)
    row = cursor(database, "down")
    assert row is not None and (row.error, row.uidvalidity) == ("connection_refusal", 0)


def test_five_errors_in_a_row_raise_one_alert_and_the_recovery_another(
    database: Database, desk: DovecotServer, make_proxy: MakeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = make_proxy(desk.port)
    box = mailbox(desk, port=proxy.port, tls=False, ca_file=None)

    def alerts() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]

    with caplog.at_level(logging.INFO, "casemill.sources"):
        for _ in range(8):  # each watcher fails at once, as one would over the hours
            proxy.stop()
            with watching(database, box):
                before = errors(database)
                wait_until(lambda before=before: errors(database) > before)  # type: ignore[misc]
        assert errors(database) >= 8
        assert alerts() == ["mailbox unreachable"]
        proxy.start()
        with watching(database, box):
            wait_until(lambda: last_uid(database) == 0)
            wait_until(lambda: errors(database) == 0)
        assert alerts() == ["mailbox unreachable", "mailbox answers again"]


def errors(database: Database) -> int:
    row = cursor(database)
    return row.errors if row else 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca_file": None}, "untrusted_certificate"),
        ({"user": "nobody-here"}, "login_refusal"),
        ({"folder": "No Such Folder"}, "server_refusal"),
        ({"host": "no-such-host.invalid"}, "unknown_host"),
    ],
)
def test_what_is_wrong_with_a_mailbox_is_recorded_as_a_code(
    database: Database, desk: DovecotServer, changes: dict[str, object], code: str
) -> None:
    desk.deliver("desk", message(1))
    with watching(database, mailbox(desk, **changes)):
        wait_until(lambda: (row := cursor(database)) is not None and row.errors > 0)
    row = cursor(database)
    assert row is not None and row.error == code
    assert items(database) == []


def test_a_password_never_leaves_the_house_in_plain_text(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk).model_copy(update={"host": "mail.example.com", "tls": False, "port": 143})
    with watching(database, box):
        wait_until(lambda: (row := cursor(database)) is not None and row.errors > 0)
    row = cursor(database)
    assert row is not None and row.error == "plain_text_refusal"


def test_pauses_grow_to_ten_minutes_and_the_first_loss_is_mended_at_once() -> None:
    assert pause_after(1, at_once=True, jitter=1.0) == 0
    assert [pause_after(errors, at_once=False, jitter=1.0) for errors in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 30, 60]
    assert pause_after(5000, at_once=True, jitter=1.0) == MAX_PAUSE
    assert pause_after(5000, at_once=True, jitter=0.0) == MAX_PAUSE / 2
