"""Forwards by staff, on the database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from tests.tickets.world import World, dana_mail
from tickets.submission import Submission


def forwarded(**values: Any) -> Submission:
    return dana_mail(
        email="ada@billing.example", original=dana_mail(email="ana@customer.example", subject="The original"), **values
    )


def test_forward_by_staff_becomes_a_ticket_of_the_original_sender(world: World) -> None:
    world.staff("Ada")
    shown = world.receive_one(
        email="ada@billing.example", original=dana_mail(email="ana@customer.example", subject="The original")
    )
    assert (shown["name"], shown["timeline"][0]["actor"]) == ("The original", "ana@customer.example")


@pytest.mark.parametrize(("active", "verified"), [(None, None), (False, None), (True, False)])
def test_forward_by_a_stranger_or_unverified_staff_stays_the_forwarders(
    world: World, active: bool | None, verified: bool | None
) -> None:
    if active is not None:
        world.staff("Ada", active=active)
    shown = world.receive_one(
        **{field: getattr(forwarded(verified=verified), field) for field in ("email", "original", "verified")}
    )
    assert (shown["name"], shown["timeline"][0]["actor"]) == ("Claim denied", "ada@billing.example")


def test_only_a_batch_with_a_forward_queries_staff(world: World) -> None:
    asked: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "staff.email IN" in statement:
            asked.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note)
    try:
        world.receive(dana_mail(), dana_mail(subject="Another"))
        assert asked == []
        world.receive(forwarded(), forwarded())
        assert len(asked) == 1
    finally:
        event.remove(world.database.engine, "before_cursor_execute", note)
