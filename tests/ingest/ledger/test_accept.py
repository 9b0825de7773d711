from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import select

from core import blobs, clock
from core.database.session import Database
from ingest.ledger import claims
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import WORKBOOK, Accepted, Arrival
from tests.ingest.support import IngestHarness, arrival, form_arrival, make_form, make_mail
from tests.waiting import scale_budget


def accept_all(database: Database, *arrivals: Arrival) -> list[Accepted]:
    return database.transaction(lambda session: accept(session, arrivals, clock.now()))


def sightings(harness: IngestHarness) -> list[Sighting]:
    with harness.database.read() as session:
        return list(session.execute(select(Sighting).order_by(Sighting.source, Sighting.place)).scalars())


def test_accepting_no_arrivals_writes_nothing(harness: IngestHarness) -> None:
    assert harness.accept() == []
    assert harness.items() == []


def test_same_bytes_from_two_mailboxes_are_one_item_with_two_sightings(harness: IngestHarness) -> None:
    raw = make_mail()
    first = harness.accept(arrival(raw, "INBOX/1/7"))[0]
    second = harness.accept(arrival(raw, "INBOX/3/21", source="mailbox:billing"))[0]
    assert (first.known, second.known) == (False, True)
    assert second.item_id == first.item_id
    assert [item.source for item in harness.items()] == ["mailbox:support"]
    found = [(one.source, one.place, one.item_id, one.first, one.note) for one in sightings(harness)]
    assert found == [
        ("mailbox:billing", "INBOX/3/21", first.item_id, False, None),
        ("mailbox:support", "INBOX/1/7", first.item_id, True, None),
    ]


def test_same_bytes_twice_in_one_call_are_one_item(harness: IngestHarness) -> None:
    raw = make_mail()
    accepted = harness.accept(arrival(raw, "a"), arrival(make_mail(2), "b"), arrival(raw, "c"))
    assert [one.known for one in accepted] == [False, False, True]
    assert accepted[0].item_id == accepted[2].item_id != accepted[1].item_id
    assert [one.first for one in sightings(harness)] == [True, True, False]


def test_accepting_again_changes_nothing(harness: IngestHarness) -> None:
    arrivals = [arrival(make_mail(number), f"{number}") for number in range(5)]
    first = harness.accept(*arrivals)
    before = harness.rows("SELECT * FROM inbound_item ORDER BY id"), harness.rows("SELECT * FROM sighting ORDER BY id")
    again = harness.accept(*arrivals)
    assert [one.item_id for one in again] == [one.item_id for one in first]
    assert all(one.known for one in again)
    assert (harness.rows("SELECT * FROM inbound_item ORDER BY id"), harness.rows("SELECT * FROM sighting ORDER BY id")) == before


def test_same_bytes_of_another_family_are_another_item(harness: IngestHarness) -> None:
    raw = make_mail()
    accepted = harness.accept(arrival(raw), replace(arrival(raw), family=WORKBOOK, place="2"))
    assert accepted[0].item_id != accepted[1].item_id
    assert not accepted[1].known
    assert len(harness.rows("SELECT sha256 FROM blob")) == 1


def test_form_posted_again_with_other_answers_is_the_same_item_and_its_bytes_are_stored(harness: IngestHarness) -> None:
    first, changed = make_form(1, details="one"), make_form(1, details="two")
    harness.accept(form_arrival(first))
    known = harness.accept(replace(form_arrival(changed), place="again"))[0]
    assert known.known
    assert [item.sha256 for item in harness.items()] == [blobs.digest(first)]
    assert [one.note for one in sightings(harness)] == [None, f"other content: {blobs.digest(changed)}"]
    with harness.database.read() as session:
        assert blobs.get(session, blobs.digest(changed)) == changed


def test_items_are_claimed_in_the_order_they_were_accepted(harness: IngestHarness) -> None:
    # The identities are hashes, so their order has nothing to do with the order of arrival.
    accepted = harness.accept(*(arrival(make_mail(number), f"{number}") for number in range(30)))
    accepted += harness.accept(*(arrival(make_mail(number), f"{number}") for number in range(30, 40)))
    claimed = claims.claim(harness.database, "token", 100)
    assert [item.id for item in claimed] == [one.item_id for one in accepted]


def test_rolled_back_accept_leaves_no_rows(harness: IngestHarness) -> None:
    class PowerCutError(Exception):
        pass

    try:
        with harness.database.write() as session:
            accept(session, [arrival(make_mail())], clock.now())
            raise PowerCutError
    except PowerCutError:
        pass
    assert harness.items() == []
    assert sightings(harness) == []
    assert harness.rows("SELECT sha256 FROM blob") == []


def test_four_threads_that_accept_the_same_hundred_arrivals_create_a_hundred_items(
    make_harness: Callable[..., IngestHarness],
) -> None:
    harnesses = [make_harness() for _ in range(4)]
    barrier = threading.Barrier(4)

    def work(number: int) -> list[Accepted]:
        arrivals = [arrival(make_mail(mail), f"{number}/{mail}") for mail in range(100)]
        ordered = arrivals if number % 2 else arrivals[::-1]
        accepted = []
        barrier.wait(scale_budget(30))
        for first in range(0, 100, 25):
            accepted += accept_all(harnesses[number].database, *ordered[first : first + 25])
        return accepted if number % 2 else accepted[::-1]

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(work, range(4)))
    items = harnesses[0].items()
    assert len(items) == 100
    assert [[one.item_id for one in accepted] for accepted in results] == [[one.item_id for one in results[0]]] * 4
    # Exactly one of the four threads was first with each item.
    assert [sum(not accepted[mail].known for accepted in results) for mail in range(100)] == [1] * 100
    assert len(sightings(harnesses[0])) == 400
    assert sum(one.first for one in sightings(harnesses[0])) == 100


def test_item_is_due_when_it_is_accepted(harness: IngestHarness) -> None:
    before = clock.now()
    harness.accept(arrival(make_mail()))
    item: InboundItem = harness.items()[0]
    assert before <= item.due_at <= clock.now() + timedelta(milliseconds=1)
    assert (item.state, item.attempts, item.losses, item.alone, item.disposition) == ("waiting", 0, 0, False, None)
