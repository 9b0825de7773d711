"""The table of domain.md, Tickets, row by row, and what is said around it: each a test, on the verbs that everybody uses."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from accounts.models import Contact
from core.errors import RefusedError
from core.reasons import Reason
from notify.models import Delivery
from outbox.facts import TicketCreated
from outbox.models import OutboxFact
from tests.domain.conftest import DAY, House
from tests.tickets.world import NOW, matter
from tickets import intake, lifecycle, staff_messages
from tickets.models import Ticket
from tickets.stages import AUDIT, COMPLETED, IN_PROGRESS, SUBMITTED
from tickets.submission import TicketSource

TELL = "ticket_created"


@pytest.mark.parametrize("source", list(TicketSource))
def test_a_ticket_of_any_source_begins_in_stage_1_and_its_creation_notice_is_queued(house: House, source: TicketSource) -> None:
    house.receive(matter(source=source, owner_email="ada@billing.example" if source is TicketSource.PHONE else None))
    assert house.stage() == SUBMITTED
    assert TicketCreated(1, answer=True) in house.facts()
    house.relay()
    assert house.mails(TELL) == ["dana@lakeside.example"]


def test_ticket_and_queued_notice_are_one_transaction(house: House) -> None:
    with pytest.raises(ZeroDivisionError), house.database.write() as session:
        intake.receive(session, [matter()], house.settings, NOW)
        raise ZeroDivisionError
    assert (house.count(Ticket), house.count(OutboxFact), house.count(Delivery)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "task"),
    [("sent", []), ("skipped", []), ("failed", [("notice_problem", "Ada")]), ("ambiguous", [("notice_problem", "Ada")])],
)
def test_once_the_creation_notice_has_its_outcome_the_ticket_is_in_progress_and_a_bad_one_is_a_task_for_the_owner(
    house: House, outcome: str, task: list[tuple[str, str]]
) -> None:
    house.receive(matter())
    house.settle(TELL, outcome)
    assert (house.stage(), house.tasks()) == (IN_PROGRESS, task)


@pytest.mark.parametrize("notice", [False, True], ids=["from stage 1", "from stage 4"])
def test_a_checked_follow_up_moves_the_ticket_to_audit(house: House, notice: bool) -> None:
    house.receive(matter())
    if notice:
        house.settle(TELL)
    house.do(lifecycle.mark_follow_up_sent)
    assert house.stage() == AUDIT
    assert house.show(1)["follow_up_sent"]["by"] == "ada@billing.example"


def test_not_followed_up_within_two_days_there_is_one_reminder_for_the_owner(house: House) -> None:
    house.receive(matter())
    house.clock(2 * DAY - timedelta(seconds=1))
    assert house.tasks() == []
    house.clock(timedelta(seconds=1))
    house.clock(timedelta(hours=1))
    assert house.tasks() == [("reminder", "Ada")]
    assert house.mails("follow_up_reminder") == ["ada@billing.example"]


def test_followed_up_in_time_there_is_no_reminder(house: House) -> None:
    house.receive(matter())
    house.do(lifecycle.mark_follow_up_sent)
    house.clock(2 * DAY)
    assert house.tasks() == []


def test_resolution_yes_is_recorded_with_who_and_when_and_moves_nothing_by_itself(house: House) -> None:
    house.receive(matter())
    house.settle(TELL)
    house.do(lifecycle.mark_resolved, by="Ben")
    assert house.show(1)["resolution"] == {"at": NOW.isoformat(timespec="seconds"), "by": "ben@billing.example"}
    assert house.stage() == IN_PROGRESS


def test_without_resolution_no_recap_completes_a_ticket(house: House) -> None:
    house.receive(matter())
    house.do(lifecycle.mark_follow_up_sent)
    house.do(lifecycle.mark_recap_sent)
    assert house.stage() == AUDIT


def test_not_resolved_within_three_days_the_companys_manager_gets_one_task_and_one_mail(house: House) -> None:
    house.receive(matter())
    house.do(lifecycle.mark_follow_up_sent)
    house.clock(3 * DAY - timedelta(seconds=1))
    assert house.tasks() == []
    house.clock(timedelta(seconds=1))
    house.clock(DAY)
    assert house.tasks() == [("escalation", "Max")]
    assert house.mails("escalation") == ["max@billing.example"]


def test_resolved_in_time_nobody_is_escalated_to(house: House) -> None:
    house.receive(matter())
    house.do(lifecycle.mark_resolved)
    house.clock(3 * DAY)
    assert ("escalation", "Max") not in house.tasks()


def test_a_recap_is_filled_from_ticket_and_contact_may_be_edited_and_checks_its_box_when_the_server_accepts_it(
    house: House,
) -> None:
    house.receive(matter())
    draft = house.do(
        lambda s, one, by, now: staff_messages.compose(s, one, by, staff_messages.RECAP_MESSAGE, values={"resolution": "Paid."})
    )
    assert draft.template.name == "Billing Support Recap of Resolution"
    assert "Dana Reyes" in draft.text and "BS-000001" in draft.subject + draft.text and draft.problems == ()
    edited = draft.text + "\nCall me any time."
    house.do(lambda s, one, by, now: staff_messages.send(s, one, by, staff_messages.RECAP_MESSAGE, draft.subject, edited, now))
    assert house.show(1)["recap_sent"] is None, "on its way is not accepted"
    house.settle("recap_of_resolution")
    assert house.show(1)["recap_sent"]["by"] == "casemill"
    assert house.mails("recap_of_resolution") == ["dana@lakeside.example"]


def test_a_recap_with_an_empty_placeholder_is_not_sent(house: House) -> None:
    house.receive(matter())
    draft = house.do(lambda s, one, by, now: staff_messages.compose(s, one, by, staff_messages.RECAP_MESSAGE))
    with pytest.raises(RefusedError, match="resolution"):
        house.do(
            lambda s, one, by, now: staff_messages.send(s, one, by, staff_messages.RECAP_MESSAGE, draft.subject, draft.text, now)
        )


@pytest.mark.parametrize(("accepted", "checked"), [("kim@lakeside.example", False), ("dana@lakeside.example", True)])
def test_of_a_recap_to_several_the_requesters_copy_checks_the_box(house: House, accepted: str, checked: bool) -> None:
    house.receive(matter(contacts=("kim@lakeside.example",)))
    both = ("kim@lakeside.example", "dana@lakeside.example")
    house.do(
        lambda s, one, by, now: staff_messages.send(
            s, one, by, staff_messages.RECAP_MESSAGE, "Recap", "It is paid.", now, to=both
        )
    )
    house.relay()
    entry = next(one["id"] for one in house.show(1)["timeline"] if one["kind"] == "message_out")
    reason = Reason("accepted", "Accepted")
    for number, person in enumerate(both, 1):
        outcome = "sent" if person == accepted else "failed"
        told = [staff_messages.MessageOutcome(number, 1, entry, outcome, reason, person)]
        house.database.transaction(lambda s, told=told: staff_messages.record_outcomes(s, told, house.now))  # type: ignore[misc]
    assert (house.show(1)["recap_sent"] is not None) == checked
    assert house.tasks() == [("notice_problem", "Ada")], "the copy that did not get through is a task"


def test_a_recap_given_by_telephone_is_checked_by_hand(house: House) -> None:
    house.receive(matter())
    house.do(lifecycle.mark_recap_sent, by="Ben")
    assert house.show(1)["recap_sent"]["by"] == "ben@billing.example"


@pytest.mark.parametrize(
    "order",
    [
        ("mark_follow_up_sent", "mark_resolved", "mark_recap_sent"),
        ("mark_follow_up_sent", "mark_recap_sent", "mark_resolved"),
        ("mark_recap_sent", "mark_resolved", "mark_follow_up_sent"),
    ],
    ids=lambda order: order[-1],
)
def test_recap_sent_and_resolution_yes_complete_a_ticket_whichever_comes_last(house: House, order: tuple[str, ...]) -> None:
    """The last order takes two moves at once: moves are applied until none applies."""
    house.receive(matter())
    for verb in order:
        assert house.stage() != COMPLETED
        house.do(getattr(lifecycle, verb))
    assert house.stage() == COMPLETED
    moves = [one["title"] for one in house.show(1)["timeline"] if one["kind"] == "stage"]
    assert moves == ["Moved to 5-Audit", "Moved to 6-Completed"]


def complete(house: House, ticket: int = 1) -> None:
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        house.do(verb, ticket=ticket)


def test_a_completed_ticket_brings_its_customer_one_survey(house: House) -> None:
    house.receive(matter())
    complete(house)
    house.relay()
    house.clock(timedelta(hours=house.settings.surveys.delay_hours))
    house.clock(DAY)
    assert house.mails("survey_invitation") == ["dana@lakeside.example"]


@pytest.mark.parametrize(("throttle", "sender", "asked"), [
    ("contact", "dana@lakeside.example", []), ("contact", "kim@lakeside.example", ["kim@lakeside.example"]),
    ("company", "kim@lakeside.example", []),
])  # fmt: skip
def test_a_customer_who_was_asked_within_30_days_is_not_asked_again(
    house: House, throttle: str, sender: str, asked: list[str]
) -> None:
    house.configure(surveys={"throttle": throttle})
    house.receive(matter())
    house.receive(matter(email=sender))
    wait = timedelta(hours=house.settings.surveys.delay_hours)
    complete(house)
    house.relay()
    house.clock(wait)
    house.settle("survey_invitation")
    house.now += 29 * DAY
    complete(house, 2)
    house.relay()
    house.clock(wait)
    assert house.mails("survey_invitation", 2) == asked
    assert ("throttled" in house.codes(2)) == (not asked)


def test_a_survey_that_a_limit_held_back_does_not_go_once_its_ticket_is_open_again(house: House) -> None:
    house.receive(matter())
    complete(house)
    house.relay()
    house.clock(timedelta(hours=house.settings.surveys.delay_hours))
    house.do(lambda s, one, by, now: lifecycle.reopen(s, one, by, "They wrote again", house.settings, now))
    house.send_what_may()
    assert house.outcome("survey_invitation") == ("skipped", "reopened")
    assert "reopened" in house.codes(kind="survey")
    with house.database.read() as session:
        assert session.execute(select(Contact.last_surveyed_at)).scalar_one() is None, "the slot is free again"


@pytest.mark.parametrize("stage", [SUBMITTED, IN_PROGRESS, AUDIT, COMPLETED])
def test_no_other_move_is_possible_but_one_by_a_manager_with_a_reason(house: House, stage: int) -> None:
    house.receive(matter())
    house.do(lifecycle.mark_follow_up_sent)
    if stage == AUDIT:
        house.settle(TELL)
        assert house.stage() == AUDIT, "the notice's outcome moves nothing back"
        return
    for who, reason in (("Ada", "Because"), ("Max", " ")):
        with pytest.raises(RefusedError):
            force(house, stage, who, reason)
    assert house.stage() == AUDIT
    force(house, stage, "Max", "Entered twice")
    assert house.stage() == stage
    assert "forced" in house.codes(kind="stage")


def force(house: House, stage: int, who: str, reason: str) -> None:
    def verb(s, one, by, now):  # type: ignore[no-untyped-def]
        lifecycle.force_stage(s, one, stage, by, reason, house.settings, now)

    house.do(verb, by=who)


def test_there_are_no_stages_2_and_3_here(house: House) -> None:
    house.receive(matter())
    for stage in (2, 3, 7):
        with pytest.raises(RefusedError, match="no stage"):
            force(house, stage, "Max", "Because")


def test_a_ticket_that_its_creation_notice_completes_leaves_no_timer_and_no_task_of_the_rules(house: House) -> None:
    """Forced on to 5 with Resolution and recap set, it is completed when the late notice has its outcome."""
    house.receive(matter())
    house.clock(2 * DAY)
    house.do(lifecycle.mark_recap_sent)
    house.do(lifecycle.mark_resolved)
    force(house, AUDIT, "Max", "Entered twice")
    assert (house.stage(), house.tasks()) == (AUDIT, [("reminder", "Ada")])
    house.settle(TELL)
    assert (house.stage(), house.tasks()) == (COMPLETED, [])
    assert house.ticket(1).reminder_due_at is house.ticket(1).escalation_due_at is None


def test_days_are_calendar_days_unless_a_setting_says_business_days(house: House) -> None:
    friday = NOW + 4 * DAY
    house.receive(matter(), now=friday)
    house.configure(calendar={"days": "business", "holidays": ["2026-11-30"]})
    house.receive(matter(), now=friday)
    by_calendar, by_business = (house.ticket(number).reminder_due_at for number in (1, 2))
    assert by_calendar == friday + 2 * DAY
    assert by_business is not None and by_business.date().isoformat() == "2026-12-02", "Saturday, Sunday, Monday do not count"


def test_a_reopening_clears_the_marks_keeps_the_history_and_lets_each_rule_fire_once_more(house: House) -> None:
    house.receive(matter())
    house.clock(3 * DAY)
    complete(house)
    house.do(lambda s, one, by, now: lifecycle.reopen(s, one, by, "They wrote again", house.settings, now))
    shown = house.show(1)
    assert (house.stage(), shown["follow_up_sent"], shown["resolution"], shown["recap_sent"]) == (IN_PROGRESS, None, None, None)
    assert [one["kind"] for one in shown["timeline"]].count("mark") == 3
    house.clock(3 * DAY)
    house.clock(DAY)
    assert sorted(house.tasks()) == [("escalation", "Max"), ("reminder", "Ada")]
    assert len(house.show(1)["tasks"]) == 4


def test_a_customer_who_writes_again_reopens_a_completed_ticket_and_thanks_do_not(house: House) -> None:
    house.receive(matter(message_key="mail:1"))
    complete(house)
    thanks = Reason("only_thanks", "It only says thanks")
    house.receive(matter(answers=("mail:1",), thanks=thanks), now=house.now)
    assert house.stage() == COMPLETED
    house.receive(matter(answers=("mail:1",), text="It is still denied."), now=house.now)
    assert (house.stage(), house.count(Ticket)) == (IN_PROGRESS, 1)
    assert "reopened_by_reply" in house.codes()


def test_without_owner_and_without_manager_the_default_teams_manager_gets_the_tasks(house: House) -> None:
    house.configure(routing={"rules": []})
    for name in ("Ben", "Cleo"):
        house.away(house.ids[name], NOW - DAY, NOW + DAY)
    house.receive(matter(email="kim@hilltop.example"))
    assert house.show(1)["owner"] is None
    house.clock(3 * DAY)
    assert sorted(house.tasks()) == [("escalation", "Mara"), ("reminder", "Mara")]
