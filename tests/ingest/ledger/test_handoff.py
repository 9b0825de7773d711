"""Hand-off of claimed batches from a source to the pipeline of the same process."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from core import claims as core_claims
from core import clock
from core.database.session import Database
from core.errors import BusyError
from ingest.ledger import claims, handoff
from ingest.ledger.accept import accept
from ingest.ledger.handoff import MAX_QUEUED_ITEMS, MIN_HANDOFF_ITEMS, HandoffBatch, HandoffQueue
from ingest.ledger.types import Arrival
from ingest.pipeline import Pipeline
from tests.ingest.support import IngestHarness, arrival, arrivals, assert_all_tickets, make_mail


def hand_off(harness: IngestHarness, arrivals: Sequence[Arrival], queue: HandoffQueue | None = None) -> bool:
    """Accept as a watcher does, and return whether the new items went to the hand-off queue."""
    queue = queue or harness.pipeline.handoff_queue
    now = clock.now()
    with harness.database.write() as session:
        claim = queue.claim(session, len(arrivals))
        accepted = accept(session, arrivals, now, claim=claim)
    if claim is not None:
        queue.put(claim, arrivals, accepted, now)
    return claim is not None


def states(harness: IngestHarness) -> set[tuple[str, int, bool]]:
    return {(item.state, item.losses, item.alone) for item in harness.items()}


def test_handed_off_items_are_claimed_and_processed_without_a_search(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    assert states(harness) == {("claimed", 0, False)}
    assert claims.claim(harness.database, "another", 100) == []
    with monkeypatch.context() as patch:
        patch.setattr(claims, "claim", None)
        assert harness.pipeline.drain() == MIN_HANDOFF_ITEMS
    assert_all_tickets(harness.items())
    assert harness.pipeline.drain() == 0


def test_handed_off_items_equal_claimed_items(harness: IngestHarness) -> None:
    extra = {"mailbox": "support"}
    own_arrivals = [arrival(make_mail(number), str(number), extra=extra) for number in range(MIN_HANDOFF_ITEMS)]
    assert hand_off(harness, own_arrivals)
    batch = harness.pipeline.handoff_queue.take()
    assert batch is not None
    claims.release(harness.database, batch.token)
    assert list(batch.items) == claims.claim(harness.database, "another", 100)


def test_too_few_arrivals_wait_in_the_ledger(harness: IngestHarness) -> None:
    assert not hand_off(harness, arrivals(MIN_HANDOFF_ITEMS - 1))
    assert states(harness) == {("waiting", 0, False)}
    harness.drain()
    assert_all_tickets(harness.items())


def test_more_arrivals_than_a_batch_wait_in_the_ledger(harness: IngestHarness) -> None:
    assert not hand_off(harness, arrivals(MIN_HANDOFF_ITEMS + 1), HandoffQueue(harness.database, MIN_HANDOFF_ITEMS))
    assert states(harness) == {("waiting", 0, False)}


def test_nothing_is_handed_off_while_due_items_wait(harness: IngestHarness) -> None:
    harness.accept(arrival(make_mail("first"), "first"))
    assert not hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    assert states(harness) == {("waiting", 0, False)}
    harness.drain()
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS, MIN_HANDOFF_ITEMS))
    harness.drain()
    assert_all_tickets(harness.items())


def test_items_due_later_do_not_prevent_a_hand_off(harness: IngestHarness) -> None:
    harness.accept(arrival(make_mail("first"), "first"))
    harness.sql("UPDATE inbound_item SET due_at = :later", later=_later(harness.database))
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))


def test_full_queue_accepts_nothing_until_it_is_drained(harness: IngestHarness) -> None:
    count = MAX_QUEUED_ITEMS // 100
    for number in range(count):
        assert hand_off(harness, arrivals(100, 100 * number))
    assert not hand_off(harness, arrivals(MIN_HANDOFF_ITEMS, MAX_QUEUED_ITEMS))
    harness.drain()
    assert_all_tickets(harness.items())
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS, MAX_QUEUED_ITEMS + MIN_HANDOFF_ITEMS))


def test_known_items_are_not_handed_off_again(harness: IngestHarness) -> None:
    harness.accept(*arrivals(MIN_HANDOFF_ITEMS))
    harness.drain()
    assert hand_off(harness, [*arrivals(MIN_HANDOFF_ITEMS), *arrivals(5, MIN_HANDOFF_ITEMS), *arrivals(5, MIN_HANDOFF_ITEMS)])
    assert harness.pipeline.drain() == 5
    assert_all_tickets(harness.items())
    assert not hand_off(harness, [])
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    assert harness.pipeline.drain() == 0


def test_batches_are_processed_in_order_of_arrival(harness: IngestHarness) -> None:
    for first in (0, MIN_HANDOFF_ITEMS, 2 * MIN_HANDOFF_ITEMS):
        assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS, first))
    for count in (1, 2, 3):
        assert harness.pipeline.drain() == MIN_HANDOFF_ITEMS
        assert [item.state for item in harness.items()].count("settled") == count * MIN_HANDOFF_ITEMS
        assert all(item.state == "settled" for item in harness.items()[: count * MIN_HANDOFF_ITEMS])


def test_process_that_stops_releases_its_queued_batches(harness: IngestHarness) -> None:
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    harness.pipeline.release_queued()
    assert states(harness) == {("waiting", 0, False)}
    assert harness.pipeline.drain() == MIN_HANDOFF_ITEMS
    assert_all_tickets(harness.items())


def test_process_that_stops_without_its_database_stops_all_the_same(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    monkeypatch.setattr(handoff, "RENEW_AFTER_SECONDS", 0.0)

    def refuse(_session: object) -> None:
        raise BusyError("the database is busy")

    with monkeypatch.context() as patch:
        patch.setattr(harness.database, "transaction", refuse)
        harness.pipeline.release_queued()
    assert states(harness) == {("claimed", 0, False)}
    assert harness.pipeline.handoff_queue.take() is None


def test_process_that_dies_loses_no_queued_item(harness: IngestHarness, other_pipeline: Pipeline) -> None:
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    assert other_pipeline.drain() == 0, "the claim has not expired yet"
    assert harness.expire() == MIN_HANDOFF_ITEMS
    assert states(harness) == {("waiting", 1, True)}
    while other_pipeline.drain():
        pass
    assert_all_tickets(harness.items())
    harness.drain()
    assert_all_tickets(harness.items())


def test_claim_of_a_batch_that_waited_long_is_renewed_before_processing(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    before = claim_expiries(harness)
    monkeypatch.setattr(handoff, "RENEW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(Pipeline, "_process", lambda *_: None)
    assert harness.pipeline.drain() == MIN_HANDOFF_ITEMS
    assert all(after > until for after, until in zip(claim_expiries(harness), before, strict=True))


def test_only_items_still_claimed_are_processed_from_a_batch_that_waited_too_long(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS))
    first = harness.items()[0].id
    harness.sql("UPDATE inbound_item SET claim = 'another' WHERE id = :first", first=first)
    monkeypatch.setattr(handoff, "RENEW_AFTER_SECONDS", 0.0)
    assert harness.pipeline.drain() == MIN_HANDOFF_ITEMS - 1
    assert [item.id for item in harness.items() if item.state == "claimed"] == [first]
    harness.expire()
    assert hand_off(harness, arrivals(MIN_HANDOFF_ITEMS, MIN_HANDOFF_ITEMS)) is False
    harness.drain()
    assert_all_tickets(harness.items())


def test_claim_lives_longer_than_the_renewal_age_of_a_batch() -> None:
    assert core_claims.CLAIM_TTL.total_seconds() > 2 * handoff.RENEW_AFTER_SECONDS
    assert not HandoffBatch("token", []).needs_renewal


def claim_expiries(harness: IngestHarness) -> list[datetime]:
    return [item.claim_until for item in harness.items() if item.claim_until is not None]


def _later(database: Database) -> object:
    moment = clock.now() + timedelta(days=1)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}" if database.is_sqlite else moment


@pytest.fixture
def other_pipeline(harness: IngestHarness) -> Pipeline:
    """Return a pipeline that stands for another process on the same database."""
    return Pipeline(harness.database, harness.settings, harness.pool, harness.pipeline.planner.signer)
