"""Changes of tickets and tasks by the API."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from accounts.directory import add_contact
from core import clock, migrations
from tests.web.api.conftest import ApiSite

SOON = (clock.now() + timedelta(days=3)).isoformat()


def test_ticket_created_by_api_is_complete(api: ApiSite) -> None:
    new = {"description": "Lee Moss called", "name": "Lee Moss", "phone": "555 0100", "company": "Riverside Clinic"}
    made = api.post("/tickets", new)
    assert made.status_code == 201
    ticket = made.json()
    assert (ticket["source"], ticket["owner"], ticket["company"]) == ("phone", "Mara", "Riverside Clinic")
    assert ticket["name"] == "Support – Riverside Clinic"
    assert api.get(f"/tickets/{ticket['number']}")["timeline"][0]["reasons"][0]["code"] == "entered_by_hand"


@pytest.mark.parametrize(
    ("new", "code"),
    [
        ({"description": "x"}, "no_requester"),
        ({"description": "x", "email": "not an address"}, "odd_address"),
        ({"description": " ", "name": "Lee"}, "no_description"),
        ({"description": "x", "name": "Lee", "owner": "ivan@billing.example"}, "owner_inactive"),
    ],
)
def test_invalid_ticket_is_refused_with_reason(api: ApiSite, new: dict[str, str], code: str) -> None:
    refused = api.post("/tickets", new)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == code or (code == "odd_address" and "address" in refused.json()["detail"])
    assert api.get("/tickets", view="all")["items"] == []


def test_ticket_is_completed_and_reopened_by_api(api: ApiSite) -> None:
    ticket = api.ticket()
    assert api.post(f"/tickets/{ticket}/assign", {"reason": "Mine"}).json()["owner"] == "Mara"
    marked = api.post(f"/tickets/{ticket}/follow-up-sent").json()
    assert marked["follow_up_sent"]["by"] == "mara@billing.example"
    assert api.post(f"/tickets/{ticket}/resolution").json()["resolution"] is not None
    forced = api.post(f"/tickets/{ticket}/move", {"stage": 4, "reason": "The notice never went"}).json()
    assert forced["stage"].startswith("4-")
    done = api.post(f"/tickets/{ticket}/recap-sent").json()
    assert done["stage"] == "6-Completed"
    again = api.post(f"/tickets/{ticket}/reopen", {"reason": "They called again"}).json()
    assert (again["stage"], again["recap_sent"]) == ("4-In Progress", None)


def test_note_is_on_timeline_with_author(api: ApiSite) -> None:
    ticket = api.ticket()
    noted = api.post(f"/tickets/{ticket}/notes", {"text": "Called, no answer"}, by="ruth").json()
    assert noted["timeline"][-1] | {"id": 0, "at": ""} == {
        "id": 0, "at": "", "kind": "note", "actor": "ruth@billing.example", "title": "Note", "body": "Called, no answer",
        "quoted": "", "signature": "", "reasons": [], "item": None,
    }  # fmt: skip


def test_reply_is_recorded_and_queued(api: ApiSite) -> None:
    ticket = api.ticket()
    sent = api.post(f"/tickets/{ticket}/replies", {"text": "The payer has it now."}).json()
    assert sent["to"] == ["dana@riverside.example"]
    assert sent["problems"] == []
    entry = next(one for one in api.get(f"/tickets/{ticket}")["timeline"] if one["id"] == sent["entry"])
    assert (entry["kind"], entry["body"]) == ("message_out", "The payer has it now.\n")
    assert api.site.database.engine.connect().exec_driver_sql(
        "SELECT count(*) FROM outbox_fact WHERE kind = 'letter.written'"
    ).scalar() == 1  # fmt: skip


def test_recap_with_unfilled_placeholder_is_refused_and_names_it(api: ApiSite) -> None:
    ticket = api.ticket()
    preview = api.post(f"/tickets/{ticket}/recap", {"send": False}).json()
    assert preview["entry"] is None
    assert any("resolution" in one for one in preview["problems"])
    refused = api.post(f"/tickets/{ticket}/recap", {})
    assert (refused.status_code, refused.json()["code"]) == (422, "unfilled")
    assert "resolution" in refused.json()["detail"]
    sent = api.post(f"/tickets/{ticket}/recap", {"values": {"resolution": "Paid in full."}}).json()
    assert "Paid in full." in sent["text"]
    assert sent["entry"] is not None


def test_task_is_added_reassigned_postponed_done_and_reopened(api: ApiSite) -> None:
    ticket = api.ticket()
    task = api.post(f"/tickets/{ticket}/tasks", {"title": "Ask the payer", "due_at": SOON}).json()
    assert (task["assignee"], task["ticket"], task["overdue"]) == ("Mara", ticket, False)
    own = f"/tasks/{task['id']}"
    assert api.post(f"{own}/hand-over", {"to": "ruth@billing.example"}).json()["assignee"] == "Ruth"
    late = {"due_at": (clock.now() + timedelta(days=9)).isoformat(), "reason": "They are closed"}
    assert api.post(f"{own}/postpone", late).json()["due_at"] > task["due_at"]
    assert api.post(f"{own}/done").json()["done_at"] is not None
    assert api.post(f"{own}/hand-over", {}).json()["code"] == "done"
    assert api.post(f"{own}/reopen", {"reason": "Not yet"}).json()["done_at"] is None
    assert [one["id"] for one in api.get(f"/tickets/{ticket}")["tasks"]] == [task["id"]]


def test_representative_may_not_move_ticket(api: ApiSite) -> None:
    refused = api.post(f"/tickets/{api.ticket()}/move", {"stage": 6, "reason": "Enough"}, by="ruth")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_a_manager")


def test_ticket_is_not_assigned_to_inactive_staff(api: ApiSite) -> None:
    refused = api.post(f"/tickets/{api.ticket()}/assign", {"to": "ivan@billing.example"})
    assert (refused.status_code, refused.json()["code"]) == (422, "not_active"), (
        "the refusal depends on the request, not on the caller"
    )


def test_outdated_version_is_refused(api: ApiSite) -> None:
    ticket = api.ticket()
    version = api.get(f"/tickets/{ticket}")["version"]
    assert api.post(f"/tickets/{ticket}/notes", {"text": "First", "version": version}).status_code == 200
    late = api.post(f"/tickets/{ticket}/notes", {"text": "Second", "version": version})
    assert (late.status_code, late.json()["code"]) == (409, "changed")
    assert [one["body"] for one in api.get(f"/tickets/{ticket}")["timeline"] if one["kind"] == "note"] == ["First"]


@pytest.mark.parametrize("path", ["/tickets/BS-000999/notes", "/tickets/nonsense/notes", "/tasks/999/done", "/tasks/x/done"])
def test_change_of_unknown_record_is_not_found(api: ApiSite, path: str) -> None:
    missing = api.post(path, {"text": "x"} if "notes" in path else {})
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_api_and_commands_write_same_timeline(api: ApiSite, tmp_path: Path) -> None:
    with api.site.database.engine.begin() as connection:  # commands check the version of the tables
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{migrations.required_revision()}')")
    by_program, by_command = api.ticket(), api.ticket()
    api.post(f"/tickets/{by_program}/assign", {"to": "ruth@billing.example", "reason": "Knows them"})
    api.post(f"/tickets/{by_program}/follow-up-sent")
    api.post(f"/tickets/{by_program}/notes", {"text": "Called"})
    by = ("--by", "mara@billing.example")
    run_ticket_command(api, tmp_path, "assign", by_command, "--to", "ruth@billing.example", "--reason", "Knows them", *by)
    run_ticket_command(api, tmp_path, "follow-up-sent", by_command, *by)
    run_ticket_command(api, tmp_path, "note", by_command, "Called", *by)
    assert read_timeline(api, by_program) == read_timeline(api, by_command)


def read_timeline(api: ApiSite, ticket: str) -> list[dict[str, Any]]:
    """Return the timeline without ids, times and the message that created the ticket."""
    return [{**one, "id": 0, "at": ""} for one in api.get(f"/tickets/{ticket}")["timeline"] if one["kind"] != "message_in"]


def run_ticket_command(api: ApiSite, folder: Path, *arguments: str) -> None:
    config = folder / "casemill.toml"
    url = api.site.database.url.render_as_string(hide_password=False)
    config.write_text(f'data_dir = "{folder}"\ndatabase_url = "{url}"\n')
    environment = {**os.environ, "CASEMILL_CONFIG": str(config), "CASEMILL_SECRET_KEY": "key-of-the-web-tests"}
    command = [sys.executable, "-m", "cli", "ticket", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stdout + done.stderr


def test_reply_goes_to_contacts_of_ticket_only(api: ApiSite) -> None:
    with api.site.database.write() as session:
        add_contact(session, email="kim@riverside.example", company="Riverside Clinic")
    ticket = api.ticket(contacts=("kim@riverside.example",))
    to = ["kim@riverside.example"]
    assert api.post(f"/tickets/{ticket}/replies", {"text": "Hello", "to": to}).json()["to"] == to
    refused = api.post(f"/tickets/{ticket}/replies", {"text": "Hello", "to": ["mallory@evil.example"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "no_recipient")
