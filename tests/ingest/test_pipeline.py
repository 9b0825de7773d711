from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from core.signing import signer_for
from outbox.facts import BounceReceived
from tests.ingest.support import (
    IngestHarness,
    arrival,
    arrivals,
    assert_all_tickets,
    form_arrival,
    mail_with_file,
    make_form,
    make_mail,
    make_row,
    make_workbook,
    notices,
    workbook_arrival,
)


def test_a_mixed_batch_gives_each_item_its_own_disposition(harness: IngestHarness) -> None:
    bounce = [
        "MIME-Version: 1.0",
        "Return-Path: <>",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
    ]
    mixed = {
        "ticket": arrival(make_mail("person"), "1"),
        "own": arrival(make_mail("own", sender="support@casemill.example"), "2"),
        "bounce": arrival(make_mail("bounce", headers=bounce), "3"),
        "list": arrival(make_mail("list", headers=["List-Id: <news.example>"]), "4"),
        "automatic": arrival(make_mail("fax", headers=["Auto-Submitted: auto-generated"]), "5", source="mailbox:billing"),
        "duplicate": arrival(make_mail("person", headers=["Received: by another"]), "6"),
        "expanded": workbook_arrival(make_workbook(make_row(1))),
        "quarantined": arrival(b"", "7", kind="unfetched", identity="unfetched:7"),
        "rejected": workbook_arrival(b"no workbook at all", "broken.xlsx"),
    }
    items = dict(zip(mixed, harness.take(*mixed.values()), strict=True))
    assert {name: item.disposition for name, item in items.items()} == {name: name for name in mixed}
    assert {item.state for item in harness.items()} == {"settled"}
    assert all(item.reason and item.reason_code and item.settled_at for item in harness.items())
    assert all(item.claim is None and item.claim_until is None for item in harness.items())
    with_ticket = {name for name, item in items.items() if item.ticket_id}
    assert with_ticket == {"ticket", "duplicate", "quarantined"}
    assert items["duplicate"].ticket_id == items["ticket"].ticket_id
    # The mail of the person, the report of the quarantined item, and the row of the workbook.
    assert len(harness.tickets()) == 3


def test_drain_without_due_items_does_nothing(harness: IngestHarness) -> None:
    assert harness.pipeline.drain() == 0


def test_drain_processes_one_batch_oldest_first(make_harness: Callable[..., IngestHarness]) -> None:
    harness = make_harness(limits={"batch": 10})
    harness.accept(*arrivals(25))
    assert [harness.pipeline.drain() for _ in range(4)] == [10, 10, 5, 0]
    assert [message.title for message in harness.messages()] == [f"Claim {number}" for number in range(25)]


def test_a_mail_becomes_a_ticket_with_its_text_and_its_sender(harness: IngestHarness) -> None:
    (item,) = harness.take(arrival(make_mail(7, body="Why was claim 88-2041 denied?")))
    (ticket,) = harness.tickets()
    (message,) = harness.messages()
    assert (item.disposition, item.ticket_id, item.reason_code) == ("ticket", ticket.id, "new_matter")
    assert (ticket.name, ticket.source, ticket.description.strip()) == ("Claim 7", "email", "Why was claim 88-2041 denied?")
    assert (message.item_id, message.data["from"]) == (item.id, "dana7@riverside.example")
    assert notices(harness) == {ticket.id: (True, "")}


def test_characters_a_database_refuses_lose_no_mail(harness: IngestHarness) -> None:
    odd = make_mail(1, body="NUL \x00 and bell \x07 and =ED=A0=80", headers=["Content-Transfer-Encoding: quoted-printable"])
    forms = make_form(1, email="dana@riverside.example", details="NUL \x00, lone \ud800, done", **{"la\x00bel": "\udfff"})
    row = make_row(1, Message="NUL _x0000_ lone _xD800_ done", Subject="_x0000_")
    workbook = workbook_arrival(make_workbook(row))
    name = mail_with_file("=?utf-8?q?a=00b.pdf?=", b"%PDF-1.7", sender="x@y.example", number=2)
    items = harness.take(arrival(odd), form_arrival(forms), workbook, arrival(name, "2"))
    assert [item.disposition for item in items] == ["ticket", "ticket", "expanded", "ticket"]
    assert {item.state for item in harness.items()} == {"settled"}
    stored = [ticket.name + ticket.description for ticket in harness.tickets()] + [one.body for one in harness.messages()]
    assert not any("\x00" in text for text in stored)
    assert sum("done" in ticket.description for ticket in harness.tickets()) == 2


@pytest.mark.parametrize(
    ("raw", "code"), [(b"", "empty"), (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "not_a_mail")], ids=["0 bytes", "no mail"]
)
def test_bytes_that_are_no_mail_are_quarantined_with_a_ticket_and_no_notice(
    harness: IngestHarness, raw: bytes, code: str
) -> None:
    good, bad = harness.take(arrival(make_mail(), "1"), arrival(raw, "2"))
    assert (good.disposition, bad.disposition, bad.reason_code, bad.attempts) == ("ticket", "quarantined", code, 0)
    ticket = next(ticket for ticket in harness.tickets() if ticket.id == bad.ticket_id)
    assert f"casemill quarantine show {bad.id}" in ticket.description
    assert ticket.requester_id is None
    assert notices(harness)[ticket.id] == (False, code)


def test_refused_file_of_a_folder_or_upload_creates_no_ticket(harness: IngestHarness) -> None:
    sources = {"folder": arrival(b"\x00\x01", source="folder:drop"), "upload": arrival(b"\x00\x02", source="upload")}
    items = harness.take(*sources.values())
    assert [(item.disposition, item.ticket_id) for item in items] == [("rejected", None)] * 2
    assert harness.tickets() == []


def test_oversize_message_gets_a_ticket_that_says_so(harness: IngestHarness) -> None:
    head = make_mail("large").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    large = arrival(head, kind="oversize", identity="oversize:1", extra={"size": 60 * 1_048_576})
    (item,) = harness.take(large)
    (ticket,) = harness.tickets()
    assert (item.disposition, item.reason_code) == ("ticket", "oversize")
    assert ticket.name == "Claim large"
    assert "60.0 MB" in ticket.description
    assert notices(harness) == {ticket.id: (True, "")}


def test_oversize_message_in_two_mailboxes_is_one_ticket_and_our_own_is_none(harness: IngestHarness) -> None:
    one = make_mail("large", headers=["Received: one"]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    two = make_mail("large", headers=["Received: two"]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    own = make_mail("own", sender="support@casemill.example")
    items = harness.take(*(arrival(raw, f"{place}", kind="oversize") for place, raw in enumerate((one, two, own))))
    assert [item.disposition for item in items] == ["ticket", "duplicate", "own"]
    assert len(harness.tickets()) == 1


def test_unfetched_message_gets_a_ticket(harness: IngestHarness) -> None:
    items = harness.take(*(arrival(b"", f"{uid}", kind="unfetched", identity=f"unfetched:{uid}") for uid in (1, 2)))
    assert [(item.disposition, item.reason_code) for item in items] == [("quarantined", "unfetched")] * 2
    assert len({item.ticket_id for item in items}) == 2


def test_unreadable_form_is_quarantined_with_a_ticket(harness: IngestHarness) -> None:
    (item,) = harness.take(form_arrival(b"{not json"))
    (ticket,) = harness.tickets()
    assert item.disposition == "quarantined"
    assert item.ticket_id == ticket.id
    assert ticket.source == "formstack"


def test_same_mail_in_two_mailboxes_is_one_ticket_and_both_copies_are_stored(harness: IngestHarness) -> None:
    copies = [make_mail(1, headers=[f"Received: from relay{number}.example"]) for number in (1, 2)]
    first, second = harness.take(arrival(copies[0]), arrival(copies[1], source="mailbox:billing"))
    assert (first.disposition, second.disposition) == ("ticket", "duplicate")
    assert second.ticket_id == first.ticket_id
    assert str(first.id) in (second.reason or "")
    assert len(harness.rows("SELECT sha256 FROM blob")) == 2


# -- one bad item does not stop the others


def refuse(harness: IngestHarness, word: str) -> None:
    """Make the database refuse every ticket with ``word`` in its name, as a constraint would."""
    if harness.database.is_sqlite:
        harness.sql(
            f"CREATE TRIGGER refuse BEFORE INSERT ON ticket WHEN NEW.name LIKE '%{word}%' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    else:
        harness.sql(f"ALTER TABLE ticket ADD CONSTRAINT refuse CHECK (name NOT LIKE '%{word}%')")


def test_item_the_database_refuses_does_not_stop_the_others_of_its_batch(harness: IngestHarness) -> None:
    refuse(harness, "Claim 3")
    harness.accept(*arrivals(10))
    harness.drain()
    by_title = {message.title for message in harness.messages()}
    assert by_title == {f"Claim {number}" for number in range(10) if number != 3}
    (bad,) = harness.items(state="waiting")
    assert (bad.disposition, bad.attempts, bad.alone) == ("failed", 1, True)


def test_item_the_database_refuses_three_times_is_quarantined_with_a_ticket(harness: IngestHarness) -> None:
    refuse(harness, "Claim 3")
    accepted = harness.accept(*arrivals(5))
    for _ in range(3):
        harness.drain()
        harness.make_due()
    items = {item.id: item for item in harness.items()}
    bad = items.pop(accepted[3].item_id)
    assert_all_tickets(list(items.values()))
    assert (bad.disposition, bad.reason_code, bad.attempts) == ("quarantined", "not_storable", 2)
    assert bad.ticket_id in {ticket.id for ticket in harness.tickets()}
    assert notices(harness)[bad.ticket_id or 0] == (False, "not_storable")


def test_item_whose_report_ticket_cannot_be_stored_is_quarantined_without_one(harness: IngestHarness) -> None:
    refuse(harness, "")
    harness.accept(*arrivals(2))
    for _ in range(3):
        harness.drain()
        harness.make_due()
    assert [(item.disposition, item.ticket_id) for item in harness.items()] == [("quarantined", None)] * 2


def test_value_too_long_for_an_index_is_a_failure_of_the_item_and_not_of_the_database(harness: IngestHarness) -> None:
    """PostgreSQL reports an operational error, as for a lost connection; treated as that, the item would block all others."""
    if harness.database.is_sqlite:
        harness.sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON ticket WHEN length(NEW.description) > 9000 "
            "BEGIN SELECT RAISE(ABORT, 'too long'); END"
        )
    else:
        harness.sql("CREATE INDEX ix_long ON ticket (description)")
    # Random: text that compresses well would still fit into the index.
    noise = os.urandom(30_000).hex()
    long = arrival(make_mail("long", body="\r\n".join(noise[start : start + 70] for start in range(0, 60_000, 70))), "long")
    bad = harness.accept(long, *arrivals(3))[0]
    for _ in range(3):
        harness.drain()
        harness.make_due()
    items = {item.id: item for item in harness.items()}
    assert items.pop(bad.item_id).disposition == "quarantined"
    assert_all_tickets(list(items.values()))


def test_bounce_of_our_mail_writes_a_fact_and_bounce_of_other_mail_writes_none(harness: IngestHarness) -> None:
    signer = signer_for(harness.settings)
    report = [
        "MIME-Version: 1.0", "Return-Path: <>",
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"',
    ]  # fmt: skip
    status = "Final-Recipient: rfc822; dana@riverside.example\r\nAction: failed\r\nStatus: 5.2.2\r\n"

    def bounce(number: int, message_id: str) -> bytes:
        part = f"--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}"
        body = f"{part}--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {message_id}\r\n\r\n--b--"
        return make_mail(number, headers=report, body=body)

    ids = [signer.message_id("t3.d5"), "<m1@riverside.example>"]
    items = harness.take(*(arrival(bounce(number, one), f"{number}") for number, one in enumerate(ids)))
    assert [item.disposition for item in items] == ["bounce", "bounce"]
    ((kind, payload),) = harness.rows("SELECT kind, payload FROM outbox_fact")
    assert kind == BounceReceived.kind
    values = json.loads(payload) if isinstance(payload, str) else payload
    assert BounceReceived(**values) == BounceReceived(items[0].id, 5, False, "5.2.2", "failed", True, 60)
