"""Merging and splitting: recorded on both tickets, without loss, and later answers reach the right ticket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session

from accounts.models import Staff
from core import blobs
from core.errors import NotFoundError, RefusedError
from core.reasons import Reason
from outbox.facts import TicketCreated
from tests.tickets.staff_actions import person
from tests.tickets.world import NOW, World, dana_mail
from tickets import alerts, lifecycle, merging
from tickets.alerts import Alert
from tickets.submission import SubmittedFile

FILE = SubmittedFile("eob.pdf", "application/pdf", "application/pdf", 3, blobs.digest(b"eob"), False, b"eob")


def merge(world: World, ticket_id: int, into_id: int, reason: str = "The same denial") -> None:
    world.database.transaction(
        lambda session: merging.merge(session, ticket_id, into_id, person(session, "Ada"), reason, NOW) and None
    )


def split(world: World, ticket_id: int, entry_id: int, reason: str = "A second matter") -> int:
    return world.database.transaction(
        lambda session: merging.split(session, ticket_id, entry_id, person(session, "Ada"), reason, world.settings, NOW)
    )


def entries(world: World, ticket_id: int, kind: str = "message_in") -> list[dict[str, Any]]:
    return [entry for entry in world.show(ticket_id)["timeline"] if entry["kind"] == kind]


@pytest.fixture
def two(world: World) -> World:
    """A ticket of Dana's, and one of Lee's with a file that may belong to it."""
    world.staff("Ada")
    world.receive(dana_mail(text="one", message_key="mail:a"))
    lee = dana_mail(email="lee@lakeside.example", text="two", message_key="mail:b", files=(FILE,), replies_to=1)
    world.receive(lee)
    return world


def test_merged_ticket_is_completed_and_the_other_has_the_entries_of_both(two: World) -> None:
    two.database.transaction(
        lambda session: alerts.raise_alerts(session, [Alert(2, "x", Reason("x", "x"), key="x", kind="x", task="Call")], NOW)
    )
    merge(two, 2, 1)
    shown = two.show(1)
    assert [entry["body"] for entry in entries(two, 1)] == ["one", "two"]
    assert [file["name"] for file in shown["attachments"]] == ["eob.pdf"]
    assert {one["email"] for one in shown["contacts"]} == {"dana@lakeside.example", "lee@lakeside.example"}
    assert [task["title"] for task in shown["tasks"]] == ["Call"]
    assert entries(two, 1, "note")[-1]["title"] == "Merged with BS-000002"
    merged = two.show(2)
    assert (merged["stage"], merged["merged_into"], merged["reminder_due_at"]) == ("6-Completed", "BS-000001", None)
    assert merged["timeline"][-1]["title"] == "Merged into BS-000001"
    assert [row["number"] for row in two.listed("open")] == ["BS-000001"]


def test_merging_settles_the_possible_duplicate(two: World) -> None:
    assert [row["number"] for row in two.listed("matches")] == ["BS-000002"]
    merge(two, 2, 1)
    links = [(link["kind"], link["settled_at"] is not None) for link in two.show(2)["links"]]
    assert links == [("possible_match", True), ("merged", True)]


@pytest.mark.parametrize("marks", [{"replies_to": 2}, {"answers": ("mail:b",)}, {"quoted_ticket_id": 2}])
def test_answer_to_a_merged_ticket_is_added_to_the_remaining_one(two: World, marks: dict[str, Any]) -> None:
    merge(two, 2, 1)
    (result,) = two.receive(dana_mail(email="lee@lakeside.example", text="three", **marks))
    assert (result.ticket_id, result.appended) == (1, True)
    assert two.ticket(2).stage == 6


def test_a_ticket_merged_into_one_that_is_merged_later_ends_in_the_last(two: World) -> None:
    two.receive_one(text="zero")
    merge(two, 2, 1)
    merge(two, 1, 3)
    assert (two.ticket(2).merged_into, two.ticket(1).merged_into) == (3, 3)
    assert [entry["body"] for entry in entries(two, 3)] == ["one", "two", "zero"]
    assert two.receive(dana_mail(email="lee@lakeside.example", replies_to=2))[0].ticket_id == 3


@pytest.mark.parametrize(("ticket_id", "into_id", "reason"), [(1, 1, "x"), (2, 1, " "), (2, 1, "again")])
def test_impossible_merge_is_refused(two: World, ticket_id: int, into_id: int, reason: str) -> None:
    if reason == "again":
        merge(two, 2, 1)
    with pytest.raises(RefusedError):
        merge(two, ticket_id, into_id, reason)


def test_reopening_a_merged_ticket_is_refused(two: World) -> None:
    merge(two, 2, 1)
    with pytest.raises(RefusedError, match="merged into BS-000001"):
        two.database.transaction(
            lambda session: lifecycle.reopen(session, 2, person(session, "Ada"), "x", two.settings, NOW) and None
        )


def test_merge_with_unknown_ticket_names_it(two: World) -> None:
    with pytest.raises(NotFoundError, match="BS-000009"):
        merge(two, 2, 9)


def test_split_off_message_opens_a_ticket_with_its_sender_and_files_and_no_second_notice(two: World) -> None:
    merge(two, 2, 1)
    (entry,) = [one for one in entries(two, 2) if one["body"] == "two"]
    new_id = split(two, 2, entry["id"])
    shown = two.show(new_id)
    assert (shown["requester"], shown["owner"], shown["description"]) == ("lee@lakeside.example", "Ada", "two")
    assert [file["name"] for file in shown["attachments"]] == ["eob.pdf"]
    assert [entry["body"] for entry in entries(two, 1)] == ["one", "two"], "nothing is taken away"
    assert entries(two, 2, "note")[-1]["title"] == f"Split off: {shown['number']}"
    created = [fact for fact in two.facts() if isinstance(fact, TicketCreated)]
    assert (created[-1].answer, created[-1].refusal_code) == (False, "split_off")


def test_answer_to_a_split_off_message_is_added_to_the_new_ticket(two: World) -> None:
    two.receive(dana_mail(text="another thing", message_key="mail:c", replies_to=1))
    entry = entries(two, 1)[-1]
    new_id = split(two, 1, entry["id"])
    assert two.receive(dana_mail(text="more of it", answers=("mail:c",)))[0].ticket_id == new_id


def test_only_a_message_of_the_ticket_can_be_split_off(two: World) -> None:
    other = entries(two, 2)[0]["id"]
    with pytest.raises(NotFoundError):
        split(two, 1, other)
    with pytest.raises(RefusedError):
        split(two, 1, entries(two, 1, "assignment")[0]["id"])


def test_possible_duplicate_is_dismissed(two: World) -> None:
    two.database.transaction(lambda session: merging.dismiss(session, 2, 1, person(session, "Ada"), NOW))
    assert two.listed("matches") == []
    assert entries(two, 2, "note")[-1]["title"] == "Possible duplicate dismissed"
    with pytest.raises(NotFoundError):
        two.database.transaction(lambda session: merging.dismiss(session, 2, 1, person(session, "Ada"), NOW))


def test_inactive_person_cannot_merge_split_or_dismiss(two: World) -> None:
    two.staff("Eve", active=False)
    first = entries(two, 1)[0]["id"]
    acts: list[Callable[[Session, Staff], object]] = [
        lambda session, eve: merging.merge(session, 2, 1, eve, "The same", NOW),
        lambda session, eve: merging.split(session, 1, first, eve, "Two", two.settings, NOW),
        lambda session, eve: merging.dismiss(session, 2, 1, eve, NOW),
    ]
    for act in acts:
        with pytest.raises(RefusedError, match="no longer active"):
            two.database.transaction(lambda session, act=act: act(session, person(session, "Eve")) and None)  # type: ignore[misc]
    assert two.listed("matches") != []
