"""What the database decides, on both: a key does a thing once, and pages neither skip nor repeat."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from accounts import idempotency
from accounts.idempotency import ApiAnswer
from core import clock
from tests.web.api.conftest import Desk
from tickets import staff_messages


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'casemill.db'}"
    return str(request.getfixturevalue("postgres_url"))


def keyed(key: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Idempotency-Key": key}}


def notes(desk: Desk, ticket: str) -> list[str]:
    return [one["body"] for one in desk.get(f"/tickets/{ticket}")["timeline"] if one["kind"] == "note"]


def test_a_request_that_is_sent_again_is_answered_and_not_done_again(desk: Desk) -> None:
    ticket = desk.ticket()
    first = desk.post(f"/tickets/{ticket}/notes", {"text": "Called"}, **keyed("k-1"))
    second = desk.post(f"/tickets/{ticket}/notes", {"text": "Called"}, **keyed("k-1"))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert notes(desk, ticket) == ["Called"]


def test_of_many_at_the_same_moment_one_is_done(desk: Desk) -> None:
    gate, answers = threading.Barrier(6), []

    def send() -> None:
        gate.wait()
        answers.append(desk.post("/tickets", {"description": "x", "name": "Lee"}, **keyed("same")))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["number"] for answer in answers}) == 1
    assert len(desk.get("/tickets", view="all")["items"]) == 1


def test_a_key_belongs_to_its_request_and_its_token(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.post(f"/tickets/{ticket}/notes", {"text": "One"}, **keyed("k"))
    other = desk.post(f"/tickets/{ticket}/notes", {"text": "Two"}, **keyed("k"))
    assert (other.status_code, other.json()["code"]) == (422, "key_used")
    assert desk.post(f"/tickets/{ticket}/notes", {"text": "Two"}, by="ruth", **keyed("k")).status_code == 200
    assert notes(desk, ticket) == ["One", "Two"]


def test_what_was_refused_may_be_tried_again_under_its_key(desk: Desk) -> None:
    ticket = desk.ticket()
    assert desk.post(f"/tickets/{ticket}/recap", {}, **keyed("k")).status_code == 422
    with desk.site.database.read() as session:
        assert session.query(ApiAnswer).count() == 0
    body = {"values": {"resolution": "Paid"}}
    assert desk.post(f"/tickets/{ticket}/recap", body, **keyed("k")).status_code == 200


def test_an_act_that_ends_in_the_middle_leaves_neither_answer_nor_act(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket, real = desk.ticket(), staff_messages.send

    def broken(*given: Any, **more: Any) -> int:
        real(*given, **more)
        raise ZeroDivisionError

    monkeypatch.setattr(staff_messages, "send", broken)
    assert desk.post(f"/tickets/{ticket}/replies", {"text": "Hello"}, **keyed("k")).status_code == 500
    monkeypatch.undo()
    with desk.site.database.read() as session:
        assert session.query(ApiAnswer).count() == 0
    sent = desk.post(f"/tickets/{ticket}/replies", {"text": "Hello"}, **keyed("k"))
    assert sent.status_code == 200
    assert [one["kind"] for one in desk.get(f"/tickets/{ticket}")["timeline"]].count("message_out") == 1


def test_answers_are_forgotten_after_a_day(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.post(f"/tickets/{ticket}/notes", {"text": "Old"}, **keyed("old"))
    with desk.site.database.write() as session:
        session.query(ApiAnswer).one().created_at = clock.now() - idempotency.KEPT * 1.01
    desk.post(f"/tickets/{ticket}/notes", {"text": "New"}, **keyed("new"))
    assert idempotency.forget(desk.site.database) == 1
    with desk.site.database.read() as session:
        assert [row.key for row in session.query(ApiAnswer)] == ["new"]


def walk(desk: Desk, path: str, name: str, between: Any = lambda: None, **query: Any) -> list[Any]:
    """All pages of a list; ``between`` is called after each."""
    seen, cursor = [], None
    for _ in range(20):
        page = desk.get(path, **query, limit=2, **({"after": cursor} if cursor else {}))
        assert len(page["items"]) <= 2
        seen += [row[name] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return seen
        between()
    raise AssertionError("the list does not end")


def test_pages_of_tickets_neither_skip_nor_repeat_while_new_ones_come(desk: Desk) -> None:
    there = [desk.ticket() for _ in range(5)]
    assert walk(desk, "/tickets", "number", desk.ticket, view="all") == there[::-1]


def test_pages_of_tasks_are_in_their_order_also_where_two_are_due_at_once(desk: Desk) -> None:
    ticket = desk.ticket()
    moments = ["2031-01-03T12:00:00Z", "2031-01-02T12:00:00.25Z", "2031-01-02T12:00:00.75Z", "2031-01-02T12:00:00.25Z"]
    made = [desk.post(f"/tickets/{ticket}/tasks", {"title": "x", "due_at": one}).json()["id"] for one in moments]
    assert walk(desk, "/tasks", "id") == [made[1], made[3], made[2], made[0]]
    for one in made[:3]:
        desk.post(f"/tasks/{one}/done")
    assert walk(desk, "/tasks", "id", done="true") == made[2::-1]


def test_pages_of_the_directory_and_of_items_go_on_where_they_ended(desk: Desk) -> None:
    for number in range(5):
        desk.ticket(contacts=(f"kim{number}@riverside.example",))
    contacts = walk(desk, "/contacts", "email")
    assert contacts == ["dana@riverside.example", *(f"kim{number}@riverside.example" for number in range(5))]
    assert walk(desk, "/companies", "name") == ["Riverside Clinic"]
    assert walk(desk, "/items", "id") == []
