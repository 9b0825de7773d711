"""`casemill templates`: message templates, in versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import console
from tests.cli.support import run

MAX, RUTH = "max@billing.example", "ruth@billing.example"
RECAP = "Billing Support Recap of Resolution"


@pytest.fixture
def staffed(workdir: Path) -> Path:
    run("staff", "add", MAX, "--name", "Max", "--role", "manager")
    run("staff", "add", RUTH, "--name", "Ruth")
    return workdir


def write(workdir: Path, text: str) -> Path:
    path = workdir / "text.txt"
    path.write_text(text)
    return path


def test_built_in_templates_are_listed_and_shown(staffed: Path) -> None:
    listed = run("templates", "list", "--json").json
    assert RECAP in [one["name"] for one in listed] and {one["folder"] for one in listed} == {"Billing Support"}
    assert "{{ resolution }}" in run("templates", "show", RECAP).out
    assert RECAP in run("templates", "list").out


def test_edited_template_is_a_new_version_and_earlier_ones_are_restored(staffed: Path) -> None:
    before = run("templates", "show", RECAP, "--json").json
    assert run("templates", "edit", RECAP, "--file", write(staffed, "Done: {{ resolution }}"), "--by", MAX).code == 0
    after = run("templates", "show", RECAP, "--json").json
    assert (after["body"].strip(), after["subject"]) == ("Done: {{ resolution }}", before["subject"])
    assert len(run("templates", "history", RECAP).out.splitlines()) > 2
    assert run("templates", "restore", RECAP, "--version", "1", "--by", MAX).code == 0
    assert run("templates", "show", RECAP, "--json").json["body"] == before["body"]


@pytest.mark.parametrize(
    ("name", "text", "by", "problem"),
    [
        (RECAP, "Done", RUTH, "only managers change templates"),
        ("No such", "Done", MAX, "No such"),
    ],
)
def test_refused_template_edit_changes_nothing(staffed: Path, name: str, text: str, by: str, problem: str) -> None:
    before = run("templates", "list", "--json").json
    done = run("templates", "edit", name, "--file", write(staffed, text), "--by", by)
    assert done.code in (console.EXIT_PROBLEM, console.EXIT_USAGE) and problem in done.err
    assert run("templates", "list", "--json").json == before
