from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from core import clock
from core.reasons import Reason
from ingest.ledger import claims
from ingest.ledger.types import ClaimedItem, Outcome
from tests.ingest.support import Room, arrival, make_mail

MINE = "mine"
REASON = Reason("new_matter", "A person wrote")


def fill(room: Room, count: int) -> list[int]:
    return [one.item_id for one in room.accept(*(arrival(make_mail(number), f"{number}") for number in range(count)))]


def claim(room: Room, token: str = MINE, limit: int = 100) -> list[ClaimedItem]:
    return claims.claim(room.database, token, limit)


def test_the_oldest_items_are_taken_up_to_the_limit(room: Room) -> None:
    ids = fill(room, 7)
    assert [item.id for item in claim(room, "one", 3)] == ids[:3]
    assert [item.id for item in claim(room, "two", 3)] == ids[3:6]
    assert [item.id for item in claim(room, "three", 3)] == ids[6:]
    assert claim(room, "four", 3) == []


def test_what_is_not_due_is_left(room: Room) -> None:
    fill(room, 2)
    item = claim(room, "one", 1)[0]
    room.database.transaction(lambda session: claims.retry(session, item, "timeout", clock.now()))
    assert [other.id for other in claim(room, "two")] != [item.id]
    assert claim(room, "three") == []


def test_a_single_is_taken_alone_and_the_others_together(room: Room) -> None:
    ids = fill(room, 6)
    room.sql("UPDATE inbound_item SET alone = :yes WHERE id IN (:a, :b)", yes=True, a=ids[0], b=ids[3])
    taken = [[item.id for item in claim(room, f"token {turn}")] for turn in range(4)]
    assert taken == [[ids[0]], [ids[1], ids[2], ids[4], ids[5]], [ids[3]], []]


def test_a_batch_has_at_most_so_many_bytes_but_always_one_item(monkeypatch: pytest.MonkeyPatch, room: Room) -> None:
    sizes = [5_000, 40, 40, 40, 900]
    room.accept(*(arrival(bytes([number]) * size, f"{number}") for number, size in enumerate(sizes)))
    monkeypatch.setattr(claims, "BATCH_BYTES", 1_000)
    assert [[item.size for item in claim(room, f"token {turn}")] for turn in range(4)] == [[5_000], [40, 40, 40], [900], []]


def test_four_threads_never_take_the_same_item(make_room: Callable[..., Room]) -> None:
    rooms = [make_room() for _ in range(4)]
    ids = fill(rooms[0], 200)
    start = threading.Barrier(4)

    def work(number: int) -> list[int]:
        start.wait(30)
        taken: list[int] = []
        idle = 0
        while idle < 20:  # on PostgreSQL another's lock hides what it does not take in the end
            batch = claim(rooms[number], f"thread {number}", 7)
            taken += [item.id for item in batch]
            idle = 0 if batch else idle + 1
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(work, range(4)))
    assert sorted(item for batch in taken for item in batch) == sorted(ids)
    for number, batch in enumerate(taken):
        assert {item.id for item in rooms[0].items(claim=f"thread {number}")} == set(batch)


def test_a_renewed_claim_lasts(room: Room) -> None:
    fill(room, 2)
    claim(room, "one", 1)
    claim(room, "two", 1)
    before = {item.claim: item.claim_until for item in room.items()}
    claims.renew(room.database, "one")
    after = {item.claim: item.claim_until for item in room.items()}
    assert before["one"] is not None and after["one"] is not None
    assert after["one"] > before["one"]
    assert after["two"] == before["two"]


def test_a_claim_that_ended_counts_a_loss_and_one_that_lives_does_not(room: Room) -> None:
    ids = fill(room, 2)
    claim(room, "dead", 1)
    assert room.expire() == 1
    claim(room, "alive")
    assert claims.recover_expired(room.database) == 0
    losses = {item.id: item.losses for item in room.items()}
    assert losses == {ids[0]: 1, ids[1]: 0}


def test_released_items_are_as_they_were(room: Room) -> None:
    fill(room, 3)
    before = room.rows("SELECT * FROM inbound_item ORDER BY id")
    claim(room, "mine", 2)
    claims.release(room.database, "another")
    assert len(room.items(state="claimed")) == 2
    claims.release(room.database, "mine")
    assert room.rows("SELECT * FROM inbound_item ORDER BY id") == before


def test_only_what_is_still_ours_is_ours(room: Room) -> None:
    ids = fill(room, 3)
    claim(room, "mine", 2)
    with room.database.write() as session:
        assert claims.lock_claimed(session, "mine", ids) == set(ids[:2])
        assert claims.lock_claimed(session, "another", ids) == set()
    room.expire()
    with room.database.write() as session:
        assert claims.lock_claimed(session, "mine", ids) == set()


def test_a_settled_item_has_its_outcome_and_no_claim(room: Room) -> None:
    ids = fill(room, 2)
    claim(room)
    now = clock.now()
    outcomes = [Outcome(item_id, "list", REASON) for item_id in reversed(ids)]
    room.database.transaction(lambda session: claims.settle(session, outcomes, now))
    for item in room.items():
        assert (item.state, item.disposition, item.reason_code, item.reason) == ("settled", "list", REASON.code, REASON.text)
        assert (item.claim, item.claim_until, item.settled_at) == (None, None, now)
    assert claim(room) == []
    assert room.expire() == 0


def test_settling_nothing_does_nothing(room: Room) -> None:
    fill(room, 1)
    room.database.transaction(lambda session: claims.settle(session, [], clock.now()))
    assert room.items()[0].state == "waiting"


def test_items_given_back_alone_count_nothing(room: Room) -> None:
    ids = fill(room, 2)
    claim(room)
    room.database.transaction(lambda session: claims.isolate(session, ids, clock.now()))
    assert {(item.state, item.alone, item.attempts, item.losses, item.disposition) for item in room.items()} == {
        ("waiting", True, 0, 0, None)
    }
    assert len(claim(room)) == 1
