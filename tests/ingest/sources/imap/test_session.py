"""One IMAP session against a real Dovecot: searching, and moving on servers that lack extensions."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest.sources.imap import session as imap_session
from ingest.sources.imap.fetch import BATCH_BYTES, About, Vanished, batches, chunks, fetch, look_up
from ingest.sources.imap.session import ImapSession
from tests.ingest.sources.support import mailbox, message
from tests.servers.dovecot import DovecotServer
from tests.servers.proxy import Proxy

LIMIT = 25 * 1024 * 1024
NOW = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture
def open_session(desk: DovecotServer) -> Iterator[Callable[..., ImapSession]]:
    sessions: list[ImapSession] = []

    def start(**changes: Any) -> ImapSession:
        sessions.append(ImapSession(mailbox(desk, **changes)))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


OpenSession = Callable[..., ImapSession]


def test_a_search_behind_the_last_message_finds_nothing(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1))
    session = open_session()
    assert session.search(1) == [1]
    assert session.search(2) == []


def test_an_empty_folder_is_searched_without_an_error(open_session: OpenSession) -> None:
    session = open_session()
    assert (session.selected.uidnext, session.selected.exists, session.search(1)) == (1, 0, [])


def test_a_search_in_spans_finds_what_one_search_finds(
    desk: DovecotServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 24):
        desk.deliver("desk", message(number))
    session = open_session()
    monkeypatch.setattr(imap_session, "SEARCH_SPAN", 5)
    assert session.search_all(1, None, None) == list(range(1, 24))
    assert session.search_all(3, 20, None) == list(range(3, 21))
    assert session.search_all(1, 3, None) == [1, 2, 3]


def test_a_session_that_moves_nothing_cannot_change_a_flag(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1))
    session = open_session()
    with contextlib.suppress(*imap_session.MAIL_ERRORS):
        session._client.add_flags([1], [b"\\Seen"])
    writer = open_session(move_to="Done")
    assert b"\\Seen" not in writer._client.get_flags([1])[1]
    writer._client.add_flags([1], [b"\\Seen"])
    assert b"\\Seen" in writer._client.get_flags([1])[1]


def test_moving_works_without_the_extension(desk: DovecotServer, open_session: OpenSession) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    session = open_session(move_to="Done")
    assert session.can_move and session.can_expunge
    session.can_move = False
    session.move([1, 3])
    assert desk.messages("desk") == [message(2)]
    assert desk.messages("desk", "Done") == [message(1), message(3)]


def test_without_uidplus_nobody_elses_deleted_mail_is_expunged(desk: DovecotServer, open_session: OpenSession) -> None:
    for number in (1, 2):
        desk.deliver("desk", message(number))
    session = open_session(move_to="Done")
    session.can_move = session.can_expunge = False
    session._client.add_flags([2], [b"\\Deleted"])
    session.move([1])
    assert desk.count("desk") == 2
    assert desk.messages("desk", "Done") == [message(1)]
    assert b"\\Deleted" in session._client.get_flags([1])[1]


def test_moving_what_is_gone_is_no_error(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1))
    session = open_session(move_to="Done")
    session.move([1])
    session.move([1])
    assert desk.count("desk", "Done") == 1


def test_a_message_expunged_by_someone_else_before_the_fetch_has_vanished(desk: DovecotServer, open_session: OpenSession) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    session, other = open_session(), open_session(move_to="Done")
    known, none = look_up(session, [1, 2, 3])
    assert none == []
    other.move([2])
    outcomes = fetch(session, known, LIMIT)
    assert [outcome.uid for outcome in outcomes] == [1, 2, 3]
    assert outcomes[1] == Vanished(2)
    assert look_up(session, [2]) == ([], [Vanished(2)])


def test_a_server_that_lies_about_the_size_cannot_bring_in_too_much(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1, 5_000))
    outcome = fetch(open_session(), [About(1, 10, NOW)], 1_000)[0]
    header = message(1).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert (getattr(outcome, "raw", None), getattr(outcome, "oversize", None)) == (header, len(message(1, 5_000)))


def test_idle_notices_a_dead_connection(
    desk: DovecotServer, make_proxy: Callable[[int], Proxy], open_session: OpenSession
) -> None:
    proxy = make_proxy(desk.port)
    session = open_session(port=proxy.port, tls=False, ca_file=None)
    proxy.cut_now()
    with pytest.raises(imap_session.BROKEN):
        session.wait(60, lambda: False, threading.Event())


def test_of_many_messages_the_first_few_are_taken_by_themselves() -> None:
    uids = list(range(1, 401))
    pieces = list(chunks(uids))
    assert [len(piece) for piece in pieces] == [50, 100, 100, 100, 50]
    assert [uid for piece in pieces for uid in piece] == uids
    assert [len(piece) for piece in chunks(uids[:3])] == [3]
    assert list(chunks([])) == []


def test_batches_hold_a_hundred_messages_and_a_few_megabytes_and_a_large_one_goes_alone() -> None:
    small = [About(uid, 1_000, NOW) for uid in range(1, 251)]
    assert [len(batch) for batch in batches(small, LIMIT)] == [100, 100, 50]
    sizes = [1_000, 20_000_000, 1_000, BATCH_BYTES // 2, BATCH_BYTES // 2, 1_000]
    mixed = [About(uid, size, NOW) for uid, size in enumerate(sizes, 1)]
    assert [[about.uid for about in batch] for batch in batches(mixed, LIMIT)] == [[1], [2], [3, 4], [5, 6]]
    assert list(batches([], LIMIT)) == []
