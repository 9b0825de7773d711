"""What programs can do: the verbs of tickets and tasks, as commands and pages have them."""

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
from tests.web.api.conftest import Desk

SOON = (clock.now() + timedelta(days=3)).isoformat()


def test_a_ticket_entered_by_a_program_is_one_like_any_other(desk: Desk) -> None:
    new = {"description": "Lee Moss called", "name": "Lee Moss", "phone": "555 0100", "company": "Riverside Clinic"}
    made = desk.post("/tickets", new)
    assert made.status_code == 201
    ticket = made.json()
    assert (ticket["source"], ticket["owner"], ticket["company"]) == ("phone", "Mara", "Riverside Clinic")
    assert ticket["name"] == "Support – Riverside Clinic"
    assert desk.get(f"/tickets/{ticket['number']}")["timeline"][0]["reasons"][0]["code"] == "entered_by_hand"


@pytest.mark.parametrize(
    ("new", "code"),
    [
        ({"description": "x"}, "no_requester"),
        ({"description": "x", "email": "not an address"}, "odd_address"),
        ({"description": " ", "name": "Lee"}, "no_description"),
        ({"description": "x", "name": "Lee", "owner": "ivan@billing.example"}, "owner_inactive"),
    ],
)
def test_what_cannot_be_a_ticket_is_refused_with_the_reason(desk: Desk, new: dict[str, str], code: str) -> None:
    refused = desk.post("/tickets", new)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == code or (code == "odd_address" and "address" in refused.json()["detail"])
    assert desk.get("/tickets", view="all")["items"] == []


def test_a_ticket_goes_from_taken_to_completed_by_calls_alone(desk: Desk) -> None:
    ticket = desk.ticket()
    assert desk.post(f"/tickets/{ticket}/assign", {"reason": "Mine"}).json()["owner"] == "Mara"
    marked = desk.post(f"/tickets/{ticket}/follow-up-sent").json()
    assert marked["follow_up_sent"]["by"] == "mara@billing.example"
    assert desk.post(f"/tickets/{ticket}/resolution").json()["resolution"] is not None
    forced = desk.post(f"/tickets/{ticket}/move", {"stage": 4, "reason": "The notice never went"}).json()
    assert forced["stage"].startswith("4-")
    done = desk.post(f"/tickets/{ticket}/recap-sent").json()
    assert done["stage"] == "6-Completed"
    again = desk.post(f"/tickets/{ticket}/reopen", {"reason": "They called again"}).json()
    assert (again["stage"], again["recap_sent"]) == ("4-In Progress", None)


def test_a_note_and_its_author_are_on_the_timeline(desk: Desk) -> None:
    ticket = desk.ticket()
    noted = desk.post(f"/tickets/{ticket}/notes", {"text": "Called, no answer"}, by="ruth").json()
    assert noted["timeline"][-1] | {"id": 0, "at": ""} == {
        "id": 0, "at": "", "kind": "note", "actor": "ruth@billing.example", "title": "Note", "body": "Called, no answer",
        "quoted": "", "signature": "", "reasons": [], "item": None,
    }  # fmt: skip


def test_a_reply_is_written_and_on_its_way(desk: Desk) -> None:
    ticket = desk.ticket()
    sent = desk.post(f"/tickets/{ticket}/replies", {"text": "The payer has it now."}).json()
    assert sent["to"] == ["dana@riverside.example"]
    assert sent["problems"] == []
    entry = next(one for one in desk.get(f"/tickets/{ticket}")["timeline"] if one["id"] == sent["entry"])
    assert (entry["kind"], entry["body"]) == ("message_out", "The payer has it now.\n")
    assert desk.site.database.engine.connect().exec_driver_sql(
        "SELECT count(*) FROM outbox_fact WHERE kind = 'letter.written'"
    ).scalar() == 1  # fmt: skip


def test_a_recap_with_a_gap_is_not_sent_and_the_gap_is_named(desk: Desk) -> None:
    ticket = desk.ticket()
    preview = desk.post(f"/tickets/{ticket}/recap", {"send": False}).json()
    assert preview["entry"] is None
    assert any("resolution" in one for one in preview["problems"])
    refused = desk.post(f"/tickets/{ticket}/recap", {})
    assert (refused.status_code, refused.json()["code"]) == (422, "unfilled")
    assert "resolution" in refused.json()["detail"]
    sent = desk.post(f"/tickets/{ticket}/recap", {"values": {"resolution": "Paid in full."}}).json()
    assert "Paid in full." in sent["text"]
    assert sent["entry"] is not None


def test_tasks_are_added_done_opened_again_handed_over_and_postponed(desk: Desk) -> None:
    ticket = desk.ticket()
    task = desk.post(f"/tickets/{ticket}/tasks", {"title": "Ask the payer", "due_at": SOON}).json()
    assert (task["assignee"], task["ticket"], task["overdue"]) == ("Mara", ticket, False)
    own = f"/tasks/{task['id']}"
    assert desk.post(f"{own}/hand-over", {"to": "ruth@billing.example"}).json()["assignee"] == "Ruth"
    late = {"due_at": (clock.now() + timedelta(days=9)).isoformat(), "reason": "They are closed"}
    assert desk.post(f"{own}/postpone", late).json()["due_at"] > task["due_at"]
    assert desk.post(f"{own}/done").json()["done_at"] is not None
    assert desk.post(f"{own}/hand-over", {}).json()["code"] == "done"
    assert desk.post(f"{own}/reopen", {"reason": "Not yet"}).json()["done_at"] is None
    assert [one["id"] for one in desk.get(f"/tickets/{ticket}")["tasks"]] == [task["id"]]


def test_a_representative_does_not_do_by_program_what_only_managers_may(desk: Desk) -> None:
    refused = desk.post(f"/tickets/{desk.ticket()}/move", {"stage": 6, "reason": "Enough"}, by="ruth")
    assert (refused.status_code, refused.json()["code"]) == (403, "not_a_manager")


def test_a_ticket_is_not_handed_to_somebody_who_has_left(desk: Desk) -> None:
    refused = desk.post(f"/tickets/{desk.ticket()}/assign", {"to": "ivan@billing.example"})
    assert (refused.status_code, refused.json()["code"]) == (422, "not_active"), "it is about what is asked, not about who asks"


def test_whoever_read_an_older_version_changes_nothing(desk: Desk) -> None:
    ticket = desk.ticket()
    version = desk.get(f"/tickets/{ticket}")["version"]
    assert desk.post(f"/tickets/{ticket}/notes", {"text": "First", "version": version}).status_code == 200
    late = desk.post(f"/tickets/{ticket}/notes", {"text": "Second", "version": version})
    assert (late.status_code, late.json()["code"]) == (409, "changed")
    assert [one["body"] for one in desk.get(f"/tickets/{ticket}")["timeline"] if one["kind"] == "note"] == ["First"]


@pytest.mark.parametrize("path", ["/tickets/BS-000999/notes", "/tickets/nonsense/notes", "/tasks/999/done", "/tasks/x/done"])
def test_what_is_not_there_cannot_be_changed(desk: Desk, path: str) -> None:
    missing = desk.post(path, {"text": "x"} if "notes" in path else {})
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_programs_and_commands_leave_the_same_timeline(desk: Desk, tmp_path: Path) -> None:
    with desk.site.database.engine.begin() as connection:  # commands look whether the tables are theirs
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{migrations.required_revision()}')")
    by_program, by_command = desk.ticket(), desk.ticket()
    desk.post(f"/tickets/{by_program}/assign", {"to": "ruth@billing.example", "reason": "Knows them"})
    desk.post(f"/tickets/{by_program}/follow-up-sent")
    desk.post(f"/tickets/{by_program}/notes", {"text": "Called"})
    by = ("--by", "mara@billing.example")
    ticket_command(desk, tmp_path, "assign", by_command, "--to", "ruth@billing.example", "--reason", "Knows them", *by)
    ticket_command(desk, tmp_path, "follow-up-sent", by_command, *by)
    ticket_command(desk, tmp_path, "note", by_command, "Called", *by)
    assert told(desk, by_program) == told(desk, by_command)


def told(desk: Desk, ticket: str) -> list[dict[str, Any]]:
    """What was done with it; how it came is another matter."""
    return [{**one, "id": 0, "at": ""} for one in desk.get(f"/tickets/{ticket}")["timeline"] if one["kind"] != "message_in"]


def ticket_command(desk: Desk, folder: Path, *arguments: str) -> None:
    config = folder / "casemill.toml"
    url = desk.site.database.url.render_as_string(hide_password=False)
    config.write_text(f'data_dir = "{folder}"\ndatabase_url = "{url}"\n')
    environment = {**os.environ, "CASEMILL_CONFIG": str(config), "CASEMILL_SECRET_KEY": "key-of-the-web-tests"}
    command = [sys.executable, "-m", "cli", "ticket", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stdout + done.stderr


def test_further_contacts_may_get_the_letter_and_strangers_not(desk: Desk) -> None:
    with desk.site.database.write() as session:
        add_contact(session, email="kim@riverside.example", company="Riverside Clinic")
    ticket = desk.ticket(contacts=("kim@riverside.example",))
    to = ["kim@riverside.example"]
    assert desk.post(f"/tickets/{ticket}/replies", {"text": "Hello", "to": to}).json()["to"] == to
    refused = desk.post(f"/tickets/{ticket}/replies", {"text": "Hello", "to": ["mallory@evil.example"]})
    assert (refused.status_code, refused.json()["code"]) == (422, "no_recipient")
