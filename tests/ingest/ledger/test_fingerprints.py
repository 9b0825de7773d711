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
from tests.ingest.support import IngestHarness, arrival, make_mail
from tests.waiting import scale_budget


def key_of(raw: bytes) -> str | None:
    mail = parse_mail(raw, ParseOptions())
    assert isinstance(mail, ParsedMail)
    return fingerprint_key.fingerprint_key(mail)


def without(raw: bytes, *names: str) -> bytes:
    lines = raw.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(tuple(name.encode() for name in names)))


def test_key_does_not_depend_on_trace_headers() -> None:
    trace = ["Return-Path: <x@relay.example>", "Received: by relay.example", "Delivered-To: billing@casemill.example"]
    assert key_of(make_mail(1, headers=trace)) == key_of(make_mail(1)) is not None


def test_key_depends_on_message_id_and_content() -> None:
    keys = [
        key_of(make_mail(1)),
        key_of(make_mail(1, body="Other words.")),
        key_of(make_mail(1, sender="other@riverside.example")),
        key_of(make_mail(1).replace(b"<1@", b"<2@")),
        key_of(make_mail(1).replace(b"09:15", b"09:16")),
        key_of(make_mail(1).replace(b"Subject: Claim 1", b"Subject: Claim 2")),
    ]
    assert len(set(keys)) == len(keys)


def test_mail_with_neither_message_id_nor_date_has_no_key() -> None:
    assert key_of(without(make_mail(), "message-id", "date")) is None
    assert key_of(without(make_mail(), "message-id")) is not None
    assert key_of(without(make_mail(), "date")) is not None


def test_equal_mails_without_message_id_and_date_are_two_tickets(harness: IngestHarness) -> None:
    raw = without(make_mail(), "message-id", "date")
    items = harness.take(arrival(raw, "1"), arrival(b"Received: by two\r\n" + raw, "2"))
    assert [item.disposition for item in items] == ["ticket", "ticket"]


def test_same_mail_by_another_route_is_a_duplicate_that_names_the_ticket(harness: IngestHarness) -> None:
    (first,) = harness.take(arrival(make_mail(1, headers=["Received: by one"])))
    (second,) = harness.take(arrival(make_mail(1, headers=["Received: by two"]), "2", source="mailbox:billing"))
    assert (second.disposition, second.reason_code, second.ticket_id) == ("duplicate", "same_content", first.ticket_id)
    assert len(harness.tickets()) == 1


def test_same_message_id_with_other_content_is_two_tickets(harness: IngestHarness) -> None:
    items = harness.take(arrival(make_mail(1)), arrival(make_mail(1, body="Something else."), "2"))
    assert [item.disposition for item in items] == ["ticket", "ticket"]
    assert len({item.ticket_id for item in items}) == 2


def test_oldest_item_of_a_batch_is_the_original(harness: IngestHarness) -> None:
    items = harness.take(*(arrival(make_mail(1, headers=[f"Received: by {route}"]), f"{route}") for route in range(5)))
    assert Counter(item.disposition for item in items) == {"ticket": 1, "duplicate": 4}
    assert len({item.ticket_id for item in items}) == 1
    assert items[0].disposition == "ticket"
    assert all(str(items[0].id) in (item.reason or "") for item in items[1:])


def test_same_mail_after_seven_days_is_a_new_ticket(harness: IngestHarness) -> None:
    def age(span: timedelta) -> None:
        with harness.database.write() as session:
            session.execute(update(MailFingerprint).values(claimed_at=clock.now() - span))

    harness.take(arrival(make_mail(1, headers=["Received: by one"])))
    age(timedelta(days=6, hours=23))
    (soon,) = harness.take(arrival(make_mail(1, headers=["Received: by two"]), "2"))
    age(timedelta(days=7, minutes=1))
    (later,) = harness.take(arrival(make_mail(1, headers=["Received: by three"]), "3"))
    (again,) = harness.take(arrival(make_mail(1, headers=["Received: by four"]), "4"))
    assert [item.disposition for item in (soon, later, again)] == ["duplicate", "ticket", "duplicate"]
    assert again.ticket_id == later.ticket_id
    assert len(harness.tickets()) == 2


def test_item_is_no_duplicate_of_itself(harness: IngestHarness) -> None:
    item_id = harness.accept(arrival(make_mail()))[0].item_id
    for _ in range(2):
        with harness.database.write() as session:
            assert fingerprints.claim(session, {item_id: "k" * 64}, clock.now()) == {}


def test_two_concurrent_workers_create_one_ticket_for_two_copies(make_harness: Callable[..., IngestHarness]) -> None:
    harnesses = [make_harness(limits={"batch": 1}) for _ in range(2)]
    for number in range(15):
        harnesses[0].accept(*(arrival(make_mail(number, headers=[f"Received: by {way}"]), f"{number}/{way}") for way in (1, 2)))
    barrier = threading.Barrier(2)

    def work(harness: IngestHarness) -> None:
        barrier.wait(scale_budget(30))
        harness.drain()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, harnesses))
    harnesses[0].drain()
    items = harnesses[0].items()
    assert Counter(item.disposition for item in items) == {"ticket": 15, "duplicate": 15}
    assert sorted(item.ticket_id or 0 for item in items) == sorted([ticket.id for ticket in harnesses[0].tickets()] * 2)


def test_copy_of_mail_without_ticket_is_a_duplicate_without_ticket(harness: IngestHarness) -> None:
    raw = make_mail(1, headers=["List-Id: <news.example>"])
    first, second = harness.take(arrival(raw), arrival(b"Received: by two\r\n" + raw, "2"))
    assert [(one.disposition, one.ticket_id) for one in (first, second)] == [("list", None), ("duplicate", None)]
