"""The table of domain.md, Tickets, row by row, through the same functions as pages, API and commands."""

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
from tests.domain.conftest import DAY, HelpDesk
from tests.tickets.world import NOW, dana_mail
from tickets import intake, lifecycle, staff_messages
from tickets.models import Ticket
from tickets.stages import AUDIT, COMPLETED, IN_PROGRESS, SUBMITTED
from tickets.submission import TicketSource

TELL = "ticket_created"


@pytest.mark.parametrize("source", list(TicketSource))
def test_a_ticket_of_any_source_begins_in_stage_1_and_its_creation_notice_is_queued(
    helpdesk: HelpDesk, source: TicketSource
) -> None:
    helpdesk.receive(dana_mail(source=source, owner_email="ada@billing.example" if source is TicketSource.PHONE else None))
    assert helpdesk.stage() == SUBMITTED
    assert TicketCreated(1, answer=True) in helpdesk.facts()
    helpdesk.relay()
    assert helpdesk.mails(TELL) == ["dana@lakeside.example"]


def test_ticket_and_queued_notice_are_one_transaction(helpdesk: HelpDesk) -> None:
    with pytest.raises(ZeroDivisionError), helpdesk.database.write() as session:
        intake.receive(session, [dana_mail()], helpdesk.settings, NOW)
        raise ZeroDivisionError
    assert (helpdesk.count(Ticket), helpdesk.count(OutboxFact), helpdesk.count(Delivery)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("outcome", "task"),
    [("sent", []), ("skipped", []), ("failed", [("notice_problem", "Ada")]), ("ambiguous", [("notice_problem", "Ada")])],
)
def test_settled_creation_notice_moves_to_in_progress_and_a_failed_one_raises_a_task(
    helpdesk: HelpDesk, outcome: str, task: list[tuple[str, str]]
) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.settle_mail(TELL, outcome)
    assert (helpdesk.stage(), helpdesk.tasks()) == (IN_PROGRESS, task)


@pytest.mark.parametrize("notice", [False, True], ids=["from stage 1", "from stage 4"])
def test_a_checked_follow_up_moves_the_ticket_to_audit(helpdesk: HelpDesk, notice: bool) -> None:
    helpdesk.receive(dana_mail())
    if notice:
        helpdesk.settle_mail(TELL)
    helpdesk.act(lifecycle.mark_follow_up_sent)
    assert helpdesk.stage() == AUDIT
    assert helpdesk.show(1)["follow_up_sent"]["by"] == "ada@billing.example"


def test_no_follow_up_within_two_days_raises_one_reminder_for_the_owner(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.advance_clock(2 * DAY - timedelta(seconds=1))
    assert helpdesk.tasks() == []
    helpdesk.advance_clock(timedelta(seconds=1))
    helpdesk.advance_clock(timedelta(hours=1))
    assert helpdesk.tasks() == [("reminder", "Ada")]
    assert helpdesk.mails("follow_up_reminder") == ["ada@billing.example"]


def test_follow_up_in_time_raises_no_reminder(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.act(lifecycle.mark_follow_up_sent)
    helpdesk.advance_clock(2 * DAY)
    assert helpdesk.tasks() == []


def test_resolution_yes_is_recorded_with_who_and_when_and_moves_nothing_by_itself(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.settle_mail(TELL)
    helpdesk.act(lifecycle.mark_resolved, by="Ben")
    assert helpdesk.show(1)["resolution"] == {"at": NOW.isoformat(timespec="seconds"), "by": "ben@billing.example"}
    assert helpdesk.stage() == IN_PROGRESS


def test_without_resolution_no_recap_completes_a_ticket(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.act(lifecycle.mark_follow_up_sent)
    helpdesk.act(lifecycle.mark_recap_sent)
    assert helpdesk.stage() == AUDIT


def test_no_resolution_within_three_days_escalates_once_to_the_companys_manager(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.act(lifecycle.mark_follow_up_sent)
    helpdesk.advance_clock(3 * DAY - timedelta(seconds=1))
    assert helpdesk.tasks() == []
    helpdesk.advance_clock(timedelta(seconds=1))
    helpdesk.advance_clock(DAY)
    assert helpdesk.tasks() == [("escalation", "Max")]
    assert helpdesk.mails("escalation") == ["max@billing.example"]


def test_resolution_in_time_raises_no_escalation(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.act(lifecycle.mark_resolved)
    helpdesk.advance_clock(3 * DAY)
    assert ("escalation", "Max") not in helpdesk.tasks()


def test_a_recap_is_filled_from_ticket_and_contact_may_be_edited_and_checks_its_box_when_the_server_accepts_it(
    helpdesk: HelpDesk,
) -> None:
    helpdesk.receive(dana_mail())
    draft = helpdesk.act(
        lambda s, one, by, now: staff_messages.compose(s, one, by, staff_messages.RECAP_MESSAGE, values={"resolution": "Paid."})
    )
    assert draft.template.name == "Billing Support Recap of Resolution"
    assert "Dana Reyes" in draft.text and "BS-000001" in draft.subject + draft.text and draft.problems == ()
    edited = draft.text + "\nCall me any time."
    helpdesk.act(
        lambda s, one, by, now: staff_messages.send(s, one, by, staff_messages.RECAP_MESSAGE, draft.subject, edited, now)
    )
    assert helpdesk.show(1)["recap_sent"] is None, "on its way is not accepted"
    helpdesk.settle_mail("recap_of_resolution")
    assert helpdesk.show(1)["recap_sent"]["by"] == "casemill"
    assert helpdesk.mails("recap_of_resolution") == ["dana@lakeside.example"]


def test_a_recap_with_an_empty_placeholder_is_not_sent(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    draft = helpdesk.act(lambda s, one, by, now: staff_messages.compose(s, one, by, staff_messages.RECAP_MESSAGE))
    with pytest.raises(RefusedError, match="resolution"):
        helpdesk.act(
            lambda s, one, by, now: staff_messages.send(s, one, by, staff_messages.RECAP_MESSAGE, draft.subject, draft.text, now)
        )


@pytest.mark.parametrize(("accepted", "checked"), [("kim@lakeside.example", False), ("dana@lakeside.example", True)])
def test_of_a_recap_to_several_the_requesters_copy_checks_the_box(helpdesk: HelpDesk, accepted: str, checked: bool) -> None:
    helpdesk.receive(dana_mail(contacts=("kim@lakeside.example",)))
    both = ("kim@lakeside.example", "dana@lakeside.example")
    helpdesk.act(
        lambda s, one, by, now: staff_messages.send(
            s, one, by, staff_messages.RECAP_MESSAGE, "Recap", "It is paid.", now, to=both
        )
    )
    helpdesk.relay()
    entry = next(one["id"] for one in helpdesk.show(1)["timeline"] if one["kind"] == "message_out")
    reason = Reason("accepted", "Accepted")
    for number, person in enumerate(both, 1):
        outcome = "sent" if person == accepted else "failed"
        outcomes = [staff_messages.MessageOutcome(number, 1, entry, outcome, reason, person)]
        helpdesk.database.transaction(lambda s, outcomes=outcomes: staff_messages.record_outcomes(s, outcomes, helpdesk.now))  # type: ignore[misc]
    assert (helpdesk.show(1)["recap_sent"] is not None) == checked
    assert helpdesk.tasks() == [("notice_problem", "Ada")], "the copy that did not get through is a task"


def test_a_recap_given_by_telephone_is_checked_by_hand(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.act(lifecycle.mark_recap_sent, by="Ben")
    assert helpdesk.show(1)["recap_sent"]["by"] == "ben@billing.example"


@pytest.mark.parametrize(
    "order",
    [
        ("mark_follow_up_sent", "mark_resolved", "mark_recap_sent"),
        ("mark_follow_up_sent", "mark_recap_sent", "mark_resolved"),
        ("mark_recap_sent", "mark_resolved", "mark_follow_up_sent"),
    ],
    ids=lambda order: order[-1],
)
def test_recap_sent_and_resolution_yes_complete_a_ticket_whichever_comes_last(helpdesk: HelpDesk, order: tuple[str, ...]) -> None:
    """The last order takes two moves at once: moves are applied until none applies."""
    helpdesk.receive(dana_mail())
    for verb in order:
        assert helpdesk.stage() != COMPLETED
        helpdesk.act(getattr(lifecycle, verb))
    assert helpdesk.stage() == COMPLETED
    moves = [one["title"] for one in helpdesk.show(1)["timeline"] if one["kind"] == "stage"]
    assert moves == ["Moved to 5-Audit", "Moved to 6-Completed"]


def complete(helpdesk: HelpDesk, ticket: int = 1) -> None:
    for verb in (lifecycle.mark_follow_up_sent, lifecycle.mark_resolved, lifecycle.mark_recap_sent):
        helpdesk.act(verb, ticket=ticket)


def test_completed_ticket_sends_its_customer_one_survey(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    complete(helpdesk)
    helpdesk.relay()
    helpdesk.advance_clock(timedelta(hours=helpdesk.settings.surveys.delay_hours))
    helpdesk.advance_clock(DAY)
    assert helpdesk.mails("survey_invitation") == ["dana@lakeside.example"]


@pytest.mark.parametrize(("throttle", "sender", "asked"), [
    ("contact", "dana@lakeside.example", []), ("contact", "kim@lakeside.example", ["kim@lakeside.example"]),
    ("company", "kim@lakeside.example", []),
])  # fmt: skip
def test_customer_surveyed_within_30_days_gets_no_survey(
    helpdesk: HelpDesk, throttle: str, sender: str, asked: list[str]
) -> None:
    helpdesk.configure(surveys={"throttle": throttle})
    helpdesk.receive(dana_mail())
    helpdesk.receive(dana_mail(email=sender))
    wait = timedelta(hours=helpdesk.settings.surveys.delay_hours)
    complete(helpdesk)
    helpdesk.relay()
    helpdesk.advance_clock(wait)
    helpdesk.settle_mail("survey_invitation")
    helpdesk.now += 29 * DAY
    complete(helpdesk, 2)
    helpdesk.relay()
    helpdesk.advance_clock(wait)
    assert helpdesk.mails("survey_invitation", 2) == asked
    assert ("throttled" in helpdesk.codes(2)) == (not asked)


def test_survey_held_by_a_limit_is_not_sent_after_its_ticket_is_reopened(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    complete(helpdesk)
    helpdesk.relay()
    helpdesk.advance_clock(timedelta(hours=helpdesk.settings.surveys.delay_hours))
    helpdesk.act(lambda s, one, by, now: lifecycle.reopen(s, one, by, "They wrote again", helpdesk.settings, now))
    helpdesk.admit_due_mails()
    assert helpdesk.outcome("survey_invitation") == ("skipped", "reopened")
    assert "reopened" in helpdesk.codes(kind="survey")
    with helpdesk.database.read() as session:
        assert session.execute(select(Contact.last_surveyed_at)).scalar_one() is None, "the slot is free again"


@pytest.mark.parametrize("stage", [SUBMITTED, IN_PROGRESS, AUDIT, COMPLETED])
def test_no_other_move_is_possible_but_one_by_a_manager_with_a_reason(helpdesk: HelpDesk, stage: int) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.act(lifecycle.mark_follow_up_sent)
    if stage == AUDIT:
        helpdesk.settle_mail(TELL)
        assert helpdesk.stage() == AUDIT, "the notice's outcome moves nothing back"
        return
    for who, reason in (("Ada", "Because"), ("Max", " ")):
        with pytest.raises(RefusedError):
            force(helpdesk, stage, who, reason)
    assert helpdesk.stage() == AUDIT
    force(helpdesk, stage, "Max", "Entered twice")
    assert helpdesk.stage() == stage
    assert "forced" in helpdesk.codes(kind="stage")


def force(helpdesk: HelpDesk, stage: int, who: str, reason: str) -> None:
    def verb(s, one, by, now):  # type: ignore[no-untyped-def]
        lifecycle.force_stage(s, one, stage, by, reason, helpdesk.settings, now)

    helpdesk.act(verb, by=who)


def test_there_are_no_stages_2_and_3_here(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    for stage in (2, 3, 7):
        with pytest.raises(RefusedError, match="no stage"):
            force(helpdesk, stage, "Max", "Because")


def test_a_ticket_that_its_creation_notice_completes_leaves_no_timer_and_no_task_of_the_rules(helpdesk: HelpDesk) -> None:
    """Forced on to 5 with Resolution and recap set, it is completed when the late notice has its outcome."""
    helpdesk.receive(dana_mail())
    helpdesk.advance_clock(2 * DAY)
    helpdesk.act(lifecycle.mark_recap_sent)
    helpdesk.act(lifecycle.mark_resolved)
    force(helpdesk, AUDIT, "Max", "Entered twice")
    assert (helpdesk.stage(), helpdesk.tasks()) == (AUDIT, [("reminder", "Ada")])
    helpdesk.settle_mail(TELL)
    assert (helpdesk.stage(), helpdesk.tasks()) == (COMPLETED, [])
    assert helpdesk.ticket(1).reminder_due_at is helpdesk.ticket(1).escalation_due_at is None


def test_days_are_calendar_days_unless_a_setting_says_business_days(helpdesk: HelpDesk) -> None:
    friday = NOW + 4 * DAY
    helpdesk.receive(dana_mail(), now=friday)
    helpdesk.configure(calendar={"days": "business", "holidays": ["2026-11-30"]})
    helpdesk.receive(dana_mail(), now=friday)
    by_calendar, by_business = (helpdesk.ticket(number).reminder_due_at for number in (1, 2))
    assert by_calendar == friday + 2 * DAY
    assert by_business is not None and by_business.date().isoformat() == "2026-12-02", "Saturday, Sunday, Monday do not count"


def test_reopening_clears_milestones_keeps_history_and_lets_each_timer_fire_once_more(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail())
    helpdesk.advance_clock(3 * DAY)
    complete(helpdesk)
    helpdesk.act(lambda s, one, by, now: lifecycle.reopen(s, one, by, "They wrote again", helpdesk.settings, now))
    shown = helpdesk.show(1)
    assert (helpdesk.stage(), shown["follow_up_sent"], shown["resolution"], shown["recap_sent"]) == (
        IN_PROGRESS,
        None,
        None,
        None,
    )
    assert [one["kind"] for one in shown["timeline"]].count("mark") == 3
    helpdesk.advance_clock(3 * DAY)
    helpdesk.advance_clock(DAY)
    assert sorted(helpdesk.tasks()) == [("escalation", "Max"), ("reminder", "Ada")]
    assert len(helpdesk.show(1)["tasks"]) == 4


def test_a_customer_who_writes_again_reopens_a_completed_ticket_and_thanks_do_not(helpdesk: HelpDesk) -> None:
    helpdesk.receive(dana_mail(message_key="mail:1"))
    complete(helpdesk)
    thanks = Reason("only_thanks", "It only says thanks")
    helpdesk.receive(dana_mail(answers=("mail:1",), thanks=thanks), now=helpdesk.now)
    assert helpdesk.stage() == COMPLETED
    helpdesk.receive(dana_mail(answers=("mail:1",), text="It is still denied."), now=helpdesk.now)
    assert (helpdesk.stage(), helpdesk.count(Ticket)) == (IN_PROGRESS, 1)
    assert "reopened_by_reply" in helpdesk.codes()


def test_without_owner_and_without_manager_the_default_teams_manager_gets_the_tasks(helpdesk: HelpDesk) -> None:
    helpdesk.configure(routing={"rules": []})
    for name in ("Ben", "Cleo"):
        helpdesk.away(helpdesk.ids[name], NOW - DAY, NOW + DAY)
    helpdesk.receive(dana_mail(email="kim@hilltop.example"))
    assert helpdesk.show(1)["owner"] is None
    helpdesk.advance_clock(3 * DAY)
    assert sorted(helpdesk.tasks()) == [("escalation", "Mara"), ("reminder", "Mara")]
