"""A delivery's states in the database, without a sender."""

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
from tests.notify.post import Post


def everybody(_session: Session, batch: Sequence[ClaimedDelivery]) -> list[ClaimedDelivery]:
    return list(batch)


def claim(post: Post, token: str, limit: int = 50) -> list[ClaimedDelivery]:
    return post.claim(token, limit)


def waiting(post: Post, count: int = 1) -> Post:
    post.tickets(count)
    post.relay()
    return post


def intend(post: Post, token: str, delivery_id: int) -> None:
    with post.database.write() as session:
        claims.update_claimed(session, token, delivery_id, "intent", attempts=1, tried_at=clock.now())


def change(post: Post, token: str, delivery_id: int, state: str) -> None:
    with post.database.write() as session:
        claims.update_claimed(session, token, delivery_id, state, finished_at=clock.now(), claim=None)


# Claiming


def test_nothing_due_is_nothing_claimed(post: Post) -> None:
    assert claims.claim(post.database, "a", 50, everybody) == (0, [])


def test_the_longest_due_are_claimed_first(post: Post) -> None:
    waiting(post, 5)
    late = clock.now() - timedelta(hours=1)
    with post.database.write() as session:
        session.execute(update(Delivery).where(Delivery.id == 4).values(due_at=late))
    assert [one.id for one in claim(post, "a", 3)] == [4, 1, 2]


def test_what_is_claimed_is_nobody_elses(post: Post) -> None:
    waiting(post, 5)
    first, second, third = claim(post, "a", 3), claim(post, "b", 3), claim(post, "c", 3)
    assert [[one.id for one in batch] for batch in (first, second, third)] == [[1, 2, 3], [4, 5], []]


def test_what_is_due_later_is_left_alone(post: Post) -> None:
    waiting(post).change(due_at=clock.now() + timedelta(seconds=30))
    assert claim(post, "a") == []


def test_what_is_finished_is_never_claimed(post: Post) -> None:
    waiting(post).change(state="ambiguous", finished_at=clock.now())
    assert claim(post, "a") == []


def test_those_that_are_not_let_go_count_as_taken(post: Post) -> None:
    waiting(post, 3)
    assert claims.claim(post.database, "a", 50, lambda _session, batch: list(batch)[:1])[0] == 3


def test_a_claim_that_cannot_be_decided_is_none(post: Post) -> None:
    waiting(post)

    def fail(_session: Session, _batch: Sequence[ClaimedDelivery]) -> list[ClaimedDelivery]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claims.claim(post.database, "a", 50, fail)
    assert post.states() == ["pending"]


# Changing


def test_only_the_holder_changes_a_delivery(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    with pytest.raises(ClaimLostError), post.database.write() as session:
        claims.update_claimed(session, "b", one.id, "sent")
    intend(post, "a", one.id)
    change(post, "a", one.id, "sent")
    assert post.states() == ["sent"]


def test_an_outcome_is_final(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    change(post, "a", one.id, "sent")
    with pytest.raises(ClaimLostError):
        change(post, "a", one.id, "failed")


def test_frozen_bytes_are_never_overwritten(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    for number in range(2):
        made = replace(one, message_id=f"<{number}@x>", frozen=str(number).encode())
        with post.database.write() as session:
            claims.store_messages(session, "a", [made])
    assert (post.delivery().frozen, post.delivery().message_id) == (b"0", "<0@x>")


def test_only_the_holder_freezes(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    made = replace(one, frozen=b"x")
    with post.database.write() as session:
        claims.store_messages(session, "b", [made])
    assert post.delivery().frozen is None


# Giving back


def test_what_is_given_back_keeps_its_place_and_counts_no_longer(post: Post) -> None:
    waiting(post, 3)
    due = [one.due_at for one in post.deliveries()]
    held = claim(post, "a", 2)
    post.change(tried_at=clock.now())
    with post.database.write() as session:
        assert claims.release(session, "a", [one.id for one in held]) == 2
    assert post.states() == ["pending"] * 3
    assert [one.due_at for one in post.deliveries()] == due
    assert [one.tried_at for one in post.deliveries()[:2]] == [None, None]
    assert [one.id for one in claim(post, "b")] == [1, 2, 3]


def test_what_was_ambiguous_is_ambiguous_again_when_given_back(post: Post) -> None:
    waiting(post).change(state="ambiguous", ambiguities=1, tried_at=clock.now())
    (one,) = claim(post, "a")
    with post.database.write() as session:
        claims.release(session, "a", [one.id])
    assert post.states() == ["ambiguous"]
    assert post.delivery().tried_at is not None


def test_neither_what_is_under_way_nor_what_others_hold_is_given_back(post: Post) -> None:
    waiting(post, 2)
    (mine,), (others,) = claim(post, "a", 1), claim(post, "b", 1)
    intend(post, "a", mine.id)
    with post.database.write() as session:
        assert claims.release(session, "a", [mine.id, others.id]) == 0
    assert post.states() == ["intent", "claimed"]


# Recovering


def test_nothing_is_recovered_while_its_holder_lives(post: Post) -> None:
    claim(waiting(post), "a")
    assert claims.recover_expired(post.database) == 0
    assert post.states() == ["claimed"]


def test_a_renewed_claim_lasts_longer(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    with post.database.write() as session:
        claims.expire_all(session, clock.now() - timedelta(seconds=1))
    claims.renew(post.database, "b", [one.id])
    held_until = post.delivery().claim_until
    claims.renew(post.database, "a", [one.id])
    renewed_until = post.delivery().claim_until
    assert held_until is not None and renewed_until is not None
    assert renewed_until - held_until > core_claims.CLAIM_TTL
    assert claims.recover_expired(post.database) == 0


def test_an_expired_claim_goes_back_to_pending(post: Post) -> None:
    claim(waiting(post), "a")
    post.change(tried_at=clock.now())
    post.expire_claims()
    assert (post.states(), post.delivery().attempts, post.delivery().tried_at) == (["pending"], 0, None)
    assert len(claim(post, "b")) == 1


def test_an_expired_intent_becomes_ambiguous_and_is_repeated_once(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    intend(post, "a", one.id)
    post.expire_claims()
    assert (post.states(), post.delivery().reason_code) == (["ambiguous"], "outcome_unknown")
    assert (post.delivery().finished_at, post.facts("notice.settled")) == (None, [])
    (again,) = claim(post, "b")
    assert again.ambiguities == 1
    intend(post, "b", again.id)
    post.expire_claims()
    assert post.states() == ["ambiguous"]
    assert post.delivery().finished_at is not None
    assert [fact["outcome"] for fact in post.facts("notice.settled")] == ["ambiguous"]
    assert claim(post, "c") == []


def test_an_expired_claim_of_an_ambiguous_delivery_is_ambiguous_again(post: Post) -> None:
    waiting(post).change(state="ambiguous", ambiguities=1, tried_at=clock.now())
    claim(post, "a")
    post.expire_claims()
    assert (post.states(), post.delivery().ambiguities) == (["ambiguous"], 1)
    assert post.delivery().tried_at is not None


@pytest.mark.parametrize("mailing", ["ticket_assigned", "survey"])
def test_an_expired_intent_of_what_is_never_repeated_is_final(post: Post, mailing: str) -> None:
    waiting(post).change(mailing=mailing)
    (one,) = claim(post, "a")
    intend(post, "a", one.id)
    post.expire_claims()
    assert post.states() == ["ambiguous"]
    assert post.delivery().finished_at is not None
    assert claim(post, "b") == []


def test_an_answer_that_came_after_the_claim_had_expired_still_counts(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    intend(post, "a", one.id)
    post.expire_claims()
    change(post, "a", one.id, "sent")
    assert post.states() == ["sent"]


def test_an_answer_that_came_after_somebody_else_took_over_does_not(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    intend(post, "a", one.id)
    post.expire_claims()
    claim(post, "b")
    with pytest.raises(ClaimLostError):
        change(post, "a", one.id, "sent")
    assert post.states() == ["claimed"]


def test_a_stale_holder_cannot_begin_what_was_given_to_another(post: Post) -> None:
    (one,) = claim(waiting(post), "a")
    post.expire_claims()
    with pytest.raises(ClaimLostError):
        intend(post, "a", one.id)
    claim(post, "b")
    with pytest.raises(ClaimLostError):
        intend(post, "a", one.id)


# With very many deliveries


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL decides by its statistics
def test_no_question_about_what_is_due_or_held_reads_the_whole_table(post: Post) -> None:
    asked: list[str] = []
    event.listen(post.database._reader, "before_cursor_execute", lambda *a: asked.append(a[2]))
    event.listen(post.database.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    waiting(post, 2)
    del asked[:]
    (one, _) = claim(post, "a")
    intend(post, "a", one.id)
    claims.renew(post.database, "a", [one.id])
    post.expire_claims()
    statements = {sql for sql in asked if "delivery" in sql and not sql.startswith("INSERT")}
    assert len(statements) >= 6
    with post.database.engine.connect() as connection:
        for sql in statements - {"UPDATE delivery SET claim_until=? WHERE state IN ('claimed', 'intent')"}:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", tuple([None] * sql.count("?"))).all()
            assert not [row for row in plan if row[3] == "SCAN delivery"], sql
