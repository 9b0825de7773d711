from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from core import clock
from core.reasons import Reason
from ingest.ledger import claims
from ingest.ledger.types import ClaimedItem, Outcome
from tests.ingest.support import IngestHarness, arrival, make_mail
from tests.waiting import scale_budget

MINE = "mine"
REASON = Reason("new_matter", "A person wrote")


def fill(harness: IngestHarness, count: int) -> list[int]:
    return [one.item_id for one in harness.accept(*(arrival(make_mail(number), f"{number}") for number in range(count)))]


def claim(harness: IngestHarness, token: str = MINE, limit: int = 100) -> list[ClaimedItem]:
    return claims.claim(harness.database, token, limit)


def test_oldest_items_are_claimed_up_to_the_limit(harness: IngestHarness) -> None:
    ids = fill(harness, 7)
    assert [item.id for item in claim(harness, "one", 3)] == ids[:3]
    assert [item.id for item in claim(harness, "two", 3)] == ids[3:6]
    assert [item.id for item in claim(harness, "three", 3)] == ids[6:]
    assert claim(harness, "four", 3) == []


def test_item_that_is_not_due_is_not_claimed(harness: IngestHarness) -> None:
    fill(harness, 2)
    item = claim(harness, "one", 1)[0]
    harness.database.transaction(lambda session: claims.retry(session, item, "timeout", clock.now()))
    assert [other.id for other in claim(harness, "two")] != [item.id]
    assert claim(harness, "three") == []


def test_isolated_item_is_claimed_alone_and_the_others_together(harness: IngestHarness) -> None:
    ids = fill(harness, 6)
    harness.sql("UPDATE inbound_item SET alone = :yes WHERE id IN (:a, :b)", yes=True, a=ids[0], b=ids[3])
    batches = [[item.id for item in claim(harness, f"token {turn}")] for turn in range(4)]
    assert batches == [[ids[0]], [ids[1], ids[2], ids[4], ids[5]], [ids[3]], []]


def test_batch_is_limited_in_bytes_and_has_at_least_one_item(monkeypatch: pytest.MonkeyPatch, harness: IngestHarness) -> None:
    sizes = [5_000, 40, 40, 40, 900]
    harness.accept(*(arrival(bytes([number]) * size, f"{number}") for number, size in enumerate(sizes)))
    monkeypatch.setattr(claims, "MAX_BATCH_BYTES", 1_000)
    assert [[item.size for item in claim(harness, f"token {turn}")] for turn in range(4)] == [[5_000], [40, 40, 40], [900], []]


def test_four_threads_never_claim_the_same_item(make_harness: Callable[..., IngestHarness]) -> None:
    harnesses = [make_harness() for _ in range(4)]
    ids = fill(harnesses[0], 200)
    barrier = threading.Barrier(4)

    def work(number: int) -> list[int]:
        barrier.wait(scale_budget(30))
        claimed: list[int] = []
        idle = 0
        # On PostgreSQL, a row that another transaction has locked is skipped, also when it does not claim it.
        while idle < 20:
            batch = claim(harnesses[number], f"thread {number}", 7)
            claimed += [item.id for item in batch]
            idle = 0 if batch else idle + 1
        return claimed

    with ThreadPoolExecutor(4) as threads:
        claimed = list(threads.map(work, range(4)))
    assert sorted(item for batch in claimed for item in batch) == sorted(ids)
    for number, batch in enumerate(claimed):
        assert {item.id for item in harnesses[0].items(claim=f"thread {number}")} == set(batch)


def test_renewed_claim_expires_later(harness: IngestHarness) -> None:
    fill(harness, 2)
    claim(harness, "one", 1)
    claim(harness, "two", 1)
    before = {item.claim: item.claim_until for item in harness.items()}
    claims.renew(harness.database, "one")
    after = {item.claim: item.claim_until for item in harness.items()}
    assert before["one"] is not None and after["one"] is not None
    assert after["one"] > before["one"]
    assert after["two"] == before["two"]


def test_expired_claim_counts_a_loss_and_a_live_one_does_not(harness: IngestHarness) -> None:
    ids = fill(harness, 2)
    claim(harness, "dead", 1)
    assert harness.expire() == 1
    claim(harness, "alive")
    assert claims.recover_expired(harness.database) == 0
    losses = {item.id: item.losses for item in harness.items()}
    assert losses == {ids[0]: 1, ids[1]: 0}


def test_released_items_are_unchanged(harness: IngestHarness) -> None:
    fill(harness, 3)
    before = harness.rows("SELECT * FROM inbound_item ORDER BY id")
    claim(harness, "mine", 2)
    claims.release(harness.database, "another")
    assert len(harness.items(state="claimed")) == 2
    claims.release(harness.database, "mine")
    assert harness.rows("SELECT * FROM inbound_item ORDER BY id") == before


def test_only_items_still_claimed_under_the_token_are_locked(harness: IngestHarness) -> None:
    ids = fill(harness, 3)
    claim(harness, "mine", 2)
    with harness.database.write() as session:
        assert claims.lock_claimed(session, "mine", ids) == set(ids[:2])
        assert claims.lock_claimed(session, "another", ids) == set()
    harness.expire()
    with harness.database.write() as session:
        assert claims.lock_claimed(session, "mine", ids) == set()


def test_settled_item_has_its_outcome_and_no_claim(harness: IngestHarness) -> None:
    ids = fill(harness, 2)
    claim(harness)
    now = clock.now()
    outcomes = [Outcome(item_id, "list", REASON) for item_id in reversed(ids)]
    harness.database.transaction(lambda session: claims.settle(session, outcomes, now))
    for item in harness.items():
        assert (item.state, item.disposition, item.reason_code, item.reason) == ("settled", "list", REASON.code, REASON.text)
        assert (item.claim, item.claim_until, item.settled_at) == (None, None, now)
    assert claim(harness) == []
    assert harness.expire() == 0


def test_settling_no_outcomes_changes_nothing(harness: IngestHarness) -> None:
    fill(harness, 1)
    harness.database.transaction(lambda session: claims.settle(session, [], clock.now()))
    assert harness.items()[0].state == "waiting"


def test_isolated_items_count_no_attempt_and_no_loss(harness: IngestHarness) -> None:
    ids = fill(harness, 2)
    claim(harness)
    harness.database.transaction(lambda session: claims.isolate(session, ids, clock.now()))
    assert {(item.state, item.alone, item.attempts, item.losses, item.disposition) for item in harness.items()} == {
        ("waiting", True, 0, 0, None)
    }
    assert len(claim(harness)) == 1
