"""Unstorable texts and failing items must not cost other items their ticket."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from accounts.models import Contact
from core import blobs
from core.reasons import Reason
from tests.tickets.world import NOW, World, dana_mail, secure_message
from tickets.models import Ticket
from tickets.sanitise import MAX_ADDRESS_OCTETS, sanitise
from tickets.submission import Submission, SubmittedFile

#: Does not compress, so that it is too large for an index entry of PostgreSQL.
LONG = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(20_000))
NASTY = "a\x00b\ud800c\udfff"
CLEAN = "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"
TEXTS = [
    "subject", "text", "name", "phone", "company", "account_number", "category", "issue", "issue_detail", "preferred_contact",
    "link", "thread_key",
]  # fmt: skip


def file(name: str, kind: str = "text/plain") -> SubmittedFile:
    return SubmittedFile(name, kind, None, 1, blobs.digest(b"x"), False, b"x")


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize("value", [NASTY, LONG, NASTY * 10_000], ids=["nasty", "long", "long and nasty"])
def test_submission_with_unstorable_text_becomes_a_ticket(world: World, field: str, value: str) -> None:
    world.receive_one(secure_message(**{field: value}))
    assert world.count(Ticket) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"missing": (NASTY,)},
        {"details": ((NASTY, NASTY),)},
        {"reasons": (Reason("code", NASTY),)},
        {"silence": Reason("code", NASTY)},
        {"files": (file(NASTY), file(LONG), file("x", NASTY))},
        {"contacts": (NASTY + "@x.example", f"{LONG}@x.example")},
    ],
    ids=lambda values: next(iter(values)),
)
def test_submission_with_unstorable_details_becomes_a_ticket(world: World, values: dict[str, Any]) -> None:
    shown = world.receive_one(**values)
    assert shown["number"] == "BS-000001"


def test_unstorable_characters_are_shown_as_replaced(world: World) -> None:
    shown = world.receive_one(subject=NASTY, text=f"before {NASTY} after")
    assert (shown["name"], shown["description"]) == (CLEAN, f"before {CLEAN} after")


def test_letters_of_all_scripts_and_emoji_are_unchanged(world: World) -> None:
    text = "Ünïcode Ελληνικά 東京 עברית \N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{WOMAN} \u202e\ufeff\x01\x7f"
    shown = world.receive_one(subject=text, text=text, name=text)
    assert shown["name"] == shown["description"] == shown["contacts"][0]["name"] == text


@pytest.mark.parametrize(
    "email", [f"{'a' * 300}@x.example", f"{LONG}@x.example", "a\x00@x.example", "a\ud800@x.example"],
    ids=["longer than allowed", "much longer", "with NUL", "with a surrogate"],
)  # fmt: skip
def test_impossible_address_is_dropped_and_listed_as_missing(world: World, email: str) -> None:
    shown = world.receive_one(email=email)
    assert shown["requester"] == "Dana Reyes"
    assert any("address" in line for line in shown["missing"])
    assert [contact.email for contact in world.rows(Contact)] == [None]


def test_longest_possible_address_is_accepted(world: World) -> None:
    email = "a" * 64 + "@" + "b" + ".".join(["b" * 61] * 3) + ".ex"
    assert len(email) == MAX_ADDRESS_OCTETS
    assert world.receive_one(email=email)["requester"] == email


def test_subject_of_ten_megabytes_is_cut_and_the_text_is_not(world: World) -> None:
    megabytes = "ä" * 5_000_000
    before = time.monotonic()
    shown = world.receive_one(subject=megabytes, text=megabytes)
    assert time.monotonic() - before < 10
    assert shown["name"] == "ä" * 300
    assert shown["timeline"][0]["title"] == "ä" * 300
    assert len(shown["description"]) == 5_000_000


def test_long_thread_keys_still_find_their_thread(world: World) -> None:
    world.company("Lakeside")
    first = secure_message(company="Lakeside", thread_key="secure_message:" + LONG)
    results = world.receive(first, first) + world.receive(first)
    assert [result.ticket_id for result in results] == [1, 1, 1]
    (other,) = world.receive(replace(first, thread_key="secure_message:" + LONG[:-1]))
    assert other.ticket_id == 2


def test_long_file_name_is_cut_at_its_front_and_keeps_its_extension(world: World) -> None:
    (one,) = world.receive_one(files=(file("a" * 5000 + ".pdf"),))["attachments"]
    assert len(one["name"]) == 255 and one["name"].endswith(".pdf")


def test_storable_submission_is_returned_unchanged() -> None:
    submission = dana_mail(files=(file("a.pdf"),), details=(("a", "b"),), contacts=("sam@x.example",), thread_key="k", link="l")
    assert sanitise(submission) == submission
    dirty = dana_mail(text=NASTY, email="x" * 300 + "@x.example")
    assert sanitise(sanitise(dirty)) == sanitise(dirty)


def test_five_hundred_submissions_with_unstorable_ones_among_them_become_five_hundred_tickets(world: World) -> None:
    world.team("billing", world.staff("Ada", capacity=200), world.staff("Ben", capacity=200), default=True)
    poison: dict[int, Submission] = {
        77: dana_mail(subject=NASTY, text=NASTY, email=f"{LONG}@x.example"),
        250: secure_message(phone=LONG, thread_key=NASTY + LONG, company=LONG),
        499: dana_mail(name=NASTY, files=(file(NASTY),), email=None),
    }
    results = world.receive(
        *(poison.get(number) or dana_mail(email=f"p{number}@d{number % 40}.example") for number in range(500))
    )
    assert [result.ticket_id for result in results] == list(range(1, 501))
    owned = [ticket.owner_id for ticket in world.rows(Ticket)]
    assert sorted(owned.count(owner) for owner in set(owned) - {None}) == [200, 200]
    assert owned.count(None) == 100
    assert world.ticket(500).created_at == NOW
