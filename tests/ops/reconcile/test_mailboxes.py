"""A real Dovecot held against the ledger: gaps are found, repaired, and nothing else is called one."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient
from sqlalchemy import delete, update

from core import clock
from core.database.session import Database
from core.settings.sections import Limits, Mailbox
from ingest.ledger.models import InboundItem, MailboxCursor, Sighting
from ingest.sources.imap.fetch import About
from ops.reconcile.mailboxes import MailboxCheck
from ops.reconcile.moved_mail import find_strange
from ops.reconcile.result import LATE, SourceComparison
from tests.ingest.sources.support import (
    LIMITS,
    bodies,
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
from tests.waiting import wait_until


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = make_tables(f"sqlite:///{tmp_path / 'casemill.db'}")
    yield database
    database.close()


@pytest.fixture
def either_database(database_url: str) -> Iterator[Database]:
    database = make_tables(database_url)
    yield database
    database.close()


@pytest.fixture
def desk(dovecot: DovecotServer) -> DovecotServer:
    dovecot.add_user("desk")
    return dovecot


def reconcile(database: Database, box: Mailbox, *, repair: bool = False, limits: Limits = LIMITS) -> SourceComparison:
    return MailboxCheck("desk", box, database, limits, repair=repair).run()


def take(database: Database, desk: DovecotServer, box: Mailbox, count: int, first: int = 1) -> None:
    """Deliver ``count`` mails and have the watcher take them."""
    for number in range(first, first + count):
        desk.deliver("desk", message(number))
    with watching(database, box):
        wait_until(lambda: last_uid(database) == first + count - 1)
        if box.move_to:
            wait_until(lambda: moved(database) == first + count - 1)


def lose(database: Database, *uids: int) -> None:
    """Forget that these were seen, and what they were."""
    lost = [sighting for sighting in sightings(database) if int(sighting.place.rpartition("/")[2]) in uids]
    assert len(lost) == len(uids)
    with database.write() as session:
        session.execute(delete(Sighting).where(Sighting.id.in_([one.id for one in lost])))
        session.execute(delete(InboundItem).where(InboundItem.id.in_([one.item_id for one in lost])))


def codes(balance: SourceComparison) -> list[tuple[str, str]]:
    return [(gap.code, gap.place.rpartition("/")[2]) for gap in balance.gaps]


def test_a_mailbox_that_was_read_has_no_gap(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 3)
    balance = reconcile(database, mailbox(desk))
    assert (balance.server, balance.ledger, balance.unread, balance.gaps, balance.notes) == (3, 3, 0, [], [])
    assert not balance.is_wrong


def test_a_lost_sighting_is_a_gap_and_is_mended_through_the_ledger(either_database: Database, desk: DovecotServer) -> None:
    database = either_database
    take(database, desk, mailbox(desk), 5)
    wanted = bodies(database)
    lose(database, 2, 4)
    balance = reconcile(database, mailbox(desk))
    assert codes(balance) == [("unknown_message", "2"), ("unknown_message", "4")]
    assert (balance.server, balance.ledger, balance.is_wrong) == (5, 3, True)
    assert len(items(database)) == 3  # nothing was repaired that nobody asked for
    repaired = reconcile(database, mailbox(desk), repair=True)
    assert [gap.repaired for gap in repaired.gaps] == [True, True]
    assert not repaired.is_wrong
    assert bodies(database) == wanted
    assert last_uid(database) == 5
    assert reconcile(database, mailbox(desk)).gaps == []


def test_mending_takes_the_size_limit_and_a_long_gap_as_the_watcher_does(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 120)
    desk.deliver("desk", message(121, size=40_000))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 121)
    lose(database, *range(1, 122))
    balance = reconcile(database, mailbox(desk), repair=True, limits=Limits(message_bytes=20_000))
    assert (len(balance.gaps), balance.open_gaps) == (121, 0)
    assert [item.kind for item in items(database)].count("mail") == 120
    assert [item.extra["size"] for item in items(database) if item.kind == "oversize"] == [len(message(121, size=40_000))]


def test_a_sighting_without_its_own_item_is_mended_as_one_more_sighting(database: Database, desk: DovecotServer) -> None:
    for number in (1, 1):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 2)
    with database.write() as session:
        session.execute(delete(Sighting).where(Sighting.first.is_(False)))
    assert not reconcile(database, mailbox(desk), repair=True).is_wrong
    assert (len(items(database)), len(sightings(database))) == (1, 2)


def test_what_is_not_read_yet_is_no_gap_until_it_is_late(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 1)
    desk.deliver("desk", message(2))
    balance = reconcile(database, mailbox(desk))
    assert (balance.server, balance.unread, balance.gaps, balance.is_wrong) == (2, 1, [], False)
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.append("INBOX", message(3), msg_time=(clock.now() - 2 * LATE).astimezone())
    balance = reconcile(database, mailbox(desk), repair=True)
    assert (codes(balance), balance.unread, balance.is_wrong) == ([("late_message", "3")], 1, True)
    assert "there for 20 min" in balance.gaps[0].text
    assert numbers(database) == [1]  # what is on its way is left to the watcher


def test_mail_from_before_the_first_contact_is_no_gap(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2):
        desk.deliver("desk", message(number))
    box = mailbox(desk, since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 2)
        desk.deliver("desk", message(3))
        wait_until(lambda: last_uid(database) == 3)
    balance = reconcile(database, box)
    assert (balance.server, balance.ledger, balance.gaps) == (1, 1, [])


def test_mail_from_a_day_on_counts_below_the_first_uid(database: Database, desk: DovecotServer) -> None:
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.append("INBOX", message(1), msg_time=(clock.now() - 20 * 24 * 6 * LATE).astimezone())
    for number in (2, 3):
        desk.deliver("desk", message(number))
    box = mailbox(desk, since=(clock.now() - 5 * 24 * 6 * LATE).date())
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 3)
    assert numbers(database) == [2, 3]
    assert reconcile(database, box).gaps == []
    lose(database, 3)
    assert codes(reconcile(database, box)) == [("unknown_message", "3")]


def test_a_message_that_was_expunged_is_told_and_no_gap(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 3)
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.select_folder("INBOX")
        client.delete_messages([2])
        client.expunge()
    balance = reconcile(database, mailbox(desk))
    assert (balance.server, balance.ledger, balance.gaps) == (2, 3, [])
    assert balance.notes == ["1 messages that were taken are no longer in INBOX"]


def test_another_uidvalidity_is_said_and_nothing_is_compared(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 2)
    desk.cut_connections()
    desk.reset_uidvalidity("desk")
    balance = reconcile(database, mailbox(desk), repair=True)
    assert balance.problem is not None and balance.problem.code == "changed_uidvalidity"
    assert balance.is_wrong
    assert len(sightings(database)) == 2
    with watching(database, mailbox(desk)):
        wait_until(lambda: len(sightings(database)) == 4)
        wait_until(lambda: last_uid(database) == 2)
    assert not reconcile(database, mailbox(desk)).is_wrong


def test_a_mailbox_that_was_never_read_has_nothing_to_compare(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", message(1))
    balance = reconcile(database, mailbox(desk))
    assert (balance.server, balance.ledger, balance.is_wrong) == (1, 0, False)
    assert "never read" in balance.notes[0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"port": 0}, "connection_refusal"),
        ({"password": "wrong"}, "login_refusal"),
        ({"folder": "Nowhere"}, "server_refusal"),
    ],
)
def test_a_server_that_cannot_be_asked_is_a_problem(
    database: Database, desk: DovecotServer, changes: dict[str, Any], code: str
) -> None:
    if "port" in changes:
        changes = {"port": free_port()}
    balance = reconcile(database, Mailbox.model_validate({**mailbox(desk).model_dump(), **changes}))
    assert balance.problem is not None and balance.problem.code == code
    assert balance.is_wrong


def test_mail_that_was_moved_is_known_where_it_lies(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk, move_to="Done", since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    take(database, desk, box, 4)
    balance = reconcile(database, box)
    assert (balance.ledger, balance.gaps, balance.is_wrong) == (4, [], False)


def test_a_message_in_the_move_folder_that_nobody_took_is_a_gap_and_is_mended(
    either_database: Database, desk: DovecotServer
) -> None:
    database = either_database
    box = mailbox(desk, move_to="Done", since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    take(database, desk, box, 1)
    time.sleep(1)  # dates of arrival are in whole seconds, and only what came after the first one was taken counts
    take(database, desk, box, 3, first=2)
    desk.deliver("desk", message(9), folder="Done")
    lose(database, 3)
    balance = reconcile(database, box)
    assert [gap.code for gap in balance.gaps] == ["unknown_message", "unknown_message"]
    assert {gap.place.partition("/")[0] for gap in balance.gaps} == {"Done"}
    assert not reconcile(database, box, repair=True).is_wrong
    assert sorted(numbers(database)) == [1, 2, 3, 4, 9]
    again = reconcile(database, box)
    assert (again.gaps, again.is_wrong) == ([], False)


def test_a_message_whose_move_was_not_recorded_is_fetched_and_known_by_its_content(
    database: Database, desk: DovecotServer
) -> None:
    box = mailbox(desk, move_to="Done", since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    take(database, desk, box, 3)
    with database.write() as session:
        session.execute(update(Sighting).values(moved_at=None))
    balance = reconcile(database, box)
    assert (balance.gaps, balance.is_wrong) == ([], False)


def test_old_mail_of_an_archive_is_no_gap(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk, move_to="Archive", since=None)
    old = desk.deliver("desk", message(7), folder="Archive")
    os.utime(old, (time.time() - 86_400, time.time() - 86_400))
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    take(database, desk, box, 1)
    assert reconcile(database, box).gaps == []


def test_what_is_still_to_be_moved_is_told(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 2)
    balance = reconcile(database, mailbox(desk, move_to="Done"))
    assert not balance.is_wrong
    assert "2 messages that were taken are still to be moved to Done" in balance.notes
    assert any("cannot be opened" in note for note in balance.notes)
    assert desk.count("desk", "Done") == 0 and desk.count("desk") == 2


def test_reconciling_changes_no_flag_and_moves_nothing(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 2)
    lose(database, 1, 2)
    reconcile(database, mailbox(desk, move_to="Done"), repair=True)
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.select_folder("INBOX", readonly=True)
        assert all(b"\\Seen" not in flags for flags in client.get_flags([1, 2]).values())
    assert desk.count("desk") == 2


def test_a_watcher_at_work_makes_no_gap(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 1)
    with watching(database, mailbox(desk)):
        for number in range(2, 60):
            desk.deliver("desk", message(number))
            if number % 6 == 0:
                assert reconcile(database, mailbox(desk)).gaps == []
        wait_until(lambda: last_uid(database) == 59)
    assert reconcile(database, mailbox(desk)).ledger == 59


def test_size_and_date_tell_messages_apart_only_by_their_number() -> None:
    now = clock.now()
    abouts = [About(1, 10, now), About(2, 10, now), About(3, 20, now)]
    assert find_strange(abouts, Counter({(10, now): 2, (20, now): 1})) == []
    assert find_strange(abouts, Counter({(10, now): 1, (20, now): 5})) == [1, 2]
    assert find_strange(abouts, Counter()) == [1, 2, 3]


def test_the_cursor_is_left_alone(database: Database, desk: DovecotServer) -> None:
    take(database, desk, mailbox(desk), 2)
    with database.read() as session:
        before = session.get_one(MailboxCursor, "desk").checked_at
    lose(database, 1)
    reconcile(database, mailbox(desk), repair=True)
    with database.read() as session:
        assert session.get_one(MailboxCursor, "desk").checked_at == before
