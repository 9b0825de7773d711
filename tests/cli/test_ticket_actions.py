"""`casemill ticket …`, the commands that change a ticket, and `casemill tasks`, on both databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.database.session import Database
from tests.cli.support import run, run_process, write_mail
from tests.tickets.staff_actions import settle_notice, sweep
from tests.tickets.world import NOW, World, dana_mail
from tickets.tasks import list_tasks

ADA, BEN, MAX = (f"{name}@billing.example" for name in ("ada", "ben", "max"))
DAY = timedelta(days=1)


@pytest.fixture
def world(workdir_each_database: Path) -> Iterator[World]:
    """Ticket 1 for Lakeside, owned by Ada, in progress. Max is Lakeside's manager, Ben is another member of staff."""
    world = World(Database(os.environ["CASEMILL_DATABASE_URL"]))
    ada, max_ = world.staff("Ada"), world.staff("Max", role="manager")
    world.staff("Ben")
    world.company("Lakeside", "lakeside.example", consultant_id=ada, manager_id=max_)
    world.receive(dana_mail())
    settle_notice(world)
    yield world
    world.database.close()


def change(*arguments: str, by: str = ADA) -> str:
    """Run a command that succeeds and return its output."""
    ran = run("ticket", *arguments, "--by", by)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def test_ticket_passes_all_stages_by_commands(world: World) -> None:
    assert change("follow-up-sent", "BS-000001") == "BS-000001: 5-Audit\n"
    assert change("resolve", "bs-1") == "BS-000001: 5-Audit\n"
    assert change("recap", "1", "--by-phone", by=BEN) == "BS-000001: 6-Completed\n"
    assert change("reopen", "1", "--reason", "Denied again") == "BS-000001: 4-In Progress\n"
    assert change("move", "1", "--to", "5", "--reason", "Done by phone", by=MAX) == "BS-000001: 5-Audit\n"
    assert [(e["title"], e["actor"]) for e in world.show(1)["timeline"] if e["kind"] in ("mark", "stage")][1:] == [
        ("4-Support Follow Up Sent", ADA), ("Moved to 5-Audit", "casemill"), ("Resolution: Yes", ADA),
        ("5-Recap of Resolution Sent", BEN), ("Moved to 6-Completed", "casemill"), ("Moved to 4-In Progress", ADA),
        ("Moved to 5-Audit", MAX),
    ]  # fmt: skip


def test_repeated_command_changes_nothing(world: World) -> None:
    first = change("follow-up-sent", "1")
    before = world.show(1)
    assert change("follow-up-sent", "1", by=BEN) == first
    assert world.show(1) == before


def test_ticket_is_taken_and_reassigned_with_a_reason(world: World) -> None:
    change("assign", "1", by=BEN)
    assert world.show(1)["owner"] == "Ben"
    change("assign", "1", "--to", "Max@billing.example", "--reason", "Max knows the payer", by=BEN)
    shown = world.show(1)
    assert (shown["owner"], shown["timeline"][-1]["body"]) == ("Max", "Max knows the payer")


def test_note_is_shown_on_the_timeline(world: World) -> None:
    change("note", "1", "Called, no answer")
    assert "Called, no answer" in run("ticket", "show", "1").out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["reopen", "1", "--by", ADA, "--reason", "x"], 2, "is not completed"),
        (["move", "1", "--by", ADA, "--to", "5", "--reason", "x"], 2, "only managers force a move"),
        (["move", "1", "--by", MAX, "--to", "3", "--reason", "x"], 2, "there is no stage 3"),
        (["move", "1", "--by", MAX, "--to", "5", "--reason", " "], 2, "a reason is needed"),
        (["assign", "1", "--by", ADA], 2, "owns BS-000001 already"),
        (["assign", "1", "--by", ADA, "--to", "nobody@billing.example"], 1, "no member of staff has the address"),
        (["note", "1", " ", "--by", ADA], 2, "a note needs a text"),
        (["resolve", "1", "--by", "stranger@billing.example"], 1, "no member of staff has the address"),
        (["resolve", "99", "--by", ADA], 1, "there is no ticket BS-000099"),
        (["resolve", "nonsense", "--by", ADA], 2, "not a ticket number"),
    ],
)
def test_refused_command_gives_a_reason_and_changes_nothing(world: World, arguments: list[str], code: int, words: str) -> None:
    before = world.show(1)
    ran = run("ticket", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in " ".join(ran.err.split())
    assert world.show(1) == before


def test_completed_ticket_refuses_a_milestone_with_a_hint(world: World) -> None:
    for verb in (("follow-up-sent",), ("resolve",), ("recap", "--by-phone")):
        change(*verb, "1")
    ran = run("ticket", "resolve", "1", "--by", BEN)
    assert ran.code == 2
    assert "BS-000001 is completed" in ran.err and "hint: reopen it first, with a reason" in ran.err


def test_acting_person_is_read_from_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("ticket", "resolve", "1").code == 2
    monkeypatch.setenv("CASEMILL_USER", "Ben@billing.example")
    assert run("ticket", "resolve", "1").code == 0
    assert world.show(1)["resolution"]["by"] == BEN


def test_finished_task_moves_to_the_list_of_finished_ones(world: World) -> None:
    assert run("tasks").out == "no tasks\n"
    sweep(world, NOW - 2 * DAY)
    assert run("tasks", "--json").json == []
    sweep(world, NOW + 3 * DAY)
    rows = run("tasks", "--json").json
    assert [(row["id"], row["kind"], row["assignee"], row["ticket"]) for row in rows] == [
        (1, "reminder", "Ada", "BS-000001"), (2, "escalation", "Max", "BS-000001"),
    ]  # fmt: skip
    listed = run("tasks", "--for", "MAX@billing.example").out.splitlines()
    assert len(listed) == 2
    for cell in ("2", "BS-000001", "Escalate: not resolved in time", "Max", "2026-11-27 15:00"):
        assert cell in listed[1]
    assert "task 1 of BS-000001 for Ada: done" in run("tasks", "done", "1", "--by", ADA).out
    finished = run("tasks", "--finished", "--json").json
    assert [(row["id"], row["overdue"]) for row in finished] == [(1, False)]
    with world.database.read() as session:
        assert [row["id"] for row in list_tasks(session, NOW)] == [2]
    assert finished[0]["done_at"][:16].replace("T", " ") in run("tasks", "--finished").out


def test_unknown_assignee_and_unknown_task_are_reported(world: World) -> None:
    for arguments in (("--for", "stranger@billing.example"), ("done", "7", "--by", ADA)):
        ran = run("tasks", *arguments)
        assert (ran.code, ran.out) == (1, "")
        assert "hint:" in ran.err


def test_ticket_command_works_in_its_own_process(world: World) -> None:
    settings = {name: value for name, value in os.environ.items() if name.startswith("CASEMILL_")}
    ran = run_process("ticket", "follow-up-sent", "BS-000001", cwd=Path.cwd(), CASEMILL_USER=ADA, **settings)
    assert (ran.code, ran.out, ran.err) == (0, "BS-000001: 5-Audit\n", "")
    assert world.show(1)["follow_up_sent"]["by"] == ADA


def test_tickets_are_merged_split_and_marked_as_different(workdir: Path) -> None:
    run("staff", "add", "ada@billing.example", "--name", "Ada")
    for number in (1, 2, 3):
        mail = write_mail(workdir / f"{number}.eml", number)
        if number > 1:
            mail.write_text(mail.read_text().replace("Subject: ", "Subject: Re: [BS-000001] "))
    run("ingest", "1.eml")
    run("ingest", "2.eml", "3.eml")
    assert [row["number"] for row in run("tickets", "--view", "matches", "--json").json] == ["BS-000003", "BS-000002"]
    assert "Its subject names that ticket" in run("ticket", "show", "2").out
    who = ("--by", "ada@billing.example")
    merged = run("ticket", "merge", "BS-000002", "--into", "BS-000001", *who, "--reason", "The same denial")
    assert (merged.code, merged.out) == (0, "BS-000001: 4-In Progress\n")
    assert run("ticket", "dismiss", "3", "1", *who).code == 0
    assert run("tickets", "--view", "matches", "--json").json == []
    entry = next(one["id"] for one in run("ticket", "show", "2", "--json").json["timeline"] if one["kind"] == "message_in")
    split = run("ticket", "split", "2", "--entry", entry, *who, "--reason", "Not the same after all")
    assert (split.code, split.out) == (0, "BS-000004: 1-Submitted\n")
    assert run("ticket", "merge", "9", "--into", "1", *who, "--reason", "x").code != 0
