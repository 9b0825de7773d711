"""Claims on deliveries and their states, without a transport."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, update
from sqlalchemy.orm import Session

from core import claims as core_claims
from core import clock
from notify import claims
from notify.claims import ClaimedDelivery, ClaimLostError
from notify.models import Delivery
from tests.notify.harness import NotifyHarness


def everybody(_session: Session, batch: Sequence[ClaimedDelivery]) -> list[ClaimedDelivery]:
    return list(batch)


def claim(harness: NotifyHarness, token: str, limit: int = 50) -> list[ClaimedDelivery]:
    return harness.claim(token, limit)


def waiting(harness: NotifyHarness, count: int = 1) -> NotifyHarness:
    harness.add_tickets(count)
    harness.relay_facts()
    return harness


def intend(harness: NotifyHarness, token: str, delivery_id: int) -> None:
    with harness.database.write() as session:
        claims.update_claimed(session, token, delivery_id, "intent", attempts=1, tried_at=clock.now())


def change(harness: NotifyHarness, token: str, delivery_id: int, state: str) -> None:
    with harness.database.write() as session:
        claims.update_claimed(session, token, delivery_id, state, finished_at=clock.now(), claim=None)


# Claiming


def test_claim_without_due_deliveries_is_empty(harness: NotifyHarness) -> None:
    assert claims.claim(harness.database, "a", 50, everybody) == (0, [])


def test_longest_due_deliveries_are_claimed_first(harness: NotifyHarness) -> None:
    waiting(harness, 5)
    late = clock.now() - timedelta(hours=1)
    with harness.database.write() as session:
        session.execute(update(Delivery).where(Delivery.id == 4).values(due_at=late))
    assert [one.id for one in claim(harness, "a", 3)] == [4, 1, 2]


def test_claimed_deliveries_are_not_claimed_by_other_workers(harness: NotifyHarness) -> None:
    waiting(harness, 5)
    first, second, third = claim(harness, "a", 3), claim(harness, "b", 3), claim(harness, "c", 3)
    assert [[one.id for one in batch] for batch in (first, second, third)] == [[1, 2, 3], [4, 5], []]


def test_deliveries_due_later_are_not_claimed(harness: NotifyHarness) -> None:
    waiting(harness).update_deliveries(due_at=clock.now() + timedelta(seconds=30))
    assert claim(harness, "a") == []


def test_finished_deliveries_are_never_claimed(harness: NotifyHarness) -> None:
    waiting(harness).update_deliveries(state="ambiguous", finished_at=clock.now())
    assert claim(harness, "a") == []


def test_deliveries_stopped_by_limits_count_as_claimed(harness: NotifyHarness) -> None:
    waiting(harness, 3)
    assert claims.claim(harness.database, "a", 50, lambda _session, batch: list(batch)[:1])[0] == 3


def test_exception_in_rate_limiter_rolls_claim_back(harness: NotifyHarness) -> None:
    waiting(harness)

    def fail(_session: Session, _batch: Sequence[ClaimedDelivery]) -> list[ClaimedDelivery]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claims.claim(harness.database, "a", 50, fail)
    assert harness.delivery_states() == ["pending"]


# Changing


def test_only_claim_holder_changes_delivery(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    with pytest.raises(ClaimLostError), harness.database.write() as session:
        claims.update_claimed(session, "b", one.id, "sent")
    intend(harness, "a", one.id)
    change(harness, "a", one.id, "sent")
    assert harness.delivery_states() == ["sent"]


def test_final_outcome_cannot_be_changed(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    change(harness, "a", one.id, "sent")
    with pytest.raises(ClaimLostError):
        change(harness, "a", one.id, "failed")


def test_stored_message_is_never_overwritten(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    for number in range(2):
        made = replace(one, message_id=f"<{number}@x>", frozen=str(number).encode())
        with harness.database.write() as session:
            claims.store_messages(session, "a", [made])
    assert (harness.delivery().frozen, harness.delivery().message_id) == (b"0", "<0@x>")


def test_only_claim_holder_stores_message(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    made = replace(one, frozen=b"x")
    with harness.database.write() as session:
        claims.store_messages(session, "b", [made])
    assert harness.delivery().frozen is None


# Releasing


def test_released_delivery_keeps_its_place_and_is_not_counted(harness: NotifyHarness) -> None:
    waiting(harness, 3)
    due = [one.due_at for one in harness.deliveries()]
    held = claim(harness, "a", 2)
    harness.update_deliveries(tried_at=clock.now())
    with harness.database.write() as session:
        assert claims.release(session, "a", [one.id for one in held]) == 2
    assert harness.delivery_states() == ["pending"] * 3
    assert [one.due_at for one in harness.deliveries()] == due
    assert [one.tried_at for one in harness.deliveries()[:2]] == [None, None]
    assert [one.id for one in claim(harness, "b")] == [1, 2, 3]


def test_released_ambiguous_delivery_is_ambiguous_again(harness: NotifyHarness) -> None:
    waiting(harness).update_deliveries(state="ambiguous", ambiguities=1, tried_at=clock.now())
    (one,) = claim(harness, "a")
    with harness.database.write() as session:
        claims.release(session, "a", [one.id])
    assert harness.delivery_states() == ["ambiguous"]
    assert harness.delivery().tried_at is not None


def test_release_leaves_intents_and_other_claims_unchanged(harness: NotifyHarness) -> None:
    waiting(harness, 2)
    (mine,), (others,) = claim(harness, "a", 1), claim(harness, "b", 1)
    intend(harness, "a", mine.id)
    with harness.database.write() as session:
        assert claims.release(session, "a", [mine.id, others.id]) == 0
    assert harness.delivery_states() == ["intent", "claimed"]


# Recovering


def test_unexpired_claim_is_not_recovered(harness: NotifyHarness) -> None:
    claim(waiting(harness), "a")
    assert claims.recover_expired(harness.database) == 0
    assert harness.delivery_states() == ["claimed"]


def test_renewed_claim_expires_later(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    with harness.database.write() as session:
        claims.expire_all(session, clock.now() - timedelta(seconds=1))
    claims.renew(harness.database, "b", [one.id])
    held_until = harness.delivery().claim_until
    claims.renew(harness.database, "a", [one.id])
    renewed_until = harness.delivery().claim_until
    assert held_until is not None and renewed_until is not None
    assert renewed_until - held_until > core_claims.CLAIM_TTL
    assert claims.recover_expired(harness.database) == 0


def test_expired_claim_becomes_pending(harness: NotifyHarness) -> None:
    claim(waiting(harness), "a")
    harness.update_deliveries(tried_at=clock.now())
    harness.expire_claims()
    assert (harness.delivery_states(), harness.delivery().attempts, harness.delivery().tried_at) == (["pending"], 0, None)
    assert len(claim(harness, "b")) == 1


def test_expired_intent_becomes_ambiguous_and_is_repeated_once(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    intend(harness, "a", one.id)
    harness.expire_claims()
    assert (harness.delivery_states(), harness.delivery().reason_code) == (["ambiguous"], "outcome_unknown")
    assert (harness.delivery().finished_at, harness.read_facts("notice.settled")) == (None, [])
    (again,) = claim(harness, "b")
    assert again.ambiguities == 1
    intend(harness, "b", again.id)
    harness.expire_claims()
    assert harness.delivery_states() == ["ambiguous"]
    assert harness.delivery().finished_at is not None
    assert [fact["outcome"] for fact in harness.read_facts("notice.settled")] == ["ambiguous"]
    assert claim(harness, "c") == []


def test_expired_claim_on_ambiguous_delivery_is_ambiguous_again(harness: NotifyHarness) -> None:
    waiting(harness).update_deliveries(state="ambiguous", ambiguities=1, tried_at=clock.now())
    claim(harness, "a")
    harness.expire_claims()
    assert (harness.delivery_states(), harness.delivery().ambiguities) == (["ambiguous"], 1)
    assert harness.delivery().tried_at is not None


@pytest.mark.parametrize("mailing", ["ticket_assigned", "survey"])
def test_expired_intent_of_unrepeatable_mailing_is_final(harness: NotifyHarness, mailing: str) -> None:
    waiting(harness).update_deliveries(mailing=mailing)
    (one,) = claim(harness, "a")
    intend(harness, "a", one.id)
    harness.expire_claims()
    assert harness.delivery_states() == ["ambiguous"]
    assert harness.delivery().finished_at is not None
    assert claim(harness, "b") == []


def test_answer_after_claim_expiry_is_recorded(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    intend(harness, "a", one.id)
    harness.expire_claims()
    change(harness, "a", one.id, "sent")
    assert harness.delivery_states() == ["sent"]


def test_answer_after_claim_by_other_worker_is_not_recorded(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    intend(harness, "a", one.id)
    harness.expire_claims()
    claim(harness, "b")
    with pytest.raises(ClaimLostError):
        change(harness, "a", one.id, "sent")
    assert harness.delivery_states() == ["claimed"]


def test_stale_holder_cannot_commit_intent(harness: NotifyHarness) -> None:
    (one,) = claim(waiting(harness), "a")
    harness.expire_claims()
    with pytest.raises(ClaimLostError):
        intend(harness, "a", one.id)
    claim(harness, "b")
    with pytest.raises(ClaimLostError):
        intend(harness, "a", one.id)


# Query plans


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL decides by its statistics
def test_queries_for_due_and_claimed_deliveries_use_indexes(harness: NotifyHarness) -> None:
    asked: list[str] = []
    event.listen(harness.database._reader, "before_cursor_execute", lambda *a: asked.append(a[2]))
    event.listen(harness.database.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    waiting(harness, 2)
    del asked[:]
    (one, _) = claim(harness, "a")
    intend(harness, "a", one.id)
    claims.renew(harness.database, "a", [one.id])
    harness.expire_claims()
    statements = {sql for sql in asked if "delivery" in sql and not sql.startswith("INSERT")}
    assert len(statements) >= 6
    with harness.database.engine.connect() as connection:
        for sql in statements - {"UPDATE delivery SET claim_until=? WHERE state IN ('claimed', 'intent')"}:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", tuple([None] * sql.count("?"))).all()
            assert not [row for row in plan if row[3] == "SCAN delivery"], sql
