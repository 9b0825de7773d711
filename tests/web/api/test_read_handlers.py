"""What the API lists and shows, and how it refuses invalid requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from core import clock
from ingest.ledger.accept import accept
from ingest.ledger.types import MAIL, Arrival
from tests.web.api.conftest import ApiSite


def test_view_source_and_company_filter_tickets(api: ApiSite) -> None:
    ticket = api.ticket()
    company = api.get("/companies")["items"][0]["id"]
    assert [row["number"] for row in api.get("/tickets", view="unassigned")["items"]] == [ticket]
    assert api.get("/tickets", view="mine")["items"] == []
    api.post(f"/tickets/{ticket}/assign")
    assert [row["number"] for row in api.get("/tickets", view="mine")["items"]] == [ticket]
    assert api.get("/tickets", source="formstack")["items"] == []
    assert len(api.get("/tickets", company=company)["items"]) == 1
    assert api.get("/tickets", company=company + 1)["items"] == []


def test_records_are_found_by_id(api: ApiSite) -> None:
    api.ticket()
    company, contact = api.get("/companies")["items"][0], api.get("/contacts", find="dana")["items"][0]
    assert api.get(f"/companies/{company['id']}") == company
    assert api.get(f"/contacts/{contact['id']}") == contact
    assert (contact["company"], company["domains"]) == ("Riverside Clinic", ["riverside.example"])
    assert api.get("/companies", find="nobody")["items"] == []
    assert api.get("/contacts", company="riverside  CLINIC")["items"] == [contact]


def test_tasks_are_filtered_by_assignee_and_due_time(api: ApiSite) -> None:
    ticket, due = api.ticket(), clock.now() + timedelta(days=2)
    task = api.post(f"/tickets/{ticket}/tasks", {"title": "x", "due_at": due.isoformat()}).json()
    assert api.get(f"/tasks/{task['id']}") == task
    assert api.get("/tasks", assignee="mara@billing.example")["items"] == [task]
    assert api.get("/tasks", assignee="ruth@billing.example")["items"] == []
    assert api.get("/tasks", due_before=due.isoformat())["items"] == []
    assert api.get("/tasks", due_before=(due + timedelta(seconds=1)).isoformat())["items"] == [task]


def test_item_shows_its_sightings_and_disposition(api: ApiSite) -> None:
    arrival = Arrival(MAIL, "mail", "mailbox:support", "INBOX/7/42", b"Subject: x\r\n\r\ny", clock.now())
    api.site.database.transaction(lambda session: accept(session, [arrival], clock.now()))
    item = api.get("/items", state="waiting", source="mailbox:support")["items"][0]
    shown = api.get(f"/items/{item['id']}")
    assert shown["seen"][0]["place"] == "INBOX/7/42"
    assert shown["disposition"] is None
    assert api.get("/items", disposition="quarantined")["items"] == []


INVALID_REQUESTS: list[tuple[str, dict[str, Any], int, str]] = [
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


def test_invalid_request_gets_problem_document(api: ApiSite) -> None:
    for line, options, status, code in INVALID_REQUESTS:
        method, path = line.split(" ", 1)
        answer = api.call(method, path, options.get("json"), **{name: value for name, value in options.items() if name != "json"})
        assert (answer.status_code, answer.json()["code"]) == (status, code), (line, answer.text[:200])
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_client_that_is_still_sending_receives_refusal(api: ApiSite) -> None:
    """Closing at once would reset the connection before the client reads the response (RFC 9112 §9.6)."""

    def parts() -> Iterator[bytes]:
        for _ in range(12):
            yield b" " * 1_000_000

    headers = {"Content-Type": "application/json"}
    answer = api.call("POST", "/tickets", content=parts(), headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.headers["connection"]) == (413, "too_large", "close")


def test_unsupported_method_lists_allowed_methods(api: ApiSite) -> None:
    assert api.call("PATCH", "/tickets").headers["allow"] == "GET, HEAD, POST"
    assert api.call("GET", "/tickets/BS-000001/notes").headers["allow"] == "POST"


def test_head_is_get_without_body(api: ApiSite) -> None:
    answer = api.call("HEAD", "/tickets")
    assert (answer.status_code, answer.content) == (200, b"")


def test_refusal_repeats_no_value_of_request(api: ApiSite) -> None:
    canary = "zebrafinch"
    for body in ({"description": 5, "name": canary}, {canary: 1}, {"description": canary, "limit": canary}):
        refused = api.post("/tickets", body)
        assert refused.status_code == 422
        assert canary not in refused.json()["detail"].replace(f"`{canary}`", "") or canary in body


def test_metrics_count_requests_by_route_template(api: ApiSite) -> None:
    ticket = api.ticket()
    api.get(f"/tickets/{ticket}")
    api.call("GET", f"/nothing/{ticket}")
    metrics = httpx.get(f"{api.site.url}/metrics").text
    assert 'route="/api/v1/tickets/{number}"' in metrics
    assert ticket not in metrics


@pytest.mark.parametrize("name", ["endpoint", "routes"])
def test_api_is_not_imported_with_web_app(name: str) -> None:
    import subprocess
    import sys

    program = f"import sys, web.app; sys.exit('web.api.{name}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
