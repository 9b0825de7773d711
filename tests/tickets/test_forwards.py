"""Forwards by staff, on the database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from tests.tickets.world import World, matter
from tickets.submission import Submission


def forwarded(**values: Any) -> Submission:
    return matter(email="ada@billing.example", original=matter(email="ana@customer.example", subject="The original"), **values)


def test_what_staff_forwarded_is_the_original_senders(world: World) -> None:
    world.staff("Ada")
    shown = world.take(email="ada@billing.example", original=matter(email="ana@customer.example", subject="The original"))
    assert (shown["name"], shown["timeline"][0]["actor"]) == ("The original", "ana@customer.example")


@pytest.mark.parametrize(("active", "verified"), [(None, None), (False, None), (True, False)])
def test_what_no_member_of_staff_or_an_unverified_one_forwarded_stays_the_senders(
    world: World, active: bool | None, verified: bool | None
) -> None:
    if active is not None:
        world.staff("Ada", active=active)
    shown = world.take(**{field: getattr(forwarded(verified=verified), field) for field in ("email", "original", "verified")})
    assert (shown["name"], shown["timeline"][0]["actor"]) == ("Claim denied", "ada@billing.example")


def test_only_a_batch_that_holds_a_forward_asks_who_is_staff(world: World) -> None:
    asked: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if "staff.email IN" in statement:
            asked.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note)
    try:
        world.receive(matter(), matter(subject="Another"))
        assert asked == []
        world.receive(forwarded(), forwarded())
        assert len(asked) == 1
    finally:
        event.remove(world.database.engine, "before_cursor_execute", note)
