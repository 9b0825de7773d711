"""IMAP sessions with a real Dovecot: search, fetch, IDLE, and moves on servers without extensions."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest.sources.imap import session as imap_session
from ingest.sources.imap.fetch import (
    MAX_BATCH_BYTES,
    MessageInfo,
    VanishedMessage,
    fetch_infos,
    fetch_messages,
    split_batches,
    split_uids,
)
from ingest.sources.imap.session import ImapSession
from tests.ingest.sources.support import mailbox, message
from tests.servers.dovecot import DovecotServer
from tests.servers.proxy import Proxy

MAX_MESSAGE_BYTES = 25 * 1024 * 1024
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


def test_search_above_the_last_message_finds_nothing(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1))
    session = open_session()
    assert session.search(1) == [1]
    assert session.search(2) == []


def test_search_of_an_empty_folder_finds_nothing(open_session: OpenSession) -> None:
    session = open_session()
    assert (session.selected.uidnext, session.selected.message_count, session.search(1)) == (1, 0, [])


def test_search_in_ranges_finds_what_one_search_finds(
    desk: DovecotServer, open_session: OpenSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 24):
        desk.deliver("desk", message(number))
    session = open_session()
    monkeypatch.setattr(imap_session, "MAX_SEARCH_UIDS", 5)
    assert session.search_all(1, None, None) == list(range(1, 24))
    assert session.search_all(3, 20, None) == list(range(3, 21))
    assert session.search_all(1, 3, None) == [1, 2, 3]


def test_session_without_moves_cannot_change_a_flag(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1))
    session = open_session()
    with contextlib.suppress(*imap_session.MAIL_ERRORS):
        session._client.add_flags([1], [b"\\Seen"])
    writer = open_session(move_to="Done")
    assert b"\\Seen" not in writer._client.get_flags([1])[1]
    writer._client.add_flags([1], [b"\\Seen"])
    assert b"\\Seen" in writer._client.get_flags([1])[1]


def test_move_works_without_the_extension(desk: DovecotServer, open_session: OpenSession) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    session = open_session(move_to="Done")
    assert session.can_move and session.can_expunge
    session.can_move = False
    session.move([1, 3])
    assert desk.messages("desk") == [message(2)]
    assert desk.messages("desk", "Done") == [message(1), message(3)]


def test_move_without_uidplus_expunges_no_other_deleted_mail(desk: DovecotServer, open_session: OpenSession) -> None:
    for number in (1, 2):
        desk.deliver("desk", message(number))
    session = open_session(move_to="Done")
    session.can_move = session.can_expunge = False
    session._client.add_flags([2], [b"\\Deleted"])
    session.move([1])
    assert desk.count("desk") == 2
    assert desk.messages("desk", "Done") == [message(1)]
    assert b"\\Deleted" in session._client.get_flags([1])[1]


def test_move_of_a_missing_message_is_no_error(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1))
    session = open_session(move_to="Done")
    session.move([1])
    session.move([1])
    assert desk.count("desk", "Done") == 1


def test_message_expunged_before_the_fetch_has_vanished(desk: DovecotServer, open_session: OpenSession) -> None:
    for number in (1, 2, 3):
        desk.deliver("desk", message(number))
    session, other = open_session(), open_session(move_to="Done")
    known, none = fetch_infos(session, [1, 2, 3])
    assert none == []
    other.move([2])
    outcomes = fetch_messages(session, known, MAX_MESSAGE_BYTES)
    assert [outcome.uid for outcome in outcomes] == [1, 2, 3]
    assert outcomes[1] == VanishedMessage(2)
    assert fetch_infos(session, [2]) == ([], [VanishedMessage(2)])


def test_message_larger_than_its_claimed_size_is_cut_to_its_header(desk: DovecotServer, open_session: OpenSession) -> None:
    desk.deliver("desk", message(1, 5_000))
    outcome = fetch_messages(open_session(), [MessageInfo(1, 10, NOW)], 1_000)[0]
    header = message(1).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert (getattr(outcome, "raw", None), getattr(outcome, "oversize_bytes", None)) == (header, len(message(1, 5_000)))


def test_idle_detects_a_lost_connection(
    desk: DovecotServer, make_proxy: Callable[[int], Proxy], open_session: OpenSession
) -> None:
    proxy = make_proxy(desk.port)
    session = open_session(port=proxy.port, tls=False, ca_file=None)
    proxy.cut_now()
    with pytest.raises(imap_session.CONNECTION_ERRORS):
        session.wait(60, lambda: False, threading.Event())


def test_first_chunk_of_many_messages_is_smaller() -> None:
    uids = list(range(1, 401))
    chunks = list(split_uids(uids))
    assert [len(chunk) for chunk in chunks] == [50, 100, 100, 100, 50]
    assert [uid for chunk in chunks for uid in chunk] == uids
    assert [len(chunk) for chunk in split_uids(uids[:3])] == [3]
    assert list(split_uids([])) == []


def test_batches_have_limits_of_messages_and_bytes_and_large_messages_go_alone() -> None:
    small = [MessageInfo(uid, 1_000, NOW) for uid in range(1, 251)]
    assert [len(batch) for batch in split_batches(small, MAX_MESSAGE_BYTES)] == [100, 100, 50]
    sizes = [1_000, 20_000_000, 1_000, MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES // 2, 1_000]
    mixed = [MessageInfo(uid, size, NOW) for uid, size in enumerate(sizes, 1)]
    assert [[info.uid for info in batch] for batch in split_batches(mixed, MAX_MESSAGE_BYTES)] == [[1], [2], [3, 4], [5, 6]]
    assert list(split_batches([], MAX_MESSAGE_BYTES)) == []
