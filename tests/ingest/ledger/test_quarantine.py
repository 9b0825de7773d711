"""The set-aside items: what is told of them, another try, and giving them up."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core import clock
from core.errors import NotFoundError, RefusedError
from ingest.ledger import quarantine
from ingest.ledger.models import InboundItem
from tests.ingest.support import Room, arrival, make_mail
from tickets.models import Activity, Ticket

NOISE = b"\x00\x01 this is no mail at all"


def set_aside(room: Room, place: str = "1") -> InboundItem:
    """An item that the parser refused, with its ticket."""
    (item,) = room.take(arrival(NOISE + place.encode(), place))
    assert item.disposition == "quarantined"
    return item


def notes(room: Room) -> list[tuple[str, str, str]]:
    with room.database.read() as session:
        found = select(Activity).where(Activity.kind == "note").order_by(Activity.id)
        return [(one.actor, one.title, one.body) for one in session.execute(found).scalars()]


def test_a_set_aside_item_is_listed_with_its_reason_and_ticket(room: Room) -> None:
    item = set_aside(room)
    room.take(arrival(make_mail(1), "2"))
    with room.database.read() as session:
        (row,) = quarantine.list_items(session)
        assert quarantine.count(session) == 1
    assert (row["item"], row["source"], row["reason_code"], row["ticket"]) == (
        item.id, "mailbox:support", "not_a_mail", "BS-000001",
    )  # fmt: skip
    assert row["reason"]


def test_an_item_is_shown_with_its_places_and_its_source(room: Room) -> None:
    item = set_aside(room)
    with room.database.read() as session:
        shown = quarantine.show(session, item.id)
        assert quarantine.read_source(session, item.id) == NOISE + b"1"
    assert [(one["source"], one["place"]) for one in shown["seen"]] == [("mailbox:support", "1")]


def test_a_retried_item_waits_alone_with_all_its_attempts_and_its_ticket_says_so(room: Room) -> None:
    item = set_aside(room)
    room.sql("UPDATE inbound_item SET attempts = 3, losses = 10")
    room.database.transaction(lambda session: quarantine.retry(session, item.id, "ruth", clock.now()))
    (row,) = room.items()
    assert (row.state, row.attempts, row.losses, row.alone, row.disposition, row.reason) == ("waiting", 0, 0, True, None, None)
    ((actor, title, _),) = notes(room)
    assert (actor, title) == ("ruth", "The item that could not be read is tried again")
    with room.database.read() as session:
        assert session.execute(select(Ticket.version)).scalar_one() > 1


def test_a_retried_item_that_can_be_read_now_becomes_a_ticket(room: Room) -> None:
    (item,) = room.take(arrival(make_mail(1)))
    room.sql("UPDATE inbound_item SET disposition = 'quarantined'")
    room.sql("DELETE FROM mail_fingerprint")
    room.database.transaction(lambda session: quarantine.retry(session, item.id, "ruth", clock.now()))
    room.drain()
    assert [(one.disposition, one.ticket_id) for one in room.items()] == [("ticket", 2)]


def test_all_set_aside_items_are_retried_and_nothing_else(room: Room) -> None:
    first, second = set_aside(room, "1"), set_aside(room, "2")
    room.take(arrival(make_mail(1), "3"))
    retried = room.database.transaction(lambda session: quarantine.retry_all(session, "ruth", clock.now()))
    assert retried == [first.id, second.id]
    assert len(room.items(state="waiting")) == 2


def test_a_discarded_item_is_rejected_with_who_and_why(room: Room) -> None:
    item = set_aside(room)
    room.database.transaction(lambda session: quarantine.discard(session, item.id, "a broken fax", "ruth", clock.now()))
    (row,) = room.items()
    assert (row.disposition, row.reason_code) == ("rejected", "discarded")
    assert "ruth" in str(row.reason) and "a broken fax" in str(row.reason)
    assert notes(room)[0][1] == "The item that could not be read was discarded"
    with room.database.read() as session:
        assert quarantine.list_items(session) == []


def test_only_set_aside_items_are_retried_or_discarded(room: Room) -> None:
    (item,) = room.take(arrival(make_mail(1)))
    with pytest.raises(RefusedError, match="not set aside: it is ticket"):
        room.database.transaction(lambda session: quarantine.retry(session, item.id, "ruth", clock.now()))
    with pytest.raises(RefusedError, match="not set aside"):
        room.database.transaction(lambda session: quarantine.discard(session, item.id, "why", "ruth", clock.now()))
    with pytest.raises(NotFoundError):
        room.database.transaction(lambda session: quarantine.retry(session, 99, "ruth", clock.now()))
    assert notes(room) == []
