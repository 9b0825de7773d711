"""From the completion to the mail: delay, reopening, slots, and every skip with its reason on the ticket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import update

import ingest.ledger.models  # noqa: F401 - all tables are to be known
import notify.models  # noqa: F401
from accounts.models import Contact
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from core.settings import Settings
from outbox.facts import SurveyDue, TicketCompleted
from surveys import invitations, throttle
from surveys.models import Survey
from surveys.throttle import ThrottleSlot
from tests.surveys.desk import DAY, HOUR, Desk, make_desk
from tests.tickets.world import NOW
from tickets import creation_notice
from tickets.creation_notice import NoticeOutcome


def test_every_completion_tells_for_whom_and_who_owned_it(desk: Desk) -> None:
    desk.complete()
    ticket = desk.ticket(1)
    assert desk.facts()[-1] == TicketCompleted(1, 1, ticket.requester_id, ticket.company_id, ticket.owner_id)


def test_a_ticket_completed_by_its_creation_notice_tells_as_well(desk: Desk) -> None:
    desk.complete()
    desk.force(1)
    settled = NoticeOutcome(1, "sent", Reason("accepted", "Accepted"), "dana@lakeside.example")
    desk.database.transaction(lambda session: creation_notice.settle_creation_notices(session, [settled], NOW))
    assert [fact.opening for fact in desk.facts() if isinstance(fact, TicketCompleted)] == [1, 1]


def test_a_survey_is_sent_after_the_delay_and_its_slot_counts_from_then(desk: Desk) -> None:
    desk.complete()
    assert desk.sweep() == []
    assert (desk.outcome(), desk.slot()) == (("waiting", None), NOW)
    desk.now += 4 * HOUR
    assert desk.sweep() == [SurveyDue(1, 1, desk.ticket(1).requester_id or 0)]
    assert desk.sweep() == [], "told once"
    desk.now += HOUR
    desk.settle()
    assert (desk.outcome(), desk.slot()) == (("sent", "accepted"), desk.now)
    assert desk.survey().owner_id == desk.ticket(1).owner_id
    assert desk.entries() == [("Survey sent", ["accepted"])]


def test_the_delay_counts_from_the_completion_however_late_its_fact_is_read(desk: Desk) -> None:
    desk.complete()
    desk.now += 3 * HOUR
    desk.relay()
    assert desk.survey().due_at == NOW + 4 * HOUR


def test_a_second_ticket_within_the_span_gets_none_and_one_after_it_does(desk: Desk) -> None:
    sent = desk.invite(1)
    desk.now += 29 * DAY
    desk.complete(2)
    desk.relay()
    assert desk.outcome(2) == ("skipped", "throttled")
    assert desk.entries(2) == [("Survey not sent", ["throttled"])]
    assert desk.slot() == sent.sent_at, "a skip leaves the slot of the other alone"
    desk.now += DAY
    desk.reopen(2)
    assert desk.invite(2).state == "sent"


def test_a_ticket_reopened_before_the_moment_gets_none_and_the_slot_is_free_again(desk: Desk) -> None:
    desk.complete()
    desk.relay()
    desk.reopen()
    desk.now += 4 * HOUR
    assert desk.sweep() == []
    assert (desk.outcome(), desk.slot()) == (("skipped", "reopened"), None)
    assert desk.invite(2).state == "sent"


def test_a_ticket_completed_again_in_a_later_opening_is_asked_for_that_opening(desk: Desk) -> None:
    desk.complete()
    desk.relay()
    desk.reopen()
    desk.complete()
    desk.relay()
    desk.now += 4 * HOUR
    assert desk.sweep() == []
    assert [(row.opening, row.state, row.reason_code) for row in desk.rows(Survey, Survey.id)] == [
        (1, "skipped", "reopened"), (2, "skipped", "throttled"),
    ]  # fmt: skip


def test_a_completion_forced_back_and_forth_is_decided_once(desk: Desk) -> None:
    desk.complete()
    desk.relay()
    desk.force(5)
    desk.force(6)
    desk.relay()
    assert (desk.outcome(), desk.count(Survey)) == (("waiting", None), 1)
    assert desk.entries() == [("Survey not sent", ["same_opening"])]


@pytest.mark.parametrize(
    ("values", "code"),
    [({"email": None}, "no_address"), ({"active": False}, "inactive_contact"), ({"surveys_off_at": NOW}, "unsubscribed")],
)
@pytest.mark.parametrize("late", [False, True])
def test_the_customer_is_looked_at_when_it_is_reserved_and_when_it_is_due(
    desk: Desk, values: dict[str, object], code: str, late: bool
) -> None:
    desk.complete()
    if late:
        desk.relay()
    of_dana = update(Contact).where(Contact.id == desk.ticket(1).requester_id).values(values)
    desk.database.transaction(lambda session: session.execute(of_dana) and None)
    desk.relay()
    desk.now += 4 * HOUR
    assert desk.sweep() == []
    assert (desk.outcome(), desk.slot()) == (("skipped", code), None)


def test_surveys_switched_off_meanwhile_are_not_sent(desk: Desk) -> None:
    desk.complete()
    desk.relay()
    desk.settings = Settings.model_validate({"surveys": {"enabled": False}})
    desk.now += 4 * HOUR
    assert desk.sweep() == []
    assert (desk.outcome(), desk.slot()) == (("skipped", "disabled"), None)


def test_who_was_not_to_be_answered_automatically_gets_no_survey(desk: Desk) -> None:
    settled = NoticeOutcome(1, "skipped", Reason("must_not_autoreply", "A program wrote"), "")
    desk.database.transaction(lambda session: creation_notice.settle_creation_notices(session, [settled], NOW))
    desk.complete()
    desk.relay()
    assert desk.outcome() == ("skipped", "automatic_requester")


@pytest.mark.parametrize(
    ("outcome", "code", "held"),
    [("skipped", "suppressed", False), ("failed", "refused", False), ("ambiguous", "outcome_unknown", True)],
)
def test_a_mail_that_may_have_arrived_keeps_the_slot_and_any_other_gives_it_back(
    desk: Desk, outcome: str, code: str, held: bool
) -> None:
    desk.complete()
    desk.relay()
    desk.now += 4 * HOUR
    desk.sweep()
    desk.settle(outcome=outcome, code=code)
    assert desk.outcome() == (outcome, code)
    assert (desk.slot() is not None) == held
    assert [codes for _, codes in desk.entries()] == [[code]]
    desk.settle(outcome="sent")
    assert desk.survey().state == outcome, "an outcome is final"


def test_a_slot_given_back_says_when_the_last_survey_really_went(desk: Desk) -> None:
    sent = desk.invite(1)
    desk.now += 31 * DAY
    desk.complete(2)
    desk.relay()
    assert desk.slot() == desk.now
    desk.reopen(2)
    desk.now += 4 * HOUR
    desk.sweep()
    assert desk.slot() == sent.sent_at


def test_staff_decide_against_a_waiting_survey_with_a_reason(desk: Desk) -> None:
    desk.complete()
    desk.relay()
    desk.database.transaction(lambda session: invitations.skip_by_hand(session, 1, "Called", "max@billing.example", NOW) and None)
    assert (desk.outcome(), desk.slot()) == (("skipped", "by_hand"), None)
    assert desk.show(1)["timeline"][-1]["actor"] == "max@billing.example"
    with pytest.raises(RefusedError, match="no longer waits"):
        desk.database.transaction(
            lambda session: invitations.skip_by_hand(session, 1, "Called", "max@billing.example", NOW) and None
        )
    with pytest.raises(NotFoundError):
        desk.database.transaction(
            lambda session: invitations.skip_by_hand(session, 2, "Called", "max@billing.example", NOW) and None
        )


def test_by_company_the_colleague_is_not_asked_either(tmp_path: object) -> None:
    desk = make_desk(f"sqlite:///{tmp_path}/by_company.db", throttle="company")
    assert desk.invite(1).slot == "company"
    desk.complete(3)
    desk.relay()
    assert desk.outcome(3) == ("skipped", "throttled")
    assert desk.invite(4).slot == "contact", "who belongs to no company has a slot of their own"
    desk.database.close()


def test_of_two_workers_that_race_for_one_slot_one_gets_it(postgres_url: str) -> None:
    desk = make_desk(postgres_url)
    slot, ready = ThrottleSlot("contact", desk.ticket(1).requester_id or 0), Barrier(2)
    for round_ in range(5):
        now = NOW + timedelta(days=31 * round_)

        def reserve(moment: object = now) -> bool:
            def unit(session):  # type: ignore[no-untyped-def]
                ready.wait(30)
                return throttle.reserve(session, slot, desk.settings.surveys, moment)  # type: ignore[arg-type]

            return desk.database.transaction(unit)

        with ThreadPoolExecutor(2) as pool:
            got = [pool.submit(reserve) for _ in range(2)]
            assert sorted(one.result(60) for one in got) == [False, True]
    desk.database.close()


def test_two_relays_at_once_over_tickets_of_one_customer_leave_one_survey(postgres_url: str) -> None:
    desk = make_desk(postgres_url)
    desk.complete(1)
    desk.complete(2)
    facts = [fact for fact in desk.facts() if isinstance(fact, TicketCompleted)]
    ready = Barrier(2)

    def decide(fact: TicketCompleted) -> None:
        def unit(session):  # type: ignore[no-untyped-def]
            invitations.on_ticket_completed(desk.settings.surveys, session, [fact], NOW)

        ready.wait(30)
        desk.database.transaction(unit)

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(decide, fact) for fact in facts]:
            one.result(60)
    assert sorted((desk.outcome(1), desk.outcome(2))) == [("skipped", "throttled"), ("waiting", None)]
    desk.database.close()
