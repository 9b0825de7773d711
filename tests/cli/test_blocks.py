"""`casemill contact block`, `unblock` and `blocks`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import console
from tests.cli.support import run


def test_blocked_address_is_listed_and_unblocked(workdir: Path) -> None:
    done = run("contact", "block", " Robot@Lab.example", "--reason", "answers everything")
    assert (done.code, done.out) == (0, "robot@lab.example: blocked without an end date\n")
    assert run("contact", "block", "@noise.example", "--reason", "noise", "--days", "3", "--scope", "surveys").code == 0
    rows = run("contact", "blocks", "--json").json
    assert [(row["address"], row["scope"], row["reason"]) for row in rows] == [
        ("@noise.example", "surveys", "noise"),
        ("robot@lab.example", "automatic", "answers everything"),
    ]
    assert rows[1]["until"] is None and rows[0]["until"]
    assert "answers everything" in run("contact", "blocks").out
    assert run("contact", "unblock", "robot@lab.example").code == 0
    assert [row["address"] for row in run("contact", "blocks", "--json").json] == ["@noise.example"]


@pytest.mark.parametrize("address", ["nobody", "@gmail.com", "a@b@c.example"])
def test_block_refuses_what_is_neither_address_nor_company_domain(workdir: Path, address: str) -> None:
    done = run("contact", "block", address, "--reason", "x")
    assert done.code != console.EXIT_OK
    assert run("contact", "blocks", "--json").json == []


def test_unblock_of_an_address_that_is_not_blocked_is_refused(workdir: Path) -> None:
    run("contact", "block", "robot@lab.example", "--reason", "x")
    done = run("contact", "unblock", "dana@lakeside.example")
    assert done.code == console.EXIT_PROBLEM
    assert "is not blocked" in done.err
