"""What depends on the database, on SQLite and PostgreSQL: Idempotency-Key, and pages that neither skip nor repeat."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from accounts import idempotency
from accounts.idempotency import ApiAnswer
from core import clock
from tests.web.api.conftest import ApiSite
from tickets import staff_messages


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'casemill.db'}"
    return str(request.getfixturevalue("postgres_url"))


def with_key(key: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Idempotency-Key": key}}


def read_notes(api: ApiSite, ticket: str) -> list[str]:
    return [one["body"] for one in api.get(f"/tickets/{ticket}")["timeline"] if one["kind"] == "note"]


def test_repeated_request_gets_first_response_and_changes_nothing(api: ApiSite) -> None:
    ticket = api.ticket()
    first = api.post(f"/tickets/{ticket}/notes", {"text": "Called"}, **with_key("k-1"))
    second = api.post(f"/tickets/{ticket}/notes", {"text": "Called"}, **with_key("k-1"))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert read_notes(api, ticket) == ["Called"]


def test_concurrent_requests_with_one_key_are_done_once(api: ApiSite) -> None:
    gate, responses = threading.Barrier(6), []

    def send() -> None:
        gate.wait()
        responses.append(api.post("/tickets", {"description": "x", "name": "Lee"}, **with_key("same")))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {response.status_code for response in responses} == {201}
    assert len({response.json()["number"] for response in responses}) == 1
    assert len(api.get("/tickets", view="all")["items"]) == 1


def test_key_belongs_to_request_and_token(api: ApiSite) -> None:
    ticket = api.ticket()
    api.post(f"/tickets/{ticket}/notes", {"text": "One"}, **with_key("k"))
    other = api.post(f"/tickets/{ticket}/notes", {"text": "Two"}, **with_key("k"))
    assert (other.status_code, other.json()["code"]) == (422, "key_used")
    assert api.post(f"/tickets/{ticket}/notes", {"text": "Two"}, by="ruth", **with_key("k")).status_code == 200
    assert read_notes(api, ticket) == ["One", "Two"]


def test_refused_request_may_be_repeated_with_its_key(api: ApiSite) -> None:
    ticket = api.ticket()
    assert api.post(f"/tickets/{ticket}/recap", {}, **with_key("k")).status_code == 422
    with api.site.database.read() as session:
        assert session.query(ApiAnswer).count() == 0
    body = {"values": {"resolution": "Paid"}}
    assert api.post(f"/tickets/{ticket}/recap", body, **with_key("k")).status_code == 200


def test_failed_request_leaves_neither_response_nor_change(api: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket, real = api.ticket(), staff_messages.send

    def broken(*given: Any, **more: Any) -> int:
        real(*given, **more)
        raise ZeroDivisionError

    monkeypatch.setattr(staff_messages, "send", broken)
    assert api.post(f"/tickets/{ticket}/replies", {"text": "Hello"}, **with_key("k")).status_code == 500
    monkeypatch.undo()
    with api.site.database.read() as session:
        assert session.query(ApiAnswer).count() == 0
    sent = api.post(f"/tickets/{ticket}/replies", {"text": "Hello"}, **with_key("k"))
    assert sent.status_code == 200
    assert [one["kind"] for one in api.get(f"/tickets/{ticket}")["timeline"]].count("message_out") == 1


def test_responses_are_deleted_after_a_day(api: ApiSite) -> None:
    ticket = api.ticket()
    api.post(f"/tickets/{ticket}/notes", {"text": "Old"}, **with_key("old"))
    with api.site.database.write() as session:
        session.query(ApiAnswer).one().created_at = clock.now() - idempotency.RETENTION * 1.01
    api.post(f"/tickets/{ticket}/notes", {"text": "New"}, **with_key("new"))
    assert idempotency.delete_expired(api.site.database) == 1
    with api.site.database.read() as session:
        assert [row.key for row in session.query(ApiAnswer)] == ["new"]


def read_all_pages(api: ApiSite, path: str, name: str, between: Any = lambda: None, **query: Any) -> list[Any]:
    """Return all rows of a list, page by page; ``between`` is called after each page."""
    seen, cursor = [], None
    for _ in range(20):
        page = api.get(path, **query, limit=2, **({"after": cursor} if cursor else {}))
        assert len(page["items"]) <= 2
        seen += [row[name] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return seen
        between()
    raise AssertionError("the list has no last page")


def test_ticket_pages_neither_skip_nor_repeat_while_tickets_arrive(api: ApiSite) -> None:
    there = [api.ticket() for _ in range(5)]
    assert read_all_pages(api, "/tickets", "number", api.ticket, view="all") == there[::-1]


def test_task_pages_keep_order_with_equal_due_times(api: ApiSite) -> None:
    ticket = api.ticket()
    moments = ["2031-01-03T12:00:00Z", "2031-01-02T12:00:00.25Z", "2031-01-02T12:00:00.75Z", "2031-01-02T12:00:00.25Z"]
    made = [api.post(f"/tickets/{ticket}/tasks", {"title": "x", "due_at": one}).json()["id"] for one in moments]
    assert read_all_pages(api, "/tasks", "id") == [made[1], made[3], made[2], made[0]]
    for one in made[:3]:
        api.post(f"/tasks/{one}/done")
    assert read_all_pages(api, "/tasks", "id", done="true") == made[2::-1]


def test_directory_and_item_pages_continue_after_last_row(api: ApiSite) -> None:
    for number in range(5):
        api.ticket(contacts=(f"kim{number}@riverside.example",))
    contacts = read_all_pages(api, "/contacts", "email")
    assert contacts == ["dana@riverside.example", *(f"kim{number}@riverside.example" for number in range(5))]
    assert read_all_pages(api, "/companies", "name") == ["Riverside Clinic"]
    assert read_all_pages(api, "/items", "id") == []
