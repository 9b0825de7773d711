from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import update

from core import clock
from ingest.decisions import fingerprint_key
from ingest.ledger import fingerprints
from ingest.ledger.models import MailFingerprint
from ingest.parsers.mail.message import parse_mail
from ingest.parsers.types import ParsedMail, ParseOptions
from tests.ingest.support import Room, arrival, make_mail


def key_of(raw: bytes) -> str | None:
    mail = parse_mail(raw, ParseOptions())
    assert isinstance(mail, ParsedMail)
    return fingerprint_key.key_of(mail)


def without(raw: bytes, *names: str) -> bytes:
    lines = raw.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(tuple(name.encode() for name in names)))


def test_trace_headers_do_not_change_the_key() -> None:
    trace = ["Return-Path: <x@relay.example>", "Received: by relay.example", "Delivered-To: billing@casemill.example"]
    assert key_of(make_mail(1, headers=trace)) == key_of(make_mail(1)) is not None


def test_the_message_id_and_the_content_both_count() -> None:
    keys = [
        key_of(make_mail(1)),
        key_of(make_mail(1, body="Other words.")),
        key_of(make_mail(1, sender="other@riverside.example")),
        key_of(make_mail(1).replace(b"<1@", b"<2@")),
        key_of(make_mail(1).replace(b"09:15", b"09:16")),
        key_of(make_mail(1).replace(b"Subject: Claim 1", b"Subject: Claim 2")),
    ]
    assert len(set(keys)) == len(keys)


def test_a_mail_with_neither_id_nor_date_has_no_key() -> None:
    assert key_of(without(make_mail(), "message-id", "date")) is None
    assert key_of(without(make_mail(), "message-id")) is not None
    assert key_of(without(make_mail(), "date")) is not None


def test_two_people_who_write_the_same_without_id_and_date_are_two_tickets(room: Room) -> None:
    raw = without(make_mail(), "message-id", "date")
    items = room.take(arrival(raw, "1"), arrival(b"Received: by two\r\n" + raw, "2"))
    assert [item.disposition for item in items] == ["ticket", "ticket"]


def test_the_same_mail_by_another_way_is_a_duplicate_that_names_the_ticket(room: Room) -> None:
    (first,) = room.take(arrival(make_mail(1, headers=["Received: by one"])))
    (second,) = room.take(arrival(make_mail(1, headers=["Received: by two"]), "2", source="mailbox:billing"))
    assert (second.disposition, second.reason_code, second.ticket_id) == ("duplicate", "same_content", first.ticket_id)
    assert len(room.tickets()) == 1


def test_one_id_on_other_content_keeps_both(room: Room) -> None:
    items = room.take(arrival(make_mail(1)), arrival(make_mail(1, body="Something else."), "2"))
    assert [item.disposition for item in items] == ["ticket", "ticket"]
    assert len({item.ticket_id for item in items}) == 2


def test_in_one_batch_the_oldest_item_is_the_first(room: Room) -> None:
    items = room.take(*(arrival(make_mail(1, headers=[f"Received: by {way}"]), f"{way}") for way in range(5)))
    assert Counter(item.disposition for item in items) == {"ticket": 1, "duplicate": 4}
    assert len({item.ticket_id for item in items}) == 1
    assert items[0].disposition == "ticket"
    assert all(str(items[0].id) in (item.reason or "") for item in items[1:])


def test_after_seven_days_the_same_mail_is_a_new_ticket(room: Room) -> None:
    def age(span: timedelta) -> None:
        with room.database.write() as session:
            session.execute(update(MailFingerprint).values(claimed_at=clock.now() - span))

    room.take(arrival(make_mail(1, headers=["Received: by one"])))
    age(timedelta(days=6, hours=23))
    (soon,) = room.take(arrival(make_mail(1, headers=["Received: by two"]), "2"))
    age(timedelta(days=7, minutes=1))
    (later,) = room.take(arrival(make_mail(1, headers=["Received: by three"]), "3"))
    (again,) = room.take(arrival(make_mail(1, headers=["Received: by four"]), "4"))
    assert [item.disposition for item in (soon, later, again)] == ["duplicate", "ticket", "duplicate"]
    assert again.ticket_id == later.ticket_id
    assert len(room.tickets()) == 2


def test_an_item_is_no_duplicate_of_itself(room: Room) -> None:
    item_id = room.accept(arrival(make_mail()))[0].item_id
    for _ in range(2):
        with room.database.write() as session:
            assert fingerprints.claim(session, {item_id: "k" * 64}, clock.now()) == {}


def test_two_workers_at_once_make_one_ticket_of_two_copies(make_room: Callable[..., Room]) -> None:
    rooms = [make_room(limits={"batch": 1}) for _ in range(2)]
    for number in range(15):
        rooms[0].accept(*(arrival(make_mail(number, headers=[f"Received: by {way}"]), f"{number}/{way}") for way in (1, 2)))
    start = threading.Barrier(2)

    def work(room: Room) -> None:
        start.wait(30)
        room.drain()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, rooms))
    rooms[0].drain()
    items = rooms[0].items()
    assert Counter(item.disposition for item in items) == {"ticket": 15, "duplicate": 15}
    assert sorted(item.ticket_id or 0 for item in items) == sorted([ticket.id for ticket in rooms[0].tickets()] * 2)


def test_a_copy_of_mail_that_made_no_ticket_is_a_duplicate_without_one(room: Room) -> None:
    raw = make_mail(1, headers=["List-Id: <news.example>"])
    first, second = room.take(arrival(raw), arrival(b"Received: by two\r\n" + raw, "2"))
    assert [(one.disposition, one.ticket_id) for one in (first, second)] == [("list", None), ("duplicate", None)]
