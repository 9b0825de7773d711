"""Writing the outcome of one delivery together with the intent of the next, on both databases."""

from __future__ import annotations

import pytest

from notify import attempts
from notify.claims import ClaimedDelivery, ClaimLostError
from tests.notify.harness import Commits, NotifyHarness


def take(harness: NotifyHarness, count: int) -> list[ClaimedDelivery]:
    harness.add_tickets(count)
    harness.relay_facts()
    return harness.claim("ours", count)


def test_intent_without_previous_outcome_is_one_commit(harness: NotifyHarness) -> None:
    (one,) = take(harness, 1)
    with Commits(harness.database.engine) as commits:
        attempts.record_intent(harness.database, "ours", one, None)
    assert commits.count == 1
    delivery = harness.delivery()
    assert (delivery.state, delivery.attempts, delivery.claim) == ("intent", 1, "ours")
    assert delivery.tried_at is not None


def test_outcome_its_fact_and_next_intent_share_one_commit(harness: NotifyHarness) -> None:
    first, second = take(harness, 2)
    attempts.record_intent(harness.database, "ours", first, None)
    with Commits(harness.database.engine) as commits:
        attempts.record_intent(harness.database, "ours", second, attempts.sent_outcome(first, "250 taken"))
    assert commits.count == 1
    assert harness.delivery_states() == ["sent", "intent"]
    sent = harness.deliveries()[0]
    assert (sent.smtp_reply, sent.reason_code, sent.claim, sent.claim_until) == ("250 taken", "accepted", None, None)
    assert sent.finished_at is not None
    (fact,) = harness.read_facts("notice.settled")
    assert (fact["delivery_id"], fact["outcome"], fact["code"]) == (first.id, "sent", "accepted")


def test_outcome_that_is_not_final_is_written_without_fact(harness: NotifyHarness) -> None:
    first, second = take(harness, 2)
    attempts.record_intent(harness.database, "ours", first, None)
    attempts.record_intent(harness.database, "ours", second, attempts.deferred_outcome(first, "451 later", 5))
    put_off, next_one = harness.deliveries()
    assert (put_off.state, put_off.attempts, put_off.reason_code, put_off.tried_at) == ("pending", 1, "put_off", None)
    assert put_off.due_at > put_off.created_at
    assert (next_one.state, harness.read_facts("notice.settled")) == ("intent", [])


def test_outcome_is_written_when_next_claim_was_lost(harness: NotifyHarness) -> None:
    first, second = take(harness, 2)
    attempts.record_intent(harness.database, "ours", first, None)
    harness.claim_for_other_worker(second.id, "theirs")
    with pytest.raises(ClaimLostError):
        attempts.record_intent(harness.database, "ours", second, attempts.sent_outcome(first, "250 taken"))
    assert harness.delivery_states() == ["sent", "claimed"]
    assert [fact["outcome"] for fact in harness.read_facts("notice.settled")] == ["sent"]
    assert harness.deliveries()[1].claim == "theirs"


def test_late_outcome_writes_nothing_and_next_intent_is_committed(
    harness: NotifyHarness, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = take(harness, 2)
    attempts.record_intent(harness.database, "ours", first, None)
    harness.claim_for_other_worker(first.id, "theirs")
    attempts.record_intent(harness.database, "ours", second, attempts.sent_outcome(first, "250 taken"))
    assert harness.delivery_states() == ["intent", "intent"]
    assert harness.deliveries()[0].claim == "theirs"
    assert harness.read_facts("notice.settled") == []
    assert "delivery claim lost before outcome was recorded" in caplog.text


def test_assignment_notice_has_no_outcome_fact(harness: NotifyHarness) -> None:
    ticket_id, staff_id = harness.add_ticket(answer=False), harness.add_staff("ruth.calder@mill.example")
    harness.assign_ticket(ticket_id, staff_id)
    harness.relay_facts()
    before = len(harness.read_facts("notice.settled"))
    (one,) = harness.claim("ours")
    with harness.database.write() as session:
        attempts.record_outcome(session, "ours", attempts.sent_outcome(one, "250 taken"))
    assert (one.mailing, harness.deliveries()[-1].state) == ("ticket_assigned", "sent")
    assert len(harness.read_facts("notice.settled")) == before
