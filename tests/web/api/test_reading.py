"""What programs can read, and how odd requests are answered."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from core import clock
from ingest.ledger.accept import accept
from ingest.ledger.types import MAIL, Arrival
from tests.web.api.conftest import Desk


def test_views_sources_and_companies_narrow_the_list(desk: Desk) -> None:
    ticket = desk.ticket()
    company = desk.get("/companies")["items"][0]["id"]
    assert [row["number"] for row in desk.get("/tickets", view="unassigned")["items"]] == [ticket]
    assert desk.get("/tickets", view="mine")["items"] == []
    desk.post(f"/tickets/{ticket}/assign")
    assert [row["number"] for row in desk.get("/tickets", view="mine")["items"]] == [ticket]
    assert desk.get("/tickets", source="formstack")["items"] == []
    assert len(desk.get("/tickets", company=company)["items"]) == 1
    assert desk.get("/tickets", company=company + 1)["items"] == []


def test_records_are_found_by_their_ids(desk: Desk) -> None:
    desk.ticket()
    company, contact = desk.get("/companies")["items"][0], desk.get("/contacts", find="dana")["items"][0]
    assert desk.get(f"/companies/{company['id']}") == company
    assert desk.get(f"/contacts/{contact['id']}") == contact
    assert (contact["company"], company["domains"]) == ("Riverside Clinic", ["riverside.example"])
    assert desk.get("/companies", find="nobody")["items"] == []
    assert desk.get("/contacts", company="riverside  CLINIC")["items"] == [contact]


def test_tasks_of_a_person_and_until_a_moment(desk: Desk) -> None:
    ticket, due = desk.ticket(), clock.now() + timedelta(days=2)
    task = desk.post(f"/tickets/{ticket}/tasks", {"title": "x", "due_at": due.isoformat()}).json()
    assert desk.get(f"/tasks/{task['id']}") == task
    assert desk.get("/tasks", assignee="mara@billing.example")["items"] == [task]
    assert desk.get("/tasks", assignee="ruth@billing.example")["items"] == []
    assert desk.get("/tasks", due_before=due.isoformat())["items"] == []
    assert desk.get("/tasks", due_before=(due + timedelta(seconds=1)).isoformat())["items"] == [task]


def test_an_item_says_where_it_was_seen_and_what_became_of_it(desk: Desk) -> None:
    arrival = Arrival(MAIL, "mail", "mailbox:support", "INBOX/7/42", b"Subject: x\r\n\r\ny", clock.now())
    desk.site.database.transaction(lambda session: accept(session, [arrival], clock.now()))
    item = desk.get("/items", state="waiting", source="mailbox:support")["items"][0]
    shown = desk.get(f"/items/{item['id']}")
    assert shown["seen"][0]["place"] == "INBOX/7/42"
    assert shown["disposition"] is None
    assert desk.get("/items", disposition="quarantined")["items"] == []


ODD: list[tuple[str, dict[str, Any], int, str]] = [
    ("GET /nothing", {}, 404, "not_found"),
    ("GET /", {}, 404, "not_found"),
    ("GET /tickets/BS-000999", {}, 404, "not_found"),
    ("GET /tickets/%00", {}, 404, "not_found"),
    ("GET /tasks/0000000000000000000000001", {}, 404, "not_found"),
    ("GET /companies/999", {}, 404, "not_found"),
    ("GET /contacts/²", {}, 404, "not_found"),
    ("DELETE /tickets", {}, 405, "method_not_allowed"),
    ("GET /tickets?view=everything", {}, 422, "bad_value"),
    ("GET /tickets?limit=0", {}, 422, "bad_value"),
    ("GET /tickets?limit=many", {}, 422, "bad_value"),
    ("GET /tickets?veiw=all", {}, 422, "bad_value"),
    ("GET /tickets?view=all&view=open", {}, 422, "bad_value"),
    ("GET /tickets?after=%20", {}, 422, "bad_cursor"),
    ("GET /tickets?after=bm90IGEgbnVtYmVy", {}, 422, "bad_cursor"),
    ("GET /tasks?due_before=2031-01-01T00:00:00", {}, 422, "bad_value"),
    ("GET /tasks?assignee=stranger@evil.example", {}, 404, "not_found"),
    ("POST /tickets", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "bad_json"),
    ("POST /tickets", {"content": b"\xff", "headers": {"Content-Type": "application/json"}}, 400, "bad_json"),
    ("POST /tickets", {"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400, "bad_json"),
    ("POST /tickets", {"content": b"description=x"}, 415, "not_json"),
    ("POST /tickets", {"json": []}, 422, "bad_value"),
    ("POST /tickets", {"json": {"description": "x", "nmae": "Lee"}}, 422, "bad_value"),
    ("POST /tickets", {"json": {"description": "x" * 1_100_000}}, 413, "too_large"),
    ("POST /tickets", {"json": {"description": "x"}, "headers": {"Idempotency-Key": "two words"}}, 422, "bad_key"),
    ("POST /tickets", {"json": {"description": "x"}, "headers": {"Idempotency-Key": "k" * 256}}, 422, "bad_key"),
]  # fmt: skip


def test_odd_requests_get_a_clear_problem_and_nothing_else(desk: Desk) -> None:
    for line, given, status, code in ODD:
        method, path = line.split(" ", 1)
        answer = desk.call(method, path, given.get("json"), **{name: one for name, one in given.items() if name != "json"})
        assert (answer.status_code, answer.json()["code"]) == (status, code), (line, answer.text[:200])
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_client_that_is_still_sending_too_much_sees_why_it_was_refused(desk: Desk) -> None:
    """Closing at once would reset the connection under its hands (RFC 9112 §9.6)."""

    def parts() -> Iterator[bytes]:
        for _ in range(12):
            yield b" " * 1_000_000

    headers = {"Content-Type": "application/json"}
    answer = desk.call("POST", "/tickets", content=parts(), headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.headers["connection"]) == (413, "too_large", "close")


def test_a_method_that_is_not_taken_is_told_those_that_are(desk: Desk) -> None:
    assert desk.call("PATCH", "/tickets").headers["allow"] == "GET, HEAD, POST"
    assert desk.call("GET", "/tickets/BS-000001/notes").headers["allow"] == "POST"


def test_a_head_is_a_get_without_its_body(desk: Desk) -> None:
    answer = desk.call("HEAD", "/tickets")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_refusal_repeats_nothing_of_what_was_sent(desk: Desk) -> None:
    canary = "zebrafinch"
    for body in ({"description": 5, "name": canary}, {canary: 1}, {"description": canary, "limit": canary}):
        refused = desk.post("/tickets", body)
        assert refused.status_code == 422
        assert canary not in refused.json()["detail"].replace(f"`{canary}`", "") or canary in body


def test_the_metrics_know_addresses_by_their_templates_only(desk: Desk) -> None:
    ticket = desk.ticket()
    desk.get(f"/tickets/{ticket}")
    desk.call("GET", f"/nothing/{ticket}")
    metrics = httpx.get(f"{desk.site.url}/metrics").text
    assert 'route="/api/v1/tickets/{number}"' in metrics
    assert ticket not in metrics


@pytest.mark.parametrize("name", ["door", "routes"])
def test_the_api_is_loaded_when_it_is_called_and_not_before(name: str) -> None:
    import subprocess
    import sys

    program = f"import sys, web.app; sys.exit('web.api.{name}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
