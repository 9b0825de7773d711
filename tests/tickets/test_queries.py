"""Lists of tickets by view, and one ticket shown."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from core import blobs
from tests.tickets.world import NOW, World, dana_mail
from tickets import queries
from tickets.models import Ticket
from tickets.submission import SubmittedFile, TicketSource

ROW = ["number", "source", "stage", "owner", "company", "requester", "created_at", "owner_away"]


def change(world: World, ticket_id: int, **values: Any) -> None:
    def unit(session: Session) -> None:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(values))

    world.database.transaction(unit)


def listed(world: World, view: str, **options: Any) -> list[dict[str, Any]]:
    with world.database.read() as session:
        return queries.list_tickets(session, view, NOW, **options)


def numbers(world: World, view: str, **options: Any) -> list[int]:
    return [int(row["number"].removeprefix("BS-")) for row in listed(world, view, **options)]


@pytest.fixture
def filled(world: World) -> World:
    """1 unassigned and new; 2 owned, in progress and overdue; 3 in audit; 4 completed; 5 completed and without an owner."""
    ada = world.staff("Ada")
    world.receive(*(dana_mail(subject=f"Claim {number}") for number in range(1, 6)))
    change(world, 2, owner_id=ada, stage=4, escalation_due_at=NOW)
    change(world, 3, owner_id=ada, stage=5)
    change(world, 4, owner_id=ada, stage=6, escalation_due_at=NOW - timedelta(days=1))
    change(world, 5, stage=6)
    return world


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("unassigned", [5, 3, 2, 1]),
        ("open", [3, 2, 1]),
        ("audit", [3]),
        ("today", [2]),
        ("overdue", [2]),
        ("completed", [5, 4]),
        ("all", [5, 4, 3, 2, 1]),
    ],
)
def test_a_view_shows_its_tickets_the_newest_first(filled: World, view: str, expected: list[int]) -> None:
    assert numbers(filled, view) == expected


def test_saved_view_has_its_title() -> None:
    assert queries.VIEWS["unassigned"][0] == "PMB Support Unassigned/Open Tickets"


def test_unassigned_and_open_tickets_are_distinguishable(filled: World) -> None:
    assert {row["number"]: row["owner"] for row in listed(filled, "unassigned")} == {
        "BS-000001": None, "BS-000002": "Ada", "BS-000003": "Ada", "BS-000005": None,
    }  # fmt: skip


def test_an_unknown_view_is_a_key_error(world: World) -> None:
    with pytest.raises(KeyError):
        listed(world, "nothing")


def test_a_list_can_be_limited_and_kept_to_a_source(filled: World) -> None:
    filled.receive(dana_mail(source=TicketSource.FORMSTACK))
    assert numbers(filled, "all", limit=2) == [6, 5]
    assert numbers(filled, "all", source="formstack") == [6]
    assert numbers(filled, "all", source="portal") == []


def test_rows_have_the_keys_other_programs_rely_on(world: World) -> None:
    world.company("Lakeside", "lakeside.example", consultant_id=world.staff("Ada"))
    world.receive(dana_mail())
    (row,) = listed(world, "all")
    assert list(row) == ROW
    assert row == {
        "number": "BS-000001", "source": "email", "stage": "1-Submitted", "owner": "Ada", "company": "Lakeside",
        "requester": "dana@lakeside.example", "created_at": "2026-11-23T15:00:00+00:00", "owner_away": False,
    }  # fmt: skip
    assert json.loads(json.dumps(row)) == row


def test_a_requester_without_an_address_is_shown_by_name(world: World) -> None:
    world.receive(dana_mail(email=None, name="Front Desk"), dana_mail(email=None, name=""))
    assert [row["requester"] for row in listed(world, "all")] == [None, "Front Desk"]


def test_one_ticket_is_shown_whole(world: World) -> None:
    content = b"%PDF"
    file = SubmittedFile("era.pdf", "application/octet-stream", "application/pdf", 4, blobs.digest(content), False, content)
    world.receive(dana_mail(files=(file,), category="Claims", missing=("nothing",), text="telemedicine"))
    change(world, 1, resolution_at=NOW, resolution_by="ada@billing.example")
    shown = world.show(1)
    assert list(shown)[: len(ROW)] == ROW
    assert json.loads(json.dumps(shown)) == shown
    assert shown["resolution"] == {"at": "2026-11-23T15:00:00+00:00", "by": "ada@billing.example"}
    assert shown["follow_up_sent"] is shown["recap_sent"] is None
    assert shown["attachments"] == [
        {"name": "era.pdf", "type": "application/pdf", "size": 4, "sha256": blobs.digest(content), "inline": False}
    ]
    assert shown["reminder_due_at"] == "2026-11-25T15:00:00+00:00"
    (task,) = shown["tasks"]
    assert (task["kind"], task["assignee"], task["done_at"]) == ("assist", None, None)
    assert all(entry["reasons"] for entry in shown["timeline"])


def test_unknown_ticket_is_none(world: World) -> None:
    with world.database.read() as session:
        assert queries.show(session, 1) is None
