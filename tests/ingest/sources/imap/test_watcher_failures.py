"""The IMAP watcher during failures: lost connections, leases and databases, refusals, and its pauses."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from core.database.session import Database
from core.leases import Lease, LeaseHolder
from ingest.sources.imap.watcher import MAX_PAUSE_SECONDS, MailboxWatcher, pause_after
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
    watching,
)
from tests.servers.dovecot import DovecotServer
from tests.servers.ports import free_port
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.waiting import scale_budget, wait_until

MakeProxy = Callable[[int], Proxy]


def test_connection_cut_in_the_middle_of_a_message_loses_and_duplicates_nothing(
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


def test_connection_cut_at_any_point_of_the_first_read_gives_one_item_for_each_message(
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


def test_connection_lost_during_idle_is_reopened_at_once(database: Database, desk: DovecotServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(desk.port)
    with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None, poll_seconds=300)):
        wait_until(lambda: last_uid(database) == 0)
        time.sleep(1)
        proxy.cut_now()
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1, 3)
    assert proxy.connections == 2


def test_watcher_reconnects_to_a_restarted_server(database: Database, desk: DovecotServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(desk.port)
    with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None)):
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1)
        desk.stop()
        # Dovecot leaves connections open when it is stopped.
        proxy.stop()
        wait_until(lambda: errors(database) > 0)
        desk.deliver("desk", message(2))
        desk.start()
        proxy.start()
        wait_until(lambda: last_uid(database) == 2)
        wait_until(lambda: errors(database) == 0)
    assert numbers(database) == [1, 2]


def test_mail_stays_on_the_server_while_the_database_is_unavailable(
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


def test_two_watchers_of_one_mailbox_accept_each_message_once(either_database: Database, desk: DovecotServer) -> None:
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


def test_second_watcher_takes_over_when_the_first_ends(database: Database, desk: DovecotServer) -> None:
    stop = threading.Event()
    first = MailboxWatcher("desk", mailbox(desk), database, LIMITS, stop)
    thread = threading.Thread(target=first.run)
    thread.start()
    wait_until(lambda: last_uid(database) == 0)
    with watching(database, mailbox(desk)):
        stop.set()
        thread.join(scale_budget(5))
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1, 8)
    assert numbers(database) == [1]


def test_watcher_that_lost_its_lease_stops_writing(database: Database, desk: DovecotServer, make_proxy: MakeProxy) -> None:
    proxy = make_proxy(desk.port)
    with watching(database, mailbox(desk, port=proxy.port, tls=False, ca_file=None), lease_seconds=60):
        wait_until(lambda: last_uid(database) == 0)
        # The lease expires while its holder waits for the server.
        with database.write() as session:
            session.execute(update(Lease).where(Lease.name == "mailbox:desk").values(token=None))
        other = LeaseHolder(database, "mailbox:desk", ttl_seconds=600)
        assert other.acquire()
        desk.deliver("desk", message(1))
        time.sleep(3)
        assert (items(database), last_uid(database)) == ([], 0)
        other.release()
        wait_until(lambda: last_uid(database) == 1)


def test_unreachable_mailbox_does_not_stop_another(database: Database, desk: DovecotServer) -> None:
    down = mailbox(desk, port=free_port())
    with watching(database, down, "down"), watching(database, mailbox(desk)):
        wait_until(lambda: (row := cursor(database, "down")) is not None and row.errors >= 1)
        desk.deliver("desk", message(1))
        wait_until(lambda: last_uid(database) == 1)
    row = cursor(database, "down")
    assert row is not None and (row.error, row.uidvalidity) == ("connection_refusal", 0)


def test_five_errors_in_a_row_log_one_alert_and_the_recovery_another(
    database: Database, desk: DovecotServer, make_proxy: MakeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = make_proxy(desk.port)
    box = mailbox(desk, port=proxy.port, tls=False, ca_file=None)

    def alerts() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]

    with caplog.at_level(logging.INFO, "casemill.sources"):
        # Each new watcher fails at once, where one watcher would back off for hours.
        for _ in range(8):
            proxy.stop()
            with watching(database, box):
                before = errors(database)
                wait_until(lambda before=before: errors(database) > before)  # type: ignore[misc]
        assert errors(database) >= 8
        assert alerts() == ["imap mailbox unreachable"]
        proxy.start()
        with watching(database, box):
            wait_until(lambda: last_uid(database) == 0)
            wait_until(lambda: errors(database) == 0)
        assert alerts() == ["imap mailbox unreachable", "imap mailbox reachable again"]


def errors(database: Database) -> int:
    row = cursor(database)
    return row.errors if row else 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ca_file": None}, "untrusted_certificate"),
        ({"user": "unknown-user"}, "login_refusal"),
        ({"folder": "No Such Folder"}, "server_refusal"),
        ({"host": "no-such-host.invalid"}, "unknown_host"),
    ],
)
def test_mailbox_error_is_recorded_as_a_code(
    database: Database, desk: DovecotServer, changes: dict[str, object], code: str
) -> None:
    desk.deliver("desk", message(1))
    with watching(database, mailbox(desk, **changes)):
        wait_until(lambda: (row := cursor(database)) is not None and row.errors > 0)
    row = cursor(database)
    assert row is not None and row.error == code
    assert items(database) == []


def test_password_is_never_sent_in_plain_text(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk).model_copy(update={"host": "mail.example.com", "tls": False, "port": 143})
    with watching(database, box):
        wait_until(lambda: (row := cursor(database)) is not None and row.errors > 0)
    row = cursor(database)
    assert row is not None and row.error == "plain_text_refusal"


def test_pauses_grow_to_ten_minutes_and_the_first_lost_connection_has_none() -> None:
    assert pause_after(1, at_once=True, jitter=1.0) == 0
    assert [pause_after(errors, at_once=False, jitter=1.0) for errors in (1, 2, 3, 4, 5, 6)] == [1, 2, 4, 8, 30, 60]
    assert pause_after(5000, at_once=True, jitter=1.0) == MAX_PAUSE_SECONDS
    assert pause_after(5000, at_once=True, jitter=0.0) == MAX_PAUSE_SECONDS / 2
