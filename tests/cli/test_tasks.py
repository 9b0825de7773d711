"""`casemill tasks`: listed, added, done, opened again, handed over, postponed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli import console
from core import clock
from tests.cli.support import CommandResult, run

RUTH, OMAR = "ruth@billing.example", "omar@billing.example"


@pytest.fixture
def task(workdir: Path) -> dict[str, Any]:
    """A task of Ruth's for BS-000001, due in three days."""
    run("staff", "add", RUTH, "--name", "Ruth")
    run("staff", "add", OMAR, "--name", "Omar")
    run("ticket", "new", "--owner", RUTH, "--name", "Lee Moss", "--description", "Called")
    assert run("tasks", "add", "BS-000001", "Ask the payer", "--due", day(3), "--by", RUTH).code == 0
    (row,) = listed()
    return row


def day(ahead: int) -> str:
    return (clock.now() + timedelta(days=ahead)).date().isoformat()


def listed(*more: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run("tasks", *more, "--json").json
    return rows


def do(verb: str, task: dict[str, Any], *more: str, by: str = RUTH) -> CommandResult:
    return run("tasks", verb, str(task["id"]), "--by", by, *more)


def test_a_task_is_listed_for_whom_it_is_and_until_when(task: dict[str, Any]) -> None:
    assert (task["title"], task["assignee"], task["ticket"], task["overdue"]) == ("Ask the payer", "Ruth", "BS-000001", False)
    assert [one["id"] for one in listed("--for", RUTH)] == [task["id"]]
    assert listed("--for", OMAR) == listed("--today") == listed("--overdue") == []
    assert "Ask the payer" in run("tasks").out


def test_a_task_is_done_and_opened_again_with_a_reason(task: dict[str, Any]) -> None:
    assert "done" in do("done", task).out
    assert listed() == [] and [one["id"] for one in listed("--finished")] == [task["id"]]
    assert do("reopen", task, "--reason", "They never called back").code == 0
    assert [one["id"] for one in listed()] == [task["id"]]


def test_a_task_is_handed_over_and_postponed(task: dict[str, Any]) -> None:
    assert "for Omar" in do("hand-over", task, "--to", OMAR).out
    assert do("postpone", task, "--due", day(9), "--reason", "The payer is closed", by=OMAR).code == 0
    (row,) = listed("--for", OMAR)
    assert row["due_at"] > task["due_at"]


@pytest.mark.parametrize(
    ("verb", "more", "problem"),
    [
        ("postpone", ("--due", "2001-01-01", "--reason", "x"), "that moment is over"),
        ("reopen", ("--reason", "x"), "is open already"),
        ("hand-over", ("--to", RUTH), "has task"),
    ],
)
def test_what_cannot_be_is_refused(task: dict[str, Any], verb: str, more: tuple[str, ...], problem: str) -> None:
    done = do(verb, task, *more)
    assert done.code in (console.EXIT_PROBLEM, console.EXIT_USAGE) and problem in done.err
    assert listed() == [task]


def test_a_task_nobody_knows_is_named(task: dict[str, Any]) -> None:
    assert "there is no task 99" in run("tasks", "done", "99", "--by", RUTH).err
