"""The decision which ticket a submission belongs to: evidence in its order, and which senders may use it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from accounts.matching import ContactView
from core.reasons import Reason
from core.settings.sections import Calendar
from outbox.facts import TicketCreated
from tests.tickets.staff_actions import complete
from tests.tickets.world import NOW, World, dana_mail
from tickets.models import Ticket, TicketThread
from tickets.stages import COMPLETED
from tickets.threads import ThreadIndex, ThreadMatch, TicketView

DANA = ContactView(1, "dana@lakeside.example", "Dana", 5)
COLLEAGUE = ContactView(2, "lee@lakeside.example", "Lee", 5)
STRANGER = ContactView(3, "mallory@gmail.com", "Mallory", None)
SIGNED = {"replies_to": 7}


def threads(**values: Any) -> ThreadIndex:
    """Tickets 7 and 8 of Dana's, 8 completed a week ago, 9 long ago; 10 was merged into 7. One mail of each is known."""
    views = [
        TicketView(7, 5, 4, None, None), TicketView(8, 5, COMPLETED, NOW - timedelta(days=7), None),
        TicketView(9, 5, COMPLETED, NOW - timedelta(days=15), None), TicketView(10, 5, COMPLETED, NOW, 7),
    ]  # fmt: skip
    return ThreadIndex(
        reopen_since=NOW - timedelta(days=14),
        keys={"mail:seven": 7, "mail:eight": 8, "mail:gone": 4711},
        tickets={view.id: view for view in views},
        participants={7: {1}, 8: {1}, 9: {1}, 10: {1}},
        **values,
    )


def find(contact: ContactView | None = DANA, known: ThreadIndex | None = None, **values: Any) -> ThreadMatch:
    return (known or threads()).match(dana_mail(**values), contact, None)


@pytest.mark.parametrize(
    ("values", "target", "code"),
    [
        ({"replies_to": 7, "answers": ("mail:eight",), "quoted_ticket_id": 8}, 7, "reply_to_notice"),
        ({"replies_to": 4711, "answers": ("mail:seven",)}, 7, "message_known"),
        ({"answers": ("mail:unknown", "mail:gone", "mail:seven"), "quoted_ticket_id": 8}, 7, "message_known"),
        ({"quoted_ticket_id": 7, "subject_tag": 8}, 7, "marker_line"),
        ({"replies_to": 10}, 7, "reply_to_notice"),
    ],
)
def test_the_first_step_that_leads_to_a_ticket_decides(values: dict[str, Any], target: int, code: str) -> None:
    found = find(**values)
    assert (found.target, found.reason and found.reason.code, found.links) == (target, code, ())


@pytest.mark.parametrize("step", [{"replies_to": 7}, {"answers": ("mail:seven",)}, {"quoted_ticket_id": 7}])
@pytest.mark.parametrize("contact", [STRANGER, COLLEAGUE, None])
def test_reply_from_stranger_opens_ticket_that_shows_the_possible_duplicate(
    step: dict[str, Any], contact: ContactView | None
) -> None:
    found = find(contact, **step)
    assert found.target is None
    assert [(link.target, link.kind, link.reason.code) for link in found.links] == [(7, "possible_match", "not_a_participant")]


def test_unverified_participant_gets_a_ticket_that_shows_the_possible_duplicate() -> None:
    (link,) = find(**SIGNED, verified=False).links
    assert (link.target, link.reason.code) == (7, "sender_not_verified")
    assert find(**SIGNED, verified=True).target == find(**SIGNED, verified=None).target == 7


def test_subject_tag_alone_only_marks_a_possible_duplicate() -> None:
    found = find(subject_tag=7)
    assert (found.target, [(link.target, link.reason.code) for link in found.links]) == (None, [(7, "subject_tag")])
    assert find(subject_tag=4711) == find() == ThreadMatch()


@pytest.mark.parametrize(("verified", "target"), [(True, 7), (None, None), (False, None)])
def test_verified_colleague_may_reply_where_the_setting_allows_it(verified: bool | None, target: int | None) -> None:
    assert find(COLLEAGUE, threads(colleagues_may_reply=True), **SIGNED, verified=verified).target == target
    assert find(STRANGER, threads(colleagues_may_reply=True), **SIGNED, verified=True).target is None


def test_reply_to_a_recently_completed_ticket_reopens_it_once() -> None:
    known = threads()
    assert find(known=known, replies_to=8) == replace(find(replies_to=8), reopens=True)
    assert find(known=known, replies_to=8).reopens is False, "it is open again by now"


def test_reply_to_a_ticket_completed_long_ago_opens_a_linked_ticket() -> None:
    found = find(replies_to=9)
    assert found.target is None
    assert [(link.target, link.kind) for link in found.links] == [(9, "follows")]


@pytest.mark.parametrize("values", [{"automatic": True}, {"thanks": Reason("only_thanks", "It only says thanks")}])
@pytest.mark.parametrize("ticket", [8, 9])
def test_automatic_replies_and_thanks_reopen_nothing(values: dict[str, Any], ticket: int) -> None:
    found = find(replies_to=ticket, **values)
    assert (found.target, found.reopens, found.links) == (ticket, False, ())


# On the database


def messages(world: World, ticket_id: int) -> list[str]:
    return [entry["body"] for entry in world.show(ticket_id)["timeline"] if entry["kind"] == "message_in"]


def test_a_customer_who_answers_their_own_mail_reaches_its_ticket_in_one_batch_and_later(world: World) -> None:
    first = dana_mail(text="one", message_key="mail:a")
    second = dana_mail(text="two", message_key="mail:b", answers=("mail:a",))
    assert [result.appended for result in world.receive(first, second)] == [False, True]
    world.receive(dana_mail(text="three", message_key="mail:c", answers=("mail:b",)))
    assert messages(world, 1) == ["one", "two", "three"]
    assert [(row.key, row.ticket_id) for row in world.rows(TicketThread, TicketThread.key)] == [
        ("mail:a", 1), ("mail:b", 1), ("mail:c", 1),
    ]  # fmt: skip


def test_reused_message_id_of_a_sender_does_not_join_their_tickets(world: World) -> None:
    results = world.receive(dana_mail(text="one", message_key="mail:same"), dana_mail(text="two", message_key="mail:same"))
    assert [result.ticket_id for result in results] == [1, 2]


def test_possible_duplicate_is_on_the_ticket_its_timeline_and_in_the_view(world: World) -> None:
    world.receive_one()
    shown = world.receive_one(email="mallory@gmail.com", replies_to=1)
    (link,) = shown["links"]
    assert (link["number"], link["kind"], link["settled_at"]) == ("BS-000001", "possible_match", None)
    texts = [reason["text"] for reason in shown["timeline"][0]["reasons"] if reason["code"] == "possible_match"]
    assert texts == ["Possible duplicate of BS-000001: It points to that ticket, but its sender is not one of its people"]
    assert [link["number"] for link in world.show(1)["links"]] == ["BS-000002"]
    assert [row["number"] for row in world.listed("matches")] == ["BS-000002"]


def test_reply_reopens_a_completed_ticket_with_its_timers(world: World) -> None:
    world.staff("Ada")
    world.receive_one()
    complete(world, 1)
    world.receive(dana_mail(replies_to=1, text="It is still open"), now=NOW + timedelta(days=2))
    ticket = world.ticket(1)
    assert (ticket.stage, ticket.opening, ticket.completed_at, ticket.resolution_at) == (4, 2, None, None)
    assert ticket.reminder_due_at == NOW + timedelta(days=4)
    assert ("stage", "The customer wrote again") in [(one["kind"], one["body"]) for one in world.show(1)["timeline"]]
    assert len([fact for fact in world.facts() if isinstance(fact, TicketCreated)]) == 1


def test_reopening_period_is_a_setting(world: World) -> None:
    world.settings = world.settings.model_copy(update={"calendar": Calendar(reopen_days=1)})
    world.staff("Ada")
    world.receive_one()
    complete(world, 1)
    world.receive(dana_mail(replies_to=1), now=NOW + timedelta(days=2))
    assert (world.ticket(1).stage, world.count(Ticket)) == (COMPLETED, 2)
    assert [link["kind"] for link in world.show(2)["links"]] == ["follows"]


def test_a_hundred_replies_cost_as_many_statements_as_ten(world: World) -> None:
    world.receive(*(dana_mail(message_key=f"mail:{number}") for number in range(100)))
    few = world.statements(lambda: world.receive(*(dana_mail(answers=(f"mail:{number}",)) for number in range(10))))
    many = world.statements(lambda: world.receive(*(dana_mail(answers=(f"mail:{number}",)) for number in range(100))))
    assert many == few
