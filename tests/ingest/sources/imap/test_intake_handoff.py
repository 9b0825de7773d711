"""A watcher beside a pipeline hands over what it takes in."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.database.session import Database
from ingest.ledger.handoff import MIN_HANDOFF_ITEMS, HandoffQueue
from ingest.ledger.models import InboundItem
from ingest.ledger.types import Accepted, Arrival
from ingest.sources.imap import intake
from ingest.sources.imap.fetch import FIRST_MESSAGES
from tests.ingest.sources.support import items, last_uid, mailbox, message, watching
from tests.servers.dovecot import DovecotServer
from tests.waiting import wait_until

TAKEN = 100


def deliver(desk: DovecotServer, first: int, count: int) -> None:
    for number in range(first, first + count):
        desk.deliver("desk", message(number))


def test_many_mails_are_handed_over_in_their_order_and_a_few_wait_in_the_ledger(database: Database, desk: DovecotServer) -> None:
    tray = HandoffQueue(database, TAKEN)
    deliver(desk, 0, FIRST_MESSAGES + MIN_HANDOFF_ITEMS)
    with watching(database, mailbox(desk), intray=tray):
        wait_until(lambda: last_uid(database) == FIRST_MESSAGES + MIN_HANDOFF_ITEMS)
        handed = [tray.take(), tray.take()]
        assert [len(batch.items) for batch in handed if batch] == [FIRST_MESSAGES, MIN_HANDOFF_ITEMS]
        found = items(database)
        assert [item.id for batch in handed if batch for item in batch.items] == [item.id for item in by_due(database)]
        assert {item.state for item in found} == {"claimed"}
        assert {item.claim for item in found} == {batch.token for batch in handed if batch}
        deliver(desk, 1_000, MIN_HANDOFF_ITEMS - 1)
        wait_until(lambda: last_uid(database) == FIRST_MESSAGES + 2 * MIN_HANDOFF_ITEMS - 1)
    assert tray.take() is None
    assert [item.state for item in items(database)].count("waiting") == MIN_HANDOFF_ITEMS - 1


def test_of_what_is_not_committed_nothing_is_handed_over(
    database: Database, desk: DovecotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is refused, so each mail is stored by itself, and waits in the ledger."""
    tray = HandoffQueue(database, TAKEN)
    refused = threading.Event()
    accept = intake.accept

    def refuse_many(session: Session, arrivals: Sequence[Arrival], *args: Any, **more: Any) -> list[Accepted]:
        accepted = accept(session, arrivals, *args, **more)
        if len(arrivals) > 1:
            refused.set()
            raise ValueError("one of them is odd")
        return accepted

    monkeypatch.setattr(intake, "accept", refuse_many)
    deliver(desk, 0, MIN_HANDOFF_ITEMS)
    with watching(database, mailbox(desk), intray=tray):
        wait_until(lambda: last_uid(database) == MIN_HANDOFF_ITEMS)
    assert refused.is_set()
    assert tray.take() is None
    assert [item.state for item in items(database)] == ["waiting"] * MIN_HANDOFF_ITEMS


def by_due(database: Database) -> list[InboundItem]:
    return sorted(items(database), key=lambda item: item.due_at)
