from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from core.signing import signer_for
from outbox.facts import BounceReceived
from tests.ingest.support import (
    Room,
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


def test_a_mixed_batch_gives_each_item_its_own_disposition(room: Room) -> None:
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
    items = dict(zip(mixed, room.take(*mixed.values()), strict=True))
    assert {name: item.disposition for name, item in items.items()} == {name: name for name in mixed}
    assert {item.state for item in room.items()} == {"settled"}
    assert all(item.reason and item.reason_code and item.settled_at for item in room.items())
    assert all(item.claim is None and item.claim_until is None for item in room.items())
    with_ticket = {name for name, item in items.items() if item.ticket_id}
    assert with_ticket == {"ticket", "duplicate", "quarantined"}
    assert items["duplicate"].ticket_id == items["ticket"].ticket_id
    assert len(room.tickets()) == 3  # the person, the one that says so of the quarantined, and the row of the workbook


def test_nothing_due_is_nothing_done(room: Room) -> None:
    assert room.pipeline.drain() == 0


def test_a_drain_takes_one_batch_oldest_first(make_room: Callable[..., Room]) -> None:
    room = make_room(limits={"batch": 10})
    room.accept(*arrivals(25))
    assert [room.pipeline.drain() for _ in range(4)] == [10, 10, 5, 0]
    assert [message.title for message in room.messages()] == [f"Claim {number}" for number in range(25)]


def test_a_mail_becomes_a_ticket_with_its_text_and_its_sender(room: Room) -> None:
    (item,) = room.take(arrival(make_mail(7, body="Why was claim 88-2041 denied?")))
    (ticket,) = room.tickets()
    (message,) = room.messages()
    assert (item.disposition, item.ticket_id, item.reason_code) == ("ticket", ticket.id, "new_matter")
    assert (ticket.name, ticket.source, ticket.description.strip()) == ("Claim 7", "email", "Why was claim 88-2041 denied?")
    assert (message.item_id, message.data["from"]) == (item.id, "dana7@riverside.example")
    assert notices(room) == {ticket.id: (True, "")}


def test_characters_a_database_refuses_cost_no_mail(room: Room) -> None:
    odd = make_mail(1, body="NUL \x00 and bell \x07 and =ED=A0=80", headers=["Content-Transfer-Encoding: quoted-printable"])
    forms = make_form(1, email="dana@riverside.example", details="NUL \x00, lone \ud800, done", **{"la\x00bel": "\udfff"})
    row = make_row(1, Message="NUL _x0000_ lone _xD800_ done", Subject="_x0000_")
    workbook = workbook_arrival(make_workbook(row))
    name = mail_with_file("=?utf-8?q?a=00b.pdf?=", b"%PDF-1.7", sender="x@y.example", number=2)
    items = room.take(arrival(odd), form_arrival(forms), workbook, arrival(name, "2"))
    assert [item.disposition for item in items] == ["ticket", "ticket", "expanded", "ticket"]
    assert {item.state for item in room.items()} == {"settled"}
    stored = [ticket.name + ticket.description for ticket in room.tickets()] + [one.body for one in room.messages()]
    assert not any("\x00" in text for text in stored)
    assert sum("done" in ticket.description for ticket in room.tickets()) == 2


@pytest.mark.parametrize(
    ("raw", "code"), [(b"", "empty"), (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "not_a_mail")], ids=["0 bytes", "no mail"]
)
def test_what_is_no_mail_is_quarantined_with_a_ticket_that_nobody_is_mailed_about(room: Room, raw: bytes, code: str) -> None:
    good, bad = room.take(arrival(make_mail(), "1"), arrival(raw, "2"))
    assert (good.disposition, bad.disposition, bad.reason_code, bad.attempts) == ("ticket", "quarantined", code, 0)
    ticket = next(ticket for ticket in room.tickets() if ticket.id == bad.ticket_id)
    assert f"casemill quarantine show {bad.id}" in ticket.description
    assert ticket.requester_id is None
    assert notices(room)[ticket.id] == (False, code)


def test_what_a_person_dropped_in_a_folder_is_refused_beside_the_file_and_makes_no_ticket(room: Room) -> None:
    sources = {"folder": arrival(b"\x00\x01", source="folder:drop"), "upload": arrival(b"\x00\x02", source="upload")}
    items = room.take(*sources.values())
    assert [(item.disposition, item.ticket_id) for item in items] == [("rejected", None)] * 2
    assert room.tickets() == []


def test_a_message_too_large_to_take_gets_a_ticket_that_says_so(room: Room) -> None:
    head = make_mail("large").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    large = arrival(head, kind="oversize", identity="oversize:1", extra={"size": 60 * 1_048_576})
    (item,) = room.take(large)
    (ticket,) = room.tickets()
    assert (item.disposition, item.reason_code) == ("ticket", "oversize")
    assert ticket.name == "Claim large"
    assert "60.0 MB" in ticket.description
    assert notices(room) == {ticket.id: (True, "")}


def test_the_same_large_message_in_two_mailboxes_is_one_ticket_and_our_own_is_none(room: Room) -> None:
    one = make_mail("large", headers=["Received: one"]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    two = make_mail("large", headers=["Received: two"]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    own = make_mail("own", sender="support@casemill.example")
    items = room.take(*(arrival(raw, f"{place}", kind="oversize") for place, raw in enumerate((one, two, own))))
    assert [item.disposition for item in items] == ["ticket", "duplicate", "own"]
    assert len(room.tickets()) == 1


def test_a_message_the_server_would_not_hand_over_gets_a_ticket(room: Room) -> None:
    items = room.take(*(arrival(b"", f"{uid}", kind="unfetched", identity=f"unfetched:{uid}") for uid in (1, 2)))
    assert [(item.disposition, item.reason_code) for item in items] == [("quarantined", "unfetched")] * 2
    assert len({item.ticket_id for item in items}) == 2


def test_a_form_that_cannot_be_read_is_quarantined_with_a_ticket(room: Room) -> None:
    (item,) = room.take(form_arrival(b"{not json"))
    (ticket,) = room.tickets()
    assert item.disposition == "quarantined"
    assert item.ticket_id == ticket.id
    assert ticket.source == "formstack"


def test_the_same_mail_by_two_mailboxes_is_one_ticket_and_both_copies_are_kept(room: Room) -> None:
    copies = [make_mail(1, headers=[f"Received: from relay{number}.example"]) for number in (1, 2)]
    first, second = room.take(arrival(copies[0]), arrival(copies[1], source="mailbox:billing"))
    assert (first.disposition, second.disposition) == ("ticket", "duplicate")
    assert second.ticket_id == first.ticket_id
    assert str(first.id) in (second.reason or "")
    assert len(room.rows("SELECT sha256 FROM blob")) == 2


# -- one bad item does not spoil the others


def refuse(room: Room, word: str) -> None:
    """Let the database refuse every ticket with ``word`` in its name, as a constraint would."""
    if room.database.is_sqlite:
        room.sql(
            f"CREATE TRIGGER refuse BEFORE INSERT ON ticket WHEN NEW.name LIKE '%{word}%' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    else:
        room.sql(f"ALTER TABLE ticket ADD CONSTRAINT refuse CHECK (name NOT LIKE '%{word}%')")


def test_an_item_the_database_refuses_spoils_no_other_of_its_batch(room: Room) -> None:
    refuse(room, "Claim 3")
    room.accept(*arrivals(10))
    room.drain()
    by_title = {message.title for message in room.messages()}
    assert by_title == {f"Claim {number}" for number in range(10) if number != 3}
    (bad,) = room.items(state="waiting")
    assert (bad.disposition, bad.attempts, bad.alone) == ("failed", 1, True)


def test_an_item_the_database_refuses_three_times_is_quarantined_with_a_ticket(room: Room) -> None:
    refuse(room, "Claim 3")
    accepted = room.accept(*arrivals(5))
    for _ in range(3):
        room.drain()
        room.make_due()
    items = {item.id: item for item in room.items()}
    bad = items.pop(accepted[3].item_id)
    assert_all_tickets(list(items.values()))
    assert (bad.disposition, bad.reason_code, bad.attempts) == ("quarantined", "not_storable", 2)
    assert bad.ticket_id in {ticket.id for ticket in room.tickets()}
    assert notices(room)[bad.ticket_id or 0] == (False, "not_storable")


def test_an_item_whose_ticket_cannot_be_stored_either_is_set_aside_without_one(room: Room) -> None:
    refuse(room, "")
    room.accept(*arrivals(2))
    for _ in range(3):
        room.drain()
        room.make_due()
    assert [(item.disposition, item.ticket_id) for item in room.items()] == [("quarantined", None)] * 2


def test_an_index_that_cannot_take_a_value_is_the_items_fault_and_not_the_databases(room: Room) -> None:
    """PostgreSQL calls it an operational error, as it does a lost connection: taken for that, the item blocked all others."""
    if room.database.is_sqlite:
        room.sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON ticket WHEN length(NEW.description) > 9000 "
            "BEGIN SELECT RAISE(ABORT, 'too long'); END"
        )
    else:
        room.sql("CREATE INDEX ix_long ON ticket (description)")
    noise = os.urandom(30_000).hex()  # what compresses well fits an index all the same
    long = arrival(make_mail("long", body="\r\n".join(noise[start : start + 70] for start in range(0, 60_000, 70))), "long")
    bad = room.accept(long, *arrivals(3))[0]
    for _ in range(3):
        room.drain()
        room.make_due()
    items = {item.id: item for item in room.items()}
    assert items.pop(bad.item_id).disposition == "quarantined"
    assert_all_tickets(list(items.values()))


def test_a_bounce_of_ours_leaves_a_fact_with_its_delivery_and_a_strangers_leaves_none(room: Room) -> None:
    signer = signer_for(room.settings)
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
    items = room.take(*(arrival(bounce(number, one), f"{number}") for number, one in enumerate(ids)))
    assert [item.disposition for item in items] == ["bounce", "bounce"]
    ((kind, payload),) = room.rows("SELECT kind, payload FROM outbox_fact")
    assert kind == BounceReceived.kind
    told = json.loads(payload) if isinstance(payload, str) else payload
    assert BounceReceived(**told) == BounceReceived(items[0].id, 5, False, "5.2.2", "failed", True, 60)
