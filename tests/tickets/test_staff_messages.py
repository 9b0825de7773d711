"""Staff messages: composing, sending, and the outcomes of their mails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from outbox.facts import StaffMessageWritten
from tests.tickets.staff_actions import complete, mark, person, reopen, settle_notice, tasks
from tests.tickets.world import NOW, World, dana_mail
from tickets import lifecycle, merging, message_templates, staff_messages
from tickets.message_templates import RECAP
from tickets.staff_messages import QUESTION, RECAP_MESSAGE, REPLY, MessageDraft, MessageOutcome

SHIPPED = Path(__file__).parents[2] / "templates" / "email" / "billing_support"
DANA = "dana@lakeside.example"


@pytest.fixture
def staffed_world(world: World) -> World:
    """Ticket 1 of Ada, from Dana of Lakeside, in progress; the shipped templates are in."""
    ada = world.staff("Ada")
    world.staff("Max", role="manager")
    world.staff("Eve", active=False)
    world.company("Lakeside", "lakeside.example", consultant_id=ada)
    world.database.transaction(lambda session: message_templates.seed(session, SHIPPED, NOW))
    world.receive(dana_mail(message_id="<1@lakeside.example>", missing=("the mail has no text",)))
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
    message_outcome = MessageOutcome(delivery_id, 1, activity_id, outcome, Reason("some_code", "Some reason"), DANA)
    world.database.transaction(lambda session: staff_messages.record_outcomes(session, [message_outcome], NOW))


def entries(world: World, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in world.show(1)["timeline"] if entry["kind"] == kind]


def test_the_recap_is_filled_from_ticket_contact_and_writer(staffed_world: World) -> None:
    draft = compose(staffed_world, RECAP_MESSAGE, values={"resolution": "The payer paid in full."})
    assert draft.subject == "How we resolved Claim denied"
    assert "Hello Dana Reyes," in draft.text
    assert "BS-000001, opened on November 23, 2026" in draft.text
    assert "The payer paid in full." in draft.text
    assert draft.text.endswith("Ada\n")
    assert (draft.to, draft.problems) == ((DANA,), ())
    assert draft.template is not None
    assert draft.template.name == RECAP


def test_unfilled_placeholder_is_named_and_blocks_sending(staffed_world: World) -> None:
    draft = compose(staffed_world, RECAP_MESSAGE)
    assert draft.problems == ("{{ resolution }} is not filled",)
    with pytest.raises(RefusedError, match=r"not filled yet: \{\{ resolution \}\}"):
        send(staffed_world, RECAP_MESSAGE, draft.text)
    assert entries(staffed_world, "message_out") == []


def test_typed_placeholder_blocks_sending_too(staffed_world: World) -> None:
    with pytest.raises(RefusedError, match=r"owner\.telephone"):
        send(staffed_world, text="Call {{ owner.telephone }}.")
    with pytest.raises(RefusedError, match="claim"):
        send(staffed_world, subject="About {{ claim }}")


def test_request_for_information_names_the_missing_fields(staffed_world: World) -> None:
    draft = compose(staffed_world, QUESTION)
    assert "- the mail has no text" in draft.text
    assert draft.problems == ()


def test_reply_starts_with_its_subject_and_no_text(staffed_world: World) -> None:
    draft = compose(staffed_world)
    assert (draft.subject, draft.text, draft.template) == ("Re: Claim denied", "", None)
    assert draft.problems == ("there is no text yet",)


def test_staff_message_is_a_timeline_entry_with_its_template_and_a_fact(staffed_world: World) -> None:
    draft = compose(staffed_world, RECAP_MESSAGE, values={"resolution": "Paid."})
    entry_id = send(staffed_world, RECAP_MESSAGE, draft.text, subject=draft.subject, template=draft.template)
    (entry,) = entries(staffed_world, "message_out")
    assert (entry["title"], entry["actor"]) == (draft.subject, "ada@billing.example")
    assert entry["body"] == draft.text
    data = staffed_world.rows(staff_messages.Activity, staff_messages.Activity.id)[-1].data
    assert data["template"] == {"folder": "Billing Support", "name": RECAP, "version": 1}
    assert [fact for fact in staffed_world.facts() if isinstance(fact, StaffMessageWritten)] == [
        StaffMessageWritten(1, entry_id, RECAP_MESSAGE, [1])
    ]


def test_staff_message_goes_only_to_people_of_the_ticket(staffed_world: World) -> None:
    staffed_world.receive(dana_mail(thread_key="t", contacts=("lee@lakeside.example",), email="kim@lakeside.example"))
    with pytest.raises(RefusedError, match=r"stranger@x\.example does not belong to BS-000001"):
        send(staffed_world, to=["stranger@x.example"])
    send(staffed_world, to=[f" {DANA.upper()} "])
    assert entries(staffed_world, "message_out")[0]["title"] == "Re: Claim"


def test_staff_message_to_a_requester_without_address_is_refused(staffed_world: World) -> None:
    staffed_world.receive(dana_mail(email=None, name="Somebody"))
    draft = staffed_world.database.transaction(lambda s: staff_messages.compose(s, 2, person(s, "Ada")))
    assert "the requester has no email address" in draft.problems
    with pytest.raises(RefusedError, match="no email address"):
        staffed_world.database.transaction(lambda s: staff_messages.send(s, 2, person(s, "Ada"), REPLY, "S", "T", NOW))


@pytest.mark.parametrize(
    ("subject", "text", "code"),
    [("", "Text", "empty"), ("S", " ", "empty"), ("S" * 301, "T", "too_long"), ("S", "x" * 100_001, "too_long")],
)
def test_empty_or_too_long_staff_message_is_refused(staffed_world: World, subject: str, text: str, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        send(staffed_world, text=text, subject=subject)
    assert refused.value.code == code


def test_message_of_an_inactive_person_or_unknown_kind_is_refused(staffed_world: World) -> None:
    with pytest.raises(RefusedError, match="no longer active"):
        send(staffed_world, by="Eve")
    with pytest.raises(RefusedError, match="one of reply, recap"):
        send(staffed_world, "poem")
    with pytest.raises(NotFoundError, match="there is no template 'Poem'"):
        compose(staffed_world, template="Poem")


def test_line_end_in_a_subject_becomes_a_blank(staffed_world: World) -> None:
    send(staffed_world, subject="Re: Claim\r\nBcc: x@y.example")
    assert entries(staffed_world, "message_out")[0]["title"] == "Re: Claim Bcc: x@y.example"


def test_accepted_recap_checks_its_box_and_completes_a_resolved_ticket(staffed_world: World) -> None:
    entry_id = send(staffed_world, RECAP_MESSAGE)
    mark(staffed_world, lifecycle.mark_follow_up_sent)
    mark(staffed_world, lifecycle.mark_resolved)
    settle(staffed_world, entry_id, "sent")
    shown = staffed_world.show(1)
    assert shown["stage"] == "6-Completed"
    assert shown["recap_sent"]["by"] == "casemill"
    assert [entry["title"] for entry in entries(staffed_world, "notice")][-1] == f"Recap of resolution sent to {DANA}"


def test_accepted_recap_without_resolution_checks_its_box_only(staffed_world: World) -> None:
    mark(staffed_world, lifecycle.mark_follow_up_sent)
    settle(staffed_world, send(staffed_world, RECAP_MESSAGE), "sent")
    assert (staffed_world.show(1)["stage"], staffed_world.show(1)["recap_sent"]["by"]) == ("5-Audit", "casemill")
    mark(staffed_world, lifecycle.mark_resolved)
    assert staffed_world.show(1)["stage"] == "6-Completed"


@pytest.mark.parametrize("outcome", ["failed", "ambiguous", "skipped"])
def test_recap_that_did_not_arrive_checks_nothing_and_raises_one_task(staffed_world: World, outcome: str) -> None:
    mark(staffed_world, lifecycle.mark_follow_up_sent)
    mark(staffed_world, lifecycle.mark_resolved)
    entry_id = send(staffed_world, RECAP_MESSAGE)
    for _ in range(2):
        settle(staffed_world, entry_id, outcome)
    assert (staffed_world.show(1)["stage"], staffed_world.show(1)["recap_sent"]) == ("5-Audit", None)
    assert ("notice_problem", "Ada", False) in [(kind, "Ada" if who else None, done) for kind, who, done in tasks(staffed_world)]
    assert sum(kind == "notice_problem" for kind, _, _ in tasks(staffed_world)) == 1


def test_an_accepted_reply_checks_no_box(staffed_world: World) -> None:
    settle(staffed_world, send(staffed_world), "sent")
    assert staffed_world.show(1)["recap_sent"] is None


def test_a_recap_of_an_earlier_opening_checks_nothing(staffed_world: World) -> None:
    entry_id = send(staffed_world, RECAP_MESSAGE)
    complete(staffed_world)
    reopen(staffed_world, at=NOW)
    settle(staffed_world, entry_id, "sent")
    assert staffed_world.show(1)["recap_sent"] is None


def test_a_completed_ticket_gets_a_reply_and_no_recap(staffed_world: World) -> None:
    complete(staffed_world)
    with pytest.raises(RefusedError, match="completed"):
        send(staffed_world, RECAP_MESSAGE)
    send(staffed_world)


def test_message_from_a_merged_ticket_is_refused(staffed_world: World) -> None:
    staffed_world.receive(dana_mail(subject="Again", email="lee@lakeside.example"))
    staffed_world.database.transaction(lambda s: merging.merge(s, 1, 2, person(s, "Ada"), "The same", NOW) and None)
    with pytest.raises(RefusedError, match="merged into BS-000002"):
        send(staffed_world)
