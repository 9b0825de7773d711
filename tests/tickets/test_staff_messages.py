"""What staff write to the customer from a ticket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from outbox.facts import StaffMessageWritten
from tests.tickets.acts import complete, mark, person, reopen, settle_notice, tasks
from tests.tickets.world import NOW, World, matter
from tickets import lifecycle, merging, message_templates, staff_messages
from tickets.message_templates import RECAP
from tickets.staff_messages import QUESTION, RECAP_MESSAGE, REPLY, MessageDraft, MessageOutcome

SHIPPED = Path(__file__).parents[2] / "templates" / "email" / "billing_support"
DANA = "dana@lakeside.example"


@pytest.fixture
def desk(world: World) -> World:
    """Ticket 1 of Ada, from Dana of Lakeside, in progress; the shipped templates are in."""
    ada = world.staff("Ada")
    world.staff("Max", role="manager")
    world.staff("Eve", active=False)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    world.database.transaction(lambda session: message_templates.seed(session, SHIPPED, NOW))
    world.receive(matter(message_id="<1@lakeside.example>", missing=("the mail has no text",)))
    settle_notice(world)
    return world


def compose(world: World, kind: str = REPLY, *, by: str = "Ada", **options: Any) -> MessageDraft:
    return world.database.transaction(lambda session: staff_messages.compose(session, 1, person(session, by), kind, **options))


def send(
    world: World, kind: str = REPLY, text: str = "It is paid.", *, by: str = "Ada", subject: str = "Re: Claim", **options: Any
) -> int:
    return world.database.transaction(
        lambda session: staff_messages.send(session, 1, person(session, by), kind, subject, text, NOW, **options)
    )


def settle(world: World, activity_id: int, outcome: str, *, delivery_id: int = 7) -> None:
    told = MessageOutcome(delivery_id, 1, activity_id, outcome, Reason("some_code", "Some reason"), DANA)
    world.database.transaction(lambda session: staff_messages.record_outcomes(session, [told], NOW))


def entries(world: World, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in world.show(1)["timeline"] if entry["kind"] == kind]


def test_the_recap_is_filled_from_ticket_contact_and_writer(desk: World) -> None:
    draft = compose(desk, RECAP_MESSAGE, values={"resolution": "The payer paid in full."})
    assert draft.subject == "How we resolved Claim denied"
    assert "Hello Dana Reyes," in draft.text
    assert "BS-000001, opened on November 23, 2026" in draft.text
    assert "The payer paid in full." in draft.text
    assert draft.text.endswith("Ada\n")
    assert (draft.to, draft.problems) == ((DANA,), ())
    assert draft.template is not None
    assert draft.template.name == RECAP


def test_what_is_not_filled_is_named_and_blocks_sending(desk: World) -> None:
    draft = compose(desk, RECAP_MESSAGE)
    assert draft.problems == ("{{ resolution }} is not filled",)
    with pytest.raises(RefusedError, match=r"not filled yet: \{\{ resolution \}\}"):
        send(desk, RECAP_MESSAGE, draft.text)
    assert entries(desk, "message_out") == []


def test_a_placeholder_that_somebody_typed_blocks_sending_too(desk: World) -> None:
    with pytest.raises(RefusedError, match=r"owner\.telephone"):
        send(desk, text="Call {{ owner.telephone }}.")
    with pytest.raises(RefusedError, match="claim"):
        send(desk, subject="About {{ claim }}")


def test_the_question_for_more_names_what_is_missing(desk: World) -> None:
    draft = compose(desk, QUESTION)
    assert "- the mail has no text" in draft.text
    assert draft.problems == ()


def test_a_reply_begins_with_nothing_but_its_subject(desk: World) -> None:
    draft = compose(desk)
    assert (draft.subject, draft.text, draft.template) == ("Re: Claim denied", "", None)
    assert draft.problems == ("there is no text yet",)


def test_a_letter_is_on_the_timeline_with_its_template_and_is_a_fact(desk: World) -> None:
    draft = compose(desk, RECAP_MESSAGE, values={"resolution": "Paid."})
    entry_id = send(desk, RECAP_MESSAGE, draft.text, subject=draft.subject, template=draft.template)
    (entry,) = entries(desk, "message_out")
    assert (entry["title"], entry["actor"]) == (draft.subject, "ada@billing.example")
    assert entry["body"] == draft.text
    kept = desk.rows(staff_messages.Activity, staff_messages.Activity.id)[-1].data
    assert kept["template"] == {"folder": "Billing Support", "name": RECAP, "version": 1}
    assert [fact for fact in desk.facts() if isinstance(fact, StaffMessageWritten)] == [
        StaffMessageWritten(1, entry_id, RECAP_MESSAGE, [1])
    ]


def test_a_letter_goes_to_people_of_the_ticket_only(desk: World) -> None:
    desk.receive(matter(thread_key="t", contacts=("lee@lakeside.example",), email="kim@lakeside.example"))
    with pytest.raises(RefusedError, match=r"stranger@x\.example does not belong to BS-000001"):
        send(desk, to=["stranger@x.example"])
    send(desk, to=[f" {DANA.upper()} "])
    assert entries(desk, "message_out")[0]["title"] == "Re: Claim"


def test_a_requester_without_an_address_cannot_be_written_to(desk: World) -> None:
    desk.receive(matter(email=None, name="Somebody"))
    draft = desk.database.transaction(lambda s: staff_messages.compose(s, 2, person(s, "Ada")))
    assert "the requester has no email address" in draft.problems
    with pytest.raises(RefusedError, match="no email address"):
        desk.database.transaction(lambda s: staff_messages.send(s, 2, person(s, "Ada"), REPLY, "S", "T", NOW))


@pytest.mark.parametrize(
    ("subject", "text", "code"),
    [("", "Text", "empty"), ("S", " ", "empty"), ("S" * 301, "T", "too_long"), ("S", "x" * 100_001, "too_long")],
)
def test_a_letter_needs_words_and_not_too_many(desk: World, subject: str, text: str, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        send(desk, text=text, subject=subject)
    assert refused.value.code == code


def test_who_has_left_writes_to_nobody_and_an_unknown_kind_is_refused(desk: World) -> None:
    with pytest.raises(RefusedError, match="no longer active"):
        send(desk, by="Eve")
    with pytest.raises(RefusedError, match="one of reply, recap"):
        send(desk, "poem")
    with pytest.raises(NotFoundError, match="there is no template 'Poem'"):
        compose(desk, template="Poem")


def test_a_line_end_in_a_subject_is_a_blank(desk: World) -> None:
    send(desk, subject="Re: Claim\r\nBcc: x@y.example")
    assert entries(desk, "message_out")[0]["title"] == "Re: Claim Bcc: x@y.example"


def test_an_accepted_recap_checks_the_box_and_completes_what_is_resolved(desk: World) -> None:
    entry_id = send(desk, RECAP_MESSAGE)
    mark(desk, lifecycle.mark_follow_up_sent)
    mark(desk, lifecycle.mark_resolved)
    settle(desk, entry_id, "sent")
    shown = desk.show(1)
    assert shown["stage"] == "6-Completed"
    assert shown["recap_sent"]["by"] == "casemill"
    assert [entry["title"] for entry in entries(desk, "notice")][-1] == f"Recap of resolution sent to {DANA}"


def test_without_resolution_an_accepted_recap_checks_the_box_and_waits(desk: World) -> None:
    mark(desk, lifecycle.mark_follow_up_sent)
    settle(desk, send(desk, RECAP_MESSAGE), "sent")
    assert (desk.show(1)["stage"], desk.show(1)["recap_sent"]["by"]) == ("5-Audit", "casemill")
    mark(desk, lifecycle.mark_resolved)
    assert desk.show(1)["stage"] == "6-Completed"


@pytest.mark.parametrize("outcome", ["failed", "ambiguous", "skipped"])
def test_a_recap_that_did_not_get_through_checks_nothing_and_is_a_task_once(desk: World, outcome: str) -> None:
    mark(desk, lifecycle.mark_follow_up_sent)
    mark(desk, lifecycle.mark_resolved)
    entry_id = send(desk, RECAP_MESSAGE)
    for _ in range(2):
        settle(desk, entry_id, outcome)
    assert (desk.show(1)["stage"], desk.show(1)["recap_sent"]) == ("5-Audit", None)
    assert ("notice_problem", "Ada", False) in [(kind, "Ada" if who else None, done) for kind, who, done in tasks(desk)]
    assert sum(kind == "notice_problem" for kind, _, _ in tasks(desk)) == 1


def test_an_accepted_reply_checks_no_box(desk: World) -> None:
    settle(desk, send(desk), "sent")
    assert desk.show(1)["recap_sent"] is None


def test_a_recap_of_an_earlier_opening_checks_nothing(desk: World) -> None:
    entry_id = send(desk, RECAP_MESSAGE)
    complete(desk)
    reopen(desk, at=NOW)
    settle(desk, entry_id, "sent")
    assert desk.show(1)["recap_sent"] is None


def test_a_completed_ticket_gets_a_reply_and_no_recap(desk: World) -> None:
    complete(desk)
    with pytest.raises(RefusedError, match="completed"):
        send(desk, RECAP_MESSAGE)
    send(desk)


def test_nobody_writes_from_a_ticket_that_was_merged(desk: World) -> None:
    desk.receive(matter(subject="Again", email="lee@lakeside.example"))
    desk.database.transaction(lambda s: merging.merge(s, 1, 2, person(s, "Ada"), "The same", NOW) and None)
    with pytest.raises(RefusedError, match="merged into BS-000002"):
        send(desk)
