"""`casemill tasks`: list follow-up tasks, and add, finish, reopen, reassign and postpone one."""

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
    """A task for BS-000001, assigned to Ruth, due in three days."""
    run("staff", "add", RUTH, "--name", "Ruth")
    run("staff", "add", OMAR, "--name", "Omar")
    run("ticket", "new", "--owner", RUTH, "--name", "Lee Moss", "--description", "Called")
    assert run("tasks", "add", "BS-000001", "Ask the payer", "--due", day(3), "--by", RUTH).code == 0
    (row,) = list_tasks()
    return row


def day(ahead: int) -> str:
    return (clock.now() + timedelta(days=ahead)).date().isoformat()


def list_tasks(*more: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run("tasks", *more, "--json").json
    return rows


def change(command: str, task: dict[str, Any], *more: str, by: str = RUTH) -> CommandResult:
    return run("tasks", command, str(task["id"]), "--by", by, *more)


def test_task_is_listed_with_assignee_and_due_date(task: dict[str, Any]) -> None:
    assert (task["title"], task["assignee"], task["ticket"], task["overdue"]) == ("Ask the payer", "Ruth", "BS-000001", False)
    assert [one["id"] for one in list_tasks("--for", RUTH)] == [task["id"]]
    assert list_tasks("--for", OMAR) == list_tasks("--today") == list_tasks("--overdue") == []
    assert "Ask the payer" in run("tasks").out


def test_task_is_finished_and_reopened_with_a_reason(task: dict[str, Any]) -> None:
    assert "done" in change("done", task).out
    assert list_tasks() == [] and [one["id"] for one in list_tasks("--finished")] == [task["id"]]
    assert change("reopen", task, "--reason", "They never called back").code == 0
    assert [one["id"] for one in list_tasks()] == [task["id"]]


def test_task_is_reassigned_and_postponed(task: dict[str, Any]) -> None:
    assert "for Omar" in change("hand-over", task, "--to", OMAR).out
    assert change("postpone", task, "--due", day(9), "--reason", "The payer is closed", by=OMAR).code == 0
    (row,) = list_tasks("--for", OMAR)
    assert row["due_at"] > task["due_at"]


@pytest.mark.parametrize(
    ("command", "more", "problem"),
    [
        ("postpone", ("--due", "2001-01-01", "--reason", "x"), "has passed already"),
        ("reopen", ("--reason", "x"), "is open already"),
        ("hand-over", ("--to", RUTH), "is assigned to Ruth already"),
    ],
)
def test_impossible_task_change_is_refused(task: dict[str, Any], command: str, more: tuple[str, ...], problem: str) -> None:
    done = change(command, task, *more)
    assert done.code in (console.EXIT_PROBLEM, console.EXIT_USAGE) and problem in done.err
    assert list_tasks() == [task]


def test_unknown_task_is_reported(task: dict[str, Any]) -> None:
    assert "there is no task 99" in run("tasks", "done", "99", "--by", RUTH).err
