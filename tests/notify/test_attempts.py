"""The outcome of one delivery and the intent of the next, written together, on both databases."""

from __future__ import annotations

import pytest

from notify import attempts
from notify.claims import ClaimedDelivery, ClaimLostError
from tests.notify.post import Commits, Post


def take(post: Post, count: int) -> list[ClaimedDelivery]:
    post.tickets(count)
    post.relay()
    return post.claim("ours", count)


def test_an_intent_alone_is_one_commit(post: Post) -> None:
    (one,) = take(post, 1)
    with Commits(post.database.engine) as commits:
        attempts.record_intent(post.database, "ours", one, None)
    assert commits.count == 1
    delivery = post.delivery()
    assert (delivery.state, delivery.attempts, delivery.claim) == ("intent", 1, "ours")
    assert delivery.tried_at is not None


def test_an_outcome_its_fact_and_the_next_intent_are_one_commit(post: Post) -> None:
    first, second = take(post, 2)
    attempts.record_intent(post.database, "ours", first, None)
    with Commits(post.database.engine) as commits:
        attempts.record_intent(post.database, "ours", second, attempts.sent_outcome(first, "250 taken"))
    assert commits.count == 1
    assert post.states() == ["sent", "intent"]
    sent = post.deliveries()[0]
    assert (sent.smtp_reply, sent.reason_code, sent.claim, sent.claim_until) == ("250 taken", "accepted", None, None)
    assert sent.finished_at is not None
    (fact,) = post.facts("notice.settled")
    assert (fact["delivery_id"], fact["outcome"], fact["code"]) == (first.id, "sent", "accepted")


def test_an_outcome_that_is_not_final_goes_along_and_tells_nobody(post: Post) -> None:
    first, second = take(post, 2)
    attempts.record_intent(post.database, "ours", first, None)
    attempts.record_intent(post.database, "ours", second, attempts.deferred_outcome(first, "451 later", 5))
    put_off, next_one = post.deliveries()
    assert (put_off.state, put_off.attempts, put_off.reason_code, put_off.tried_at) == ("pending", 1, "put_off", None)
    assert put_off.due_at > put_off.created_at
    assert (next_one.state, post.facts("notice.settled")) == ("intent", [])


def test_the_outcome_is_written_although_the_next_is_somebody_elses(post: Post) -> None:
    first, second = take(post, 2)
    attempts.record_intent(post.database, "ours", first, None)
    post.hand_over(second.id, "theirs")
    with pytest.raises(ClaimLostError):
        attempts.record_intent(post.database, "ours", second, attempts.sent_outcome(first, "250 taken"))
    assert post.states() == ["sent", "claimed"]
    assert [fact["outcome"] for fact in post.facts("notice.settled")] == ["sent"]
    assert post.deliveries()[1].claim == "theirs"


def test_an_outcome_that_came_too_late_writes_nothing_and_keeps_no_intent_back(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = take(post, 2)
    attempts.record_intent(post.database, "ours", first, None)
    post.hand_over(first.id, "theirs")
    attempts.record_intent(post.database, "ours", second, attempts.sent_outcome(first, "250 taken"))
    assert post.states() == ["intent", "intent"]
    assert post.deliveries()[0].claim == "theirs"
    assert post.facts("notice.settled") == []
    assert "delivery claim lost before outcome was recorded" in caplog.text


def test_of_an_assignment_notice_only_its_row_tells(post: Post) -> None:
    ticket_id, staff_id = post.ticket(answer=False), post.person("ruth.calder@mill.example")
    post.assign(ticket_id, staff_id)
    post.relay()
    before = len(post.facts("notice.settled"))
    (one,) = post.claim("ours")
    with post.database.write() as session:
        attempts.record_outcome(session, "ours", attempts.sent_outcome(one, "250 taken"))
    assert (one.mailing, post.deliveries()[-1].state) == ("ticket_assigned", "sent")
    assert len(post.facts("notice.settled")) == before
