"""What a source of the same process hands to the pipeline already claimed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from core import claims as core_claims
from core import clock
from core.database.session import Database
from core.errors import BusyError
from ingest.ledger import claims, handoff
from ingest.ledger.accept import accept
from ingest.ledger.handoff import FEWEST, MOST, Batch, HandoffQueue
from ingest.ledger.types import Arrival
from ingest.pipeline import Pipeline
from tests.ingest.support import Room, arrival, arrivals, assert_all_tickets, make_mail


def hand_over(room: Room, given: Sequence[Arrival], tray: HandoffQueue | None = None) -> bool:
    """Accept as a watcher does; whether the pipeline was handed what is new."""
    tray = tray or room.pipeline.handoff_queue
    now = clock.now()
    with room.database.write() as session:
        claim = tray.claim(session, len(given))
        accepted = accept(session, given, now, claim=claim)
    if claim is not None:
        tray.put(claim, given, accepted, now)
    return claim is not None


def states(room: Room) -> set[tuple[str, int, bool]]:
    return {(item.state, item.losses, item.alone) for item in room.items()}


def test_what_is_handed_over_is_claimed_and_worked_on_without_being_looked_for(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hand_over(room, arrivals(FEWEST))
    assert states(room) == {("claimed", 0, False)}
    assert claims.claim(room.database, "another", 100) == []
    with monkeypatch.context() as patch:
        patch.setattr(claims, "claim", None)
        assert room.pipeline.drain() == FEWEST
    assert_all_tickets(room.items())
    assert room.pipeline.drain() == 0


def test_it_is_what_a_claim_would_give(room: Room) -> None:
    extra = {"mailbox": "support"}
    given = [arrival(make_mail(number), str(number), extra=extra) for number in range(FEWEST)]
    assert hand_over(room, given)
    handed = room.pipeline.handoff_queue.take()
    assert handed is not None
    claims.release(room.database, handed.token)
    assert list(handed.items) == claims.claim(room.database, "another", 100)


def test_few_wait_for_others_to_come(room: Room) -> None:
    assert not hand_over(room, arrivals(FEWEST - 1))
    assert states(room) == {("waiting", 0, False)}
    room.drain()
    assert_all_tickets(room.items())


def test_more_than_the_pipeline_takes_at_a_time_waits_in_the_ledger(room: Room) -> None:
    assert not hand_over(room, arrivals(FEWEST + 1), HandoffQueue(room.database, FEWEST))
    assert states(room) == {("waiting", 0, False)}


def test_nothing_is_handed_over_past_what_waits(room: Room) -> None:
    room.accept(arrival(make_mail("first"), "first"))
    assert not hand_over(room, arrivals(FEWEST))
    assert states(room) == {("waiting", 0, False)}
    room.drain()
    assert hand_over(room, arrivals(FEWEST, FEWEST))
    room.drain()
    assert_all_tickets(room.items())


def test_what_is_to_be_tried_later_keeps_nothing_from_being_handed_over(room: Room) -> None:
    room.accept(arrival(make_mail("first"), "first"))
    room.sql("UPDATE inbound_item SET due_at = :later", later=_later(room.database))
    assert hand_over(room, arrivals(FEWEST))


def test_a_full_tray_takes_no_more_until_there_is_room(room: Room) -> None:
    count = MOST // 100
    for number in range(count):
        assert hand_over(room, arrivals(100, 100 * number))
    assert not hand_over(room, arrivals(FEWEST, MOST))
    room.drain()
    assert_all_tickets(room.items())
    assert hand_over(room, arrivals(FEWEST, MOST + FEWEST))


def test_what_had_been_there_before_is_not_handed_over_again(room: Room) -> None:
    room.accept(*arrivals(FEWEST))
    room.drain()
    assert hand_over(room, [*arrivals(FEWEST), *arrivals(5, FEWEST), *arrivals(5, FEWEST)])
    assert room.pipeline.drain() == 5
    assert_all_tickets(room.items())
    assert not hand_over(room, [])
    assert hand_over(room, arrivals(FEWEST))
    assert room.pipeline.drain() == 0


def test_batches_are_worked_on_in_the_order_in_which_they_came(room: Room) -> None:
    for first in (0, FEWEST, 2 * FEWEST):
        assert hand_over(room, arrivals(FEWEST, first))
    for count in (1, 2, 3):
        assert room.pipeline.drain() == FEWEST
        assert [item.state for item in room.items()].count("settled") == count * FEWEST
        assert all(item.state == "settled" for item in room.items()[: count * FEWEST])


def test_a_process_that_ends_well_gives_back_what_it_has_not_begun(room: Room) -> None:
    assert hand_over(room, arrivals(FEWEST))
    room.pipeline.release_queued()
    assert states(room) == {("waiting", 0, False)}
    assert room.pipeline.drain() == FEWEST
    assert_all_tickets(room.items())


def test_a_process_that_ends_without_its_database_ends_all_the_same(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hand_over(room, arrivals(FEWEST))
    monkeypatch.setattr(handoff, "OLD_SECONDS", 0.0)

    def refuse(_session: object) -> None:
        raise BusyError("the database is busy")

    with monkeypatch.context() as patch:
        patch.setattr(room.database, "run", refuse)
        room.pipeline.release_queued()
    assert states(room) == {("claimed", 0, False)}
    assert room.pipeline.handoff_queue.take() is None


def test_a_process_that_dies_loses_nothing_it_was_handed(room: Room, pipeline_of_another: Pipeline) -> None:
    assert hand_over(room, arrivals(FEWEST))
    assert pipeline_of_another.drain() == 0, "its claim has not ended yet"
    assert room.expire() == FEWEST
    assert states(room) == {("waiting", 1, True)}
    while pipeline_of_another.drain():
        pass
    assert_all_tickets(room.items())
    room.drain()
    assert_all_tickets(room.items())


def test_a_batch_that_lay_long_is_renewed_before_the_work_begins(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hand_over(room, arrivals(FEWEST))
    before = claim_ends(room)
    monkeypatch.setattr(handoff, "OLD_SECONDS", 0.0)
    monkeypatch.setattr(Pipeline, "_process", lambda *_: None)
    assert room.pipeline.drain() == FEWEST
    assert all(after > until for after, until in zip(claim_ends(room), before, strict=True))


def test_of_a_batch_that_lay_too_long_only_what_nobody_else_has_is_worked_on(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hand_over(room, arrivals(FEWEST))
    first = room.items()[0].id
    room.sql("UPDATE inbound_item SET claim = 'another' WHERE id = :first", first=first)
    monkeypatch.setattr(handoff, "OLD_SECONDS", 0.0)
    assert room.pipeline.drain() == FEWEST - 1
    assert [item.id for item in room.items() if item.state == "claimed"] == [first]
    room.expire()
    assert hand_over(room, arrivals(FEWEST, FEWEST)) is False
    room.drain()
    assert_all_tickets(room.items())


def test_a_claim_runs_out_later_than_a_batch_is_old() -> None:
    assert core_claims.SPAN.total_seconds() > 2 * handoff.OLD_SECONDS
    assert not Batch("token", []).is_old


def claim_ends(room: Room) -> list[datetime]:
    return [item.claim_until for item in room.items() if item.claim_until is not None]


def _later(database: Database) -> object:
    moment = clock.now() + timedelta(days=1)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}" if database.is_sqlite else moment


@pytest.fixture
def pipeline_of_another(room: Room) -> Pipeline:
    """The pipeline of another process on the same database."""
    return Pipeline(room.database, room.settings, room.pool, room.pipeline.planner.signer)
