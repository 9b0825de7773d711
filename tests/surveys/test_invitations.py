"""From completion to mail: delay, reopening, throttle slots, and every skip with its reason on the ticket."""

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
from tests.surveys.survey_world import DAY, HOUR, SurveyWorld, make_survey_world
from tests.tickets.world import NOW
from tests.waiting import scale_budget
from tickets import creation_notice
from tickets.creation_notice import NoticeOutcome


def test_completion_fact_names_contact_company_and_owner(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    ticket = survey_world.ticket(1)
    assert survey_world.facts()[-1] == TicketCompleted(1, 1, ticket.requester_id, ticket.company_id, ticket.owner_id)


def test_ticket_completed_by_creation_notice_appends_completion_fact(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    survey_world.force(1)
    settled = NoticeOutcome(1, "sent", Reason("accepted", "Accepted"), "dana@lakeside.example")
    survey_world.database.transaction(lambda session: creation_notice.settle_creation_notices(session, [settled], NOW))
    assert [fact.opening for fact in survey_world.facts() if isinstance(fact, TicketCompleted)] == [1, 1]


def test_survey_is_sent_after_delay_and_slot_restarts_then(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    assert survey_world.sweep() == []
    assert (survey_world.outcome(), survey_world.slot()) == (("waiting", None), NOW)
    survey_world.now += 4 * HOUR
    assert survey_world.sweep() == [SurveyDue(1, 1, survey_world.ticket(1).requester_id or 0)]
    assert survey_world.sweep() == [], "told once"
    survey_world.now += HOUR
    survey_world.settle()
    assert (survey_world.outcome(), survey_world.slot()) == (("sent", "accepted"), survey_world.now)
    assert survey_world.survey().owner_id == survey_world.ticket(1).owner_id
    assert survey_world.entries() == [("Survey sent", ["accepted"])]


def test_delay_counts_from_completion_even_if_fact_is_read_late(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    survey_world.now += 3 * HOUR
    survey_world.relay()
    assert survey_world.survey().due_at == NOW + 4 * HOUR


def test_second_ticket_within_throttle_period_gets_no_survey(survey_world: SurveyWorld) -> None:
    sent = survey_world.invite(1)
    survey_world.now += 29 * DAY
    survey_world.complete(2)
    survey_world.relay()
    assert survey_world.outcome(2) == ("skipped", "throttled")
    assert survey_world.entries(2) == [("Survey not sent", ["throttled"])]
    assert survey_world.slot() == sent.sent_at, "a skip leaves the slot of the other alone"
    survey_world.now += DAY
    survey_world.reopen(2)
    assert survey_world.invite(2).state == "sent"


def test_ticket_reopened_before_due_time_gets_no_survey_and_releases_slot(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    survey_world.relay()
    survey_world.reopen()
    survey_world.now += 4 * HOUR
    assert survey_world.sweep() == []
    assert (survey_world.outcome(), survey_world.slot()) == (("skipped", "reopened"), None)
    assert survey_world.invite(2).state == "sent"


def test_ticket_completed_in_later_opening_has_survey_for_that_opening(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    survey_world.relay()
    survey_world.reopen()
    survey_world.complete()
    survey_world.relay()
    survey_world.now += 4 * HOUR
    assert survey_world.sweep() == []
    assert [(row.opening, row.state, row.reason_code) for row in survey_world.rows(Survey, Survey.id)] == [
        (1, "skipped", "reopened"), (2, "skipped", "throttled"),
    ]  # fmt: skip


def test_completion_forced_back_and_forth_has_one_survey(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    survey_world.relay()
    survey_world.force(5)
    survey_world.force(6)
    survey_world.relay()
    assert (survey_world.outcome(), survey_world.count(Survey)) == (("waiting", None), 1)
    assert survey_world.entries() == [("Survey not sent", ["same_opening"])]


@pytest.mark.parametrize(
    ("values", "code"),
    [({"email": None}, "no_address"), ({"active": False}, "inactive_contact"), ({"surveys_off_at": NOW}, "unsubscribed")],
)
@pytest.mark.parametrize("late", [False, True])
def test_rules_apply_at_reservation_and_when_due(
    survey_world: SurveyWorld, values: dict[str, object], code: str, late: bool
) -> None:
    survey_world.complete()
    if late:
        survey_world.relay()
    of_dana = update(Contact).where(Contact.id == survey_world.ticket(1).requester_id).values(values)
    survey_world.database.transaction(lambda session: session.execute(of_dana) and None)
    survey_world.relay()
    survey_world.now += 4 * HOUR
    assert survey_world.sweep() == []
    assert (survey_world.outcome(), survey_world.slot()) == (("skipped", code), None)


def test_waiting_survey_is_not_sent_after_surveys_are_switched_off(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    survey_world.relay()
    survey_world.settings = Settings.model_validate({"surveys": {"enabled": False}})
    survey_world.now += 4 * HOUR
    assert survey_world.sweep() == []
    assert (survey_world.outcome(), survey_world.slot()) == (("skipped", "disabled"), None)


def test_requester_without_automatic_mail_gets_no_survey(survey_world: SurveyWorld) -> None:
    settled = NoticeOutcome(1, "skipped", Reason("must_not_autoreply", "A program wrote"), "")
    survey_world.database.transaction(lambda session: creation_notice.settle_creation_notices(session, [settled], NOW))
    survey_world.complete()
    survey_world.relay()
    assert survey_world.outcome() == ("skipped", "automatic_requester")


@pytest.mark.parametrize(
    ("outcome", "code", "held"),
    [("skipped", "suppressed", False), ("failed", "refused", False), ("ambiguous", "outcome_unknown", True)],
)
def test_slot_is_kept_only_if_mail_may_have_arrived(survey_world: SurveyWorld, outcome: str, code: str, held: bool) -> None:
    survey_world.complete()
    survey_world.relay()
    survey_world.now += 4 * HOUR
    survey_world.sweep()
    survey_world.settle(outcome=outcome, code=code)
    assert survey_world.outcome() == (outcome, code)
    assert (survey_world.slot() is not None) == held
    assert [codes for _, codes in survey_world.entries()] == [[code]]
    survey_world.settle(outcome="sent")
    assert survey_world.survey().state == outcome, "an outcome is final"


def test_released_slot_shows_time_of_last_sent_survey(survey_world: SurveyWorld) -> None:
    sent = survey_world.invite(1)
    survey_world.now += 31 * DAY
    survey_world.complete(2)
    survey_world.relay()
    assert survey_world.slot() == survey_world.now
    survey_world.reopen(2)
    survey_world.now += 4 * HOUR
    survey_world.sweep()
    assert survey_world.slot() == sent.sent_at


def test_staff_skip_waiting_survey_with_reason(survey_world: SurveyWorld) -> None:
    survey_world.complete()
    survey_world.relay()
    survey_world.database.transaction(
        lambda session: invitations.skip_by_hand(session, 1, "Called", "max@billing.example", NOW) and None
    )
    assert (survey_world.outcome(), survey_world.slot()) == (("skipped", "by_hand"), None)
    assert survey_world.show(1)["timeline"][-1]["actor"] == "max@billing.example"
    with pytest.raises(RefusedError, match="no longer waits"):
        survey_world.database.transaction(
            lambda session: invitations.skip_by_hand(session, 1, "Called", "max@billing.example", NOW) and None
        )
    with pytest.raises(NotFoundError):
        survey_world.database.transaction(
            lambda session: invitations.skip_by_hand(session, 2, "Called", "max@billing.example", NOW) and None
        )


def test_company_throttle_covers_colleagues(tmp_path: object) -> None:
    survey_world = make_survey_world(f"sqlite:///{tmp_path}/by_company.db", throttle="company")
    assert survey_world.invite(1).slot == "company"
    survey_world.complete(3)
    survey_world.relay()
    assert survey_world.outcome(3) == ("skipped", "throttled")
    assert survey_world.invite(4).slot == "contact", "who belongs to no company has a slot of their own"
    survey_world.database.close()


def test_one_of_two_workers_reserves_slot(postgres_url: str) -> None:
    survey_world = make_survey_world(postgres_url)
    slot, ready = ThrottleSlot("contact", survey_world.ticket(1).requester_id or 0), Barrier(2)
    for round_ in range(5):
        now = NOW + timedelta(days=31 * round_)

        def reserve(moment: object = now) -> bool:
            def unit(session):  # type: ignore[no-untyped-def]
                ready.wait(scale_budget(30))
                return throttle.reserve(session, slot, survey_world.settings.surveys, moment)  # type: ignore[arg-type]

            return survey_world.database.transaction(unit)

        with ThreadPoolExecutor(2) as pool:
            got = [pool.submit(reserve) for _ in range(2)]
            assert sorted(one.result(scale_budget(60)) for one in got) == [False, True]
    survey_world.database.close()


def test_two_relays_at_once_schedule_one_survey_for_customer(postgres_url: str) -> None:
    survey_world = make_survey_world(postgres_url)
    survey_world.complete(1)
    survey_world.complete(2)
    facts = [fact for fact in survey_world.facts() if isinstance(fact, TicketCompleted)]
    ready = Barrier(2)

    def decide(fact: TicketCompleted) -> None:
        def unit(session):  # type: ignore[no-untyped-def]
            invitations.on_ticket_completed(survey_world.settings.surveys, session, [fact], NOW)

        ready.wait(scale_budget(30))
        survey_world.database.transaction(unit)

    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(decide, fact) for fact in facts]:
            one.result(scale_budget(60))
    assert sorted((survey_world.outcome(1), survey_world.outcome(2))) == [("skipped", "throttled"), ("waiting", None)]
    survey_world.database.close()
