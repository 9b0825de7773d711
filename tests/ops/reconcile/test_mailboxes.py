"""Comparison of a real Dovecot with the ledger: gaps are found and repaired, and nothing else is called one."""

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
from ingest.sources.imap.fetch import MessageInfo
from ops.reconcile.mailboxes import MailboxComparison
from ops.reconcile.moved_mail import find_unmatched
from ops.reconcile.result import MAX_UNREAD_AGE, SourceComparison
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
    return MailboxComparison("desk", box, database, limits, repair=repair).run()


def accept_mails(database: Database, desk: DovecotServer, box: Mailbox, count: int, first: int = 1) -> None:
    """Deliver ``count`` mails and run the watcher until it has accepted them."""
    for number in range(first, first + count):
        desk.deliver("desk", message(number))
    with watching(database, box):
        wait_until(lambda: last_uid(database) == first + count - 1)
        if box.move_to:
            wait_until(lambda: moved(database) == first + count - 1)


def lose(database: Database, *uids: int) -> None:
    """Delete the sightings and the items of these UIDs."""
    lost = [sighting for sighting in sightings(database) if int(sighting.place.rpartition("/")[2]) in uids]
    assert len(lost) == len(uids)
    with database.write() as session:
        session.execute(delete(Sighting).where(Sighting.id.in_([one.id for one in lost])))
        session.execute(delete(InboundItem).where(InboundItem.id.in_([one.item_id for one in lost])))


def codes(comparison: SourceComparison) -> list[tuple[str, str]]:
    return [(gap.code, gap.place.rpartition("/")[2]) for gap in comparison.gaps]


def test_mailbox_that_was_read_has_no_gap(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 3)
    comparison = reconcile(database, mailbox(desk))
    assert (comparison.server, comparison.ledger, comparison.unread, comparison.gaps, comparison.notes) == (3, 3, 0, [], [])
    assert not comparison.has_problem


def test_lost_sighting_is_a_gap_and_is_repaired(either_database: Database, desk: DovecotServer) -> None:
    database = either_database
    accept_mails(database, desk, mailbox(desk), 5)
    wanted = bodies(database)
    lose(database, 2, 4)
    comparison = reconcile(database, mailbox(desk))
    assert codes(comparison) == [("unknown_message", "2"), ("unknown_message", "4")]
    assert (comparison.server, comparison.ledger, comparison.has_problem) == (5, 3, True)
    # Without repair nothing was accepted.
    assert len(items(database)) == 3
    repaired = reconcile(database, mailbox(desk), repair=True)
    assert [gap.is_repaired for gap in repaired.gaps] == [True, True]
    assert not repaired.has_problem
    assert bodies(database) == wanted
    assert last_uid(database) == 5
    assert reconcile(database, mailbox(desk)).gaps == []


def test_repair_accepts_oversize_messages_and_long_gaps_as_the_watcher_does(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 120)
    desk.deliver("desk", message(121, size=40_000))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 121)
    lose(database, *range(1, 122))
    comparison = reconcile(database, mailbox(desk), repair=True, limits=Limits(message_bytes=20_000))
    assert (len(comparison.gaps), comparison.open_gaps) == (121, 0)
    assert [item.kind for item in items(database)].count("mail") == 120
    assert [item.extra["size"] for item in items(database) if item.kind == "oversize"] == [len(message(121, size=40_000))]


def test_lost_second_sighting_is_repaired_without_a_new_item(database: Database, desk: DovecotServer) -> None:
    for number in (1, 1):
        desk.deliver("desk", message(number))
    with watching(database, mailbox(desk)):
        wait_until(lambda: last_uid(database) == 2)
    with database.write() as session:
        session.execute(delete(Sighting).where(Sighting.first.is_(False)))
    assert not reconcile(database, mailbox(desk), repair=True).has_problem
    assert (len(items(database)), len(sightings(database))) == (1, 2)


def test_unread_message_is_no_gap_until_it_is_late(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 1)
    desk.deliver("desk", message(2))
    comparison = reconcile(database, mailbox(desk))
    assert (comparison.server, comparison.unread, comparison.gaps, comparison.has_problem) == (2, 1, [], False)
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.append("INBOX", message(3), msg_time=(clock.now() - 2 * MAX_UNREAD_AGE).astimezone())
    comparison = reconcile(database, mailbox(desk), repair=True)
    assert (codes(comparison), comparison.unread, comparison.has_problem) == ([("late_message", "3")], 1, True)
    assert "there for 20 min" in comparison.gaps[0].text
    # Unread messages are left to the watcher.
    assert numbers(database) == [1]


def test_mail_older_than_the_first_read_is_no_gap(database: Database, desk: DovecotServer) -> None:
    for number in (1, 2):
        desk.deliver("desk", message(number))
    box = mailbox(desk, since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 2)
        desk.deliver("desk", message(3))
        wait_until(lambda: last_uid(database) == 3)
    comparison = reconcile(database, box)
    assert (comparison.server, comparison.ledger, comparison.gaps) == (1, 1, [])


def test_mail_since_a_day_is_compared_below_the_first_uid(database: Database, desk: DovecotServer) -> None:
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.append("INBOX", message(1), msg_time=(clock.now() - 20 * 24 * 6 * MAX_UNREAD_AGE).astimezone())
    for number in (2, 3):
        desk.deliver("desk", message(number))
    box = mailbox(desk, since=(clock.now() - 5 * 24 * 6 * MAX_UNREAD_AGE).date())
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 3)
    assert numbers(database) == [2, 3]
    assert reconcile(database, box).gaps == []
    lose(database, 3)
    assert codes(reconcile(database, box)) == [("unknown_message", "3")]


def test_expunged_message_is_a_note_and_no_gap(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 3)
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.select_folder("INBOX")
        client.delete_messages([2])
        client.expunge()
    comparison = reconcile(database, mailbox(desk))
    assert (comparison.server, comparison.ledger, comparison.gaps) == (2, 3, [])
    assert comparison.notes == ["1 accepted messages are no longer in INBOX"]


def test_changed_uidvalidity_is_a_problem_and_nothing_is_compared(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 2)
    desk.cut_connections()
    desk.reset_uidvalidity("desk")
    comparison = reconcile(database, mailbox(desk), repair=True)
    assert comparison.problem is not None and comparison.problem.code == "changed_uidvalidity"
    assert comparison.has_problem
    assert len(sightings(database)) == 2
    with watching(database, mailbox(desk)):
        wait_until(lambda: len(sightings(database)) == 4)
        wait_until(lambda: last_uid(database) == 2)
    assert not reconcile(database, mailbox(desk)).has_problem


def test_mailbox_that_was_never_read_has_no_gap(database: Database, desk: DovecotServer) -> None:
    desk.deliver("desk", message(1))
    comparison = reconcile(database, mailbox(desk))
    assert (comparison.server, comparison.ledger, comparison.has_problem) == (1, 0, False)
    assert "never read" in comparison.notes[0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"port": 0}, "connection_refusal"),
        ({"password": "wrong"}, "login_refusal"),
        ({"folder": "Nowhere"}, "server_refusal"),
    ],
)
def test_server_that_cannot_be_read_is_a_problem(
    database: Database, desk: DovecotServer, changes: dict[str, Any], code: str
) -> None:
    if "port" in changes:
        changes = {"port": free_port()}
    comparison = reconcile(database, Mailbox.model_validate({**mailbox(desk).model_dump(), **changes}))
    assert comparison.problem is not None and comparison.problem.code == code
    assert comparison.has_problem


def test_moved_mail_has_no_gap(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk, move_to="Done", since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    accept_mails(database, desk, box, 4)
    comparison = reconcile(database, box)
    assert (comparison.ledger, comparison.gaps, comparison.has_problem) == (4, [], False)


def test_unknown_message_in_the_move_folder_is_a_gap_and_is_repaired(either_database: Database, desk: DovecotServer) -> None:
    database = either_database
    box = mailbox(desk, move_to="Done", since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    accept_mails(database, desk, box, 1)
    # Dates of arrival are in whole seconds, and only messages after the first accepted one are compared.
    time.sleep(1)
    accept_mails(database, desk, box, 3, first=2)
    desk.deliver("desk", message(9), folder="Done")
    lose(database, 3)
    comparison = reconcile(database, box)
    assert [gap.code for gap in comparison.gaps] == ["unknown_message", "unknown_message"]
    assert {gap.place.partition("/")[0] for gap in comparison.gaps} == {"Done"}
    assert not reconcile(database, box, repair=True).has_problem
    assert sorted(numbers(database)) == [1, 2, 3, 4, 9]
    again = reconcile(database, box)
    assert (again.gaps, again.has_problem) == ([], False)


def test_message_whose_move_was_not_recorded_is_found_by_its_content(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk, move_to="Done", since=None)
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    accept_mails(database, desk, box, 3)
    with database.write() as session:
        session.execute(update(Sighting).values(moved_at=None))
    comparison = reconcile(database, box)
    assert (comparison.gaps, comparison.has_problem) == ([], False)


def test_old_mail_in_the_move_folder_is_no_gap(database: Database, desk: DovecotServer) -> None:
    box = mailbox(desk, move_to="Archive", since=None)
    old = desk.deliver("desk", message(7), folder="Archive")
    os.utime(old, (time.time() - 86_400, time.time() - 86_400))
    with watching(database, box):
        wait_until(lambda: last_uid(database) == 0)
    accept_mails(database, desk, box, 1)
    assert reconcile(database, box).gaps == []


def test_messages_still_to_be_moved_are_a_note(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 2)
    comparison = reconcile(database, mailbox(desk, move_to="Done"))
    assert not comparison.has_problem
    assert "2 accepted messages are still to be moved to Done" in comparison.notes
    assert any("cannot be opened" in note for note in comparison.notes)
    assert desk.count("desk", "Done") == 0 and desk.count("desk") == 2


def test_repair_changes_no_flag_and_moves_nothing(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 2)
    lose(database, 1, 2)
    reconcile(database, mailbox(desk, move_to="Done"), repair=True)
    with IMAPClient(desk.host, desk.port, ssl=False) as client:
        client.login("desk", desk.password)
        client.select_folder("INBOX", readonly=True)
        assert all(b"\\Seen" not in flags for flags in client.get_flags([1, 2]).values())
    assert desk.count("desk") == 2


def test_watcher_at_work_causes_no_gap(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 1)
    with watching(database, mailbox(desk)):
        for number in range(2, 60):
            desk.deliver("desk", message(number))
            if number % 6 == 0:
                assert reconcile(database, mailbox(desk)).gaps == []
        wait_until(lambda: last_uid(database) == 59)
    assert reconcile(database, mailbox(desk)).ledger == 59


def test_size_and_date_match_only_as_many_messages_as_were_moved() -> None:
    now = clock.now()
    infos = [MessageInfo(1, 10, now), MessageInfo(2, 10, now), MessageInfo(3, 20, now)]
    assert find_unmatched(infos, Counter({(10, now): 2, (20, now): 1})) == []
    assert find_unmatched(infos, Counter({(10, now): 1, (20, now): 5})) == [1, 2]
    assert find_unmatched(infos, Counter()) == [1, 2, 3]


def test_repair_does_not_change_the_cursor(database: Database, desk: DovecotServer) -> None:
    accept_mails(database, desk, mailbox(desk), 2)
    with database.read() as session:
        before = session.get_one(MailboxCursor, "desk").checked_at
    lose(database, 1)
    reconcile(database, mailbox(desk), repair=True)
    with database.read() as session:
        assert session.get_one(MailboxCursor, "desk").checked_at == before
