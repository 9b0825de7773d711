"""`casemill quarantine` through the commands themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import clock
from core.database.session import Database
from core.settings import load
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem
from ingest.ledger.types import MAIL, Arrival
from tests.cli.support import CLI_PROGRAM, run, run_process, write_mail

NOISE = b"\x1b[2J\x00 no mail \xff\xfe at all"


@pytest.fixture
def item(workdir_each_database: Path) -> int:
    """The number of an item of a mailbox that could not be read; a readable mail was taken in too."""
    run("migrate")
    write_mail(workdir_each_database / "a.eml", 1)
    database = Database(load().database)
    arrival = Arrival(MAIL, "mail", "mailbox:support", "INBOX/1/1", NOISE, clock.now())
    (accepted,) = database.transaction(lambda session: accept(session, [arrival], clock.now()))
    database.close()
    assert run("ingest", "a.eml").code == 0
    return accepted.item_id


def state_of(item: int) -> tuple[str, str | None, bool]:
    database = Database(load().database)
    with database.read() as session:
        row = session.get_one(InboundItem, item)
        state = row.state, row.disposition, row.alone
    database.close()
    return state


def test_quarantined_items_are_listed_as_text_and_json(item: int) -> None:
    (row,) = run("quarantine", "list", "--json").json
    assert (row["item"], row["source"], row["reason_code"]) == (item, "mailbox:support", "not_a_mail")
    listed = run("quarantine", "list").out
    assert "mailbox:support" in listed and row["reason"] in listed and row["ticket"] in listed


def test_quarantined_item_is_shown_with_reason_and_place(item: int) -> None:
    shown = run("quarantine", "show", item).out
    assert "INBOX/1/1" in shown and "quarantined" in shown and "not a mail message" in shown
    assert "\x1b" not in shown


def test_raw_source_is_exact_in_a_pipe(item: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLI_PROGRAM, "quarantine", "show", str(item), "--raw"]
    assert subprocess.run(command, capture_output=True, check=True, env=dict(os.environ)).stdout == NOISE


def test_retried_item_waits_to_be_read_alone(item: int) -> None:
    assert run("quarantine", "retry", item, "--by", "ruth").code == 0
    assert state_of(item) == ("waiting", None, True)
    again = run("quarantine", "retry", item)
    assert (again.code, "not in quarantine" in again.err) == (2, True)


def test_all_quarantined_items_are_retried_at_once(item: int) -> None:
    assert str(item) in run("quarantine", "retry", "--all").out
    assert run("quarantine", "retry", "--all").out == "the quarantine is empty\n"


def test_discarded_item_is_rejected_and_its_ticket_names_the_person(item: int) -> None:
    ticket = run("quarantine", "list", "--json").json[0]["ticket"]
    assert run("quarantine", "discard", item, "--reason", "a broken fax", "--by", "ruth").code == 0
    assert state_of(item)[:2] == ("settled", "rejected")
    last = run("ticket", "show", ticket, "--json").json["timeline"][-1]
    assert (last["kind"], last["actor"]) == ("note", "ruth")
    assert "a broken fax" in last["body"]
    assert run("quarantine", "list").out == "the quarantine is empty\n"


@pytest.mark.parametrize("command", [["retry"], ["retry", "1", "--all"], ["discard", "1"], ["discard", "1", "--reason", " "]])
def test_retry_and_discard_require_item_and_reason(workdir: Path, command: list[str]) -> None:
    run("migrate")
    assert run("quarantine", *command).code == 2


def test_unknown_item_is_reported(workdir: Path) -> None:
    run("migrate")
    for command in (["show", 7], ["retry", 7], ["discard", 7, "--reason", "x"]):
        ran = run("quarantine", *command)
        assert (ran.code, "there is no item 7" in ran.err) == (1, True)


def test_quarantine_creates_no_database(workdir: Path) -> None:
    ran = run_process("quarantine", "list", cwd=workdir)
    assert (ran.code, "casemill init" in ran.err) == (1, True)
    assert list(workdir.iterdir()) == []
