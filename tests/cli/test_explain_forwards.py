"""For whom `casemill explain` opens a forwarded mail: the database says who is staff, else the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.support import CommandResult, run, run_process

FORWARD = """From: Sam <sam@billing.example>
To: support@casemill.example
Subject: Fwd: Claim 4711
Message-ID: <{number}@billing.example>
Date: Sun, 22 Nov 2026 04:00:00 +0000

---------- Forwarded message ---------
From: Ana Bell <ana@oak.example>
Date: Sat, Nov 21, 2026 at 9:15 AM
Subject: Claim 4711
To: <sam@billing.example>

It was denied again.
"""
TEAM = '[teams.billing]\nmembers = ["sam@billing.example"]\n'
MANAGER = '[teams.billing]\nmanager = "sam@billing.example"\n'
FORWARDERS = '[routing]\nforwarders = ["billing.example"]\n'
ORIGINAL, FORWARDER = "ana@oak.example", "sam@billing.example"


@pytest.fixture
def mail(workdir: Path) -> Path:
    path = workdir / "f.eml"
    path.write_text(FORWARD.format(number=1))
    return path


def explained(ran: CommandResult) -> tuple[str, bool]:
    """Return the requester of the ticket, and whether the reason says that the mail was forwarded."""
    (line,) = ran.lines
    assert (line["is_forward"], line["forward"]["from"], line["disposition"]) == (True, ORIGINAL, "ticket")
    return line["requester"], "sam@billing.example forwarded it" in line["reason"]


@pytest.mark.parametrize(
    ("config", "requester"), [("", FORWARDER), (TEAM, ORIGINAL), (MANAGER, ORIGINAL), (FORWARDERS, ORIGINAL)]
)
def test_without_a_database_the_configuration_decides_who_forwards_for_others(
    mail: Path, config: str, requester: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mail.parent / "casemill.toml").write_text(config)
    monkeypatch.delenv("CASEMILL_CONFIG")
    before = sorted(mail.parent.rglob("*"))
    assert explained(run("explain", mail, "--json")) == (requester, requester == ORIGINAL)
    assert sorted(mail.parent.rglob("*")) == before


def test_existing_database_decides_who_is_active_staff(mail: Path, workdir_each_database: Path) -> None:
    assert explained(run("explain", mail, "--json"))[0] == FORWARDER
    assert run("staff", "add", FORWARDER, "--name", "Sam").code == 0
    assert explained(run("explain", mail, "--json")) == (ORIGINAL, True)
    assert run("staff", "add", FORWARDER, "--inactive").code == 0
    assert explained(run("explain", mail, "--json")) == (FORWARDER, False)


def test_arrived_item_is_explained_as_the_pipeline_decided_it(mail: Path, workdir_each_database: Path) -> None:
    run("staff", "add", FORWARDER, "--name", "Sam")
    run("ingest", mail)
    assert explained(run("explain", "--item", 1, "--json")) == (ORIGINAL, True)
    assert run("tickets", "--json").json[0]["requester"] == ORIGINAL


def test_explain_works_while_the_database_is_unreachable(mail: Path) -> None:
    (mail.parent / "casemill.toml").write_text(TEAM)
    second = mail.with_name("g.eml")
    second.write_text(FORWARD.format(number=2))
    url = "postgresql://nobody@127.0.0.1:1/none"
    ran = run_process("explain", "f.eml", "g.eml", "--json", cwd=mail.parent, CASEMILL_DATABASE_URL=url)
    assert (ran.code, ran.err) == (0, "")
    assert [line["requester"] for line in ran.lines] == [ORIGINAL, ORIGINAL]


def test_explain_works_with_a_database_without_tables(mail: Path) -> None:
    database = mail.parent / "var/casemill.db"
    database.parent.mkdir()
    database.write_bytes(b"")
    assert explained(run("explain", mail, "--json"))[0] == FORWARDER
