"""A watcher in the process of a pipeline hands its batches over to it."""

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
from ingest.sources.imap.fetch import FIRST_BATCH_MESSAGES
from tests.ingest.sources.support import items, last_uid, mailbox, message, watching
from tests.servers.dovecot import DovecotServer
from tests.waiting import wait_until

MAX_HANDOFF_ITEMS = 100


def deliver(desk: DovecotServer, first: int, count: int) -> None:
    for number in range(first, first + count):
        desk.deliver("desk", message(number))


def test_large_batches_are_handed_over_in_order_and_small_ones_wait_in_the_ledger(
    database: Database, desk: DovecotServer
) -> None:
    handoff = HandoffQueue(database, MAX_HANDOFF_ITEMS)
    deliver(desk, 0, FIRST_BATCH_MESSAGES + MIN_HANDOFF_ITEMS)
    with watching(database, mailbox(desk), handoff=handoff):
        wait_until(lambda: last_uid(database) == FIRST_BATCH_MESSAGES + MIN_HANDOFF_ITEMS)
        batches = [handoff.take(), handoff.take()]
        assert [len(batch.items) for batch in batches if batch] == [FIRST_BATCH_MESSAGES, MIN_HANDOFF_ITEMS]
        assert [item.id for batch in batches if batch for item in batch.items] == [item.id for item in by_due(database)]
        assert {item.state for item in items(database)} == {"claimed"}
        assert {item.claim for item in items(database)} == {batch.token for batch in batches if batch}
        deliver(desk, 1_000, MIN_HANDOFF_ITEMS - 1)
        wait_until(lambda: last_uid(database) == FIRST_BATCH_MESSAGES + 2 * MIN_HANDOFF_ITEMS - 1)
    assert handoff.take() is None
    assert [item.state for item in items(database)].count("waiting") == MIN_HANDOFF_ITEMS - 1


def test_batch_whose_commit_fails_is_not_handed_over(
    database: Database, desk: DovecotServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit fails, so each mail is stored alone and waits in the ledger."""
    handoff = HandoffQueue(database, MAX_HANDOFF_ITEMS)
    commit_failed = threading.Event()
    accept = intake.accept

    def refuse_many(session: Session, arrivals: Sequence[Arrival], *args: Any, **keywords: Any) -> list[Accepted]:
        accepted = accept(session, arrivals, *args, **keywords)
        if len(arrivals) > 1:
            commit_failed.set()
            raise ValueError("one of the mails cannot be stored")
        return accepted

    monkeypatch.setattr(intake, "accept", refuse_many)
    deliver(desk, 0, MIN_HANDOFF_ITEMS)
    with watching(database, mailbox(desk), handoff=handoff):
        wait_until(lambda: last_uid(database) == MIN_HANDOFF_ITEMS)
    assert commit_failed.is_set()
    assert handoff.take() is None
    assert [item.state for item in items(database)] == ["waiting"] * MIN_HANDOFF_ITEMS


def by_due(database: Database) -> list[InboundItem]:
    return sorted(items(database), key=lambda item: item.due_at)
