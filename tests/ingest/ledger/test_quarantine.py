"""Quarantine: listing, showing, retrying and discarding items."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core import clock
from core.errors import NotFoundError, RefusedError
from ingest.ledger import quarantine
from ingest.ledger.models import InboundItem
from tests.ingest.support import IngestHarness, arrival, make_mail
from tickets.models import Activity, Ticket

NOISE = b"\x00\x01 this is no mail at all"


def quarantine_item(harness: IngestHarness, place: str = "1") -> InboundItem:
    """Create an item that the parser refuses, with its ticket."""
    (item,) = harness.take(arrival(NOISE + place.encode(), place))
    assert item.disposition == "quarantined"
    return item


def notes(harness: IngestHarness) -> list[tuple[str, str, str]]:
    with harness.database.read() as session:
        found = select(Activity).where(Activity.kind == "note").order_by(Activity.id)
        return [(one.actor, one.title, one.body) for one in session.execute(found).scalars()]


def test_quarantined_item_is_listed_with_its_reason_and_ticket(harness: IngestHarness) -> None:
    item = quarantine_item(harness)
    harness.take(arrival(make_mail(1), "2"))
    with harness.database.read() as session:
        (row,) = quarantine.list_items(session)
        assert quarantine.count(session) == 1
    assert (row["item"], row["source"], row["reason_code"], row["ticket"]) == (
        item.id, "mailbox:support", "not_a_mail", "BS-000001",
    )  # fmt: skip
    assert row["reason"]


def test_quarantined_item_is_shown_with_its_places_and_its_bytes(harness: IngestHarness) -> None:
    item = quarantine_item(harness)
    with harness.database.read() as session:
        shown = quarantine.show(session, item.id)
        assert quarantine.read_source(session, item.id) == NOISE + b"1"
    assert [(one["source"], one["place"]) for one in shown["seen"]] == [("mailbox:support", "1")]


def test_retried_item_waits_isolated_with_attempts_reset_and_a_note_on_its_ticket(harness: IngestHarness) -> None:
    item = quarantine_item(harness)
    harness.sql("UPDATE inbound_item SET attempts = 3, losses = 10")
    harness.database.transaction(lambda session: quarantine.retry(session, item.id, "ruth", clock.now()))
    (row,) = harness.items()
    assert (row.state, row.attempts, row.losses, row.alone, row.disposition, row.reason) == ("waiting", 0, 0, True, None, None)
    ((actor, title, _),) = notes(harness)
    assert (actor, title) == ("ruth", "The item that could not be read is retried")
    with harness.database.read() as session:
        assert session.execute(select(Ticket.version)).scalar_one() > 1


def test_retried_item_that_can_be_read_now_becomes_a_ticket(harness: IngestHarness) -> None:
    (item,) = harness.take(arrival(make_mail(1)))
    harness.sql("UPDATE inbound_item SET disposition = 'quarantined'")
    harness.sql("DELETE FROM mail_fingerprint")
    harness.database.transaction(lambda session: quarantine.retry(session, item.id, "ruth", clock.now()))
    harness.drain()
    assert [(one.disposition, one.ticket_id) for one in harness.items()] == [("ticket", 2)]


def test_all_quarantined_items_are_retried_and_no_others(harness: IngestHarness) -> None:
    first, second = quarantine_item(harness, "1"), quarantine_item(harness, "2")
    harness.take(arrival(make_mail(1), "3"))
    retried = harness.database.transaction(lambda session: quarantine.retry_all(session, "ruth", clock.now()))
    assert retried == [first.id, second.id]
    assert len(harness.items(state="waiting")) == 2


def test_discarded_item_is_rejected_with_actor_and_reason(harness: IngestHarness) -> None:
    item = quarantine_item(harness)
    harness.database.transaction(lambda session: quarantine.discard(session, item.id, "a broken fax", "ruth", clock.now()))
    (row,) = harness.items()
    assert (row.disposition, row.reason_code) == ("rejected", "discarded")
    assert "ruth" in str(row.reason) and "a broken fax" in str(row.reason)
    assert notes(harness)[0][1] == "The item that could not be read was discarded"
    with harness.database.read() as session:
        assert quarantine.list_items(session) == []


def test_only_quarantined_items_are_retried_or_discarded(harness: IngestHarness) -> None:
    (item,) = harness.take(arrival(make_mail(1)))
    with pytest.raises(RefusedError, match="not in quarantine: it is ticket"):
        harness.database.transaction(lambda session: quarantine.retry(session, item.id, "ruth", clock.now()))
    with pytest.raises(RefusedError, match="not in quarantine"):
        harness.database.transaction(lambda session: quarantine.discard(session, item.id, "why", "ruth", clock.now()))
    with pytest.raises(NotFoundError):
        harness.database.transaction(lambda session: quarantine.retry(session, 99, "ruth", clock.now()))
    assert notes(harness) == []
