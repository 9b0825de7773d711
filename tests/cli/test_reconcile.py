"""`casemill reconcile`: what the command prints, what it repairs, and its exit code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, text

from core import clock
from core.database.session import Database
from core.settings import load
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import FORMSTACK, Arrival
from tests.cli.support import run, write_mail, write_workbook
from tests.ingest.sources.support import last_uid, mailbox, message, numbers, watching
from tests.servers.dovecot import DovecotServer
from tests.servers.formstack import TOKEN, FormstackServer
from tests.servers.ports import free_port
from tests.servers.web import HttpResponse
from tests.waiting import wait_until

Write = Callable[[str], None]


@pytest.fixture
def configure(workdir_each_database: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes the configuration, over a migrated database of either kind."""
    monkeypatch.delenv("CASEMILL_CONFIG")

    def write(config: str) -> None:
        (workdir_each_database / "casemill.toml").write_text(config)

    return write


@pytest.fixture
def configured_mailbox(configure: Write, dovecot: DovecotServer) -> DovecotServer:
    dovecot.add_user("desk")
    configure(
        f'[mailboxes.desk]\nhost = "{dovecot.host}"\nport = {dovecot.tls_port}\nuser = "desk"\npassword = "{dovecot.password}"\n'
        f'ca_file = "{dovecot.ca_file}"\nsince = "all"\n'
    )
    return dovecot


def open_database() -> Database:
    return Database(load().database)


def accept_mails(dovecot: DovecotServer, count: int) -> None:
    for number in range(1, count + 1):
        dovecot.deliver("desk", message(number))
    database = open_database()
    with watching(database, mailbox(dovecot)):
        wait_until(lambda: last_uid(database) == count)
    database.close()


def lose(uid: int) -> None:
    database = open_database()
    with database.write() as session:
        places = session.query(Sighting).filter(Sighting.place.endswith(f"/{uid}")).all()
        session.execute(delete(Sighting).where(Sighting.id.in_([one.id for one in places])))
        session.execute(delete(InboundItem).where(InboundItem.id.in_([one.item_id for one in places])))
    database.close()


def test_gap_is_reported_and_repaired(configured_mailbox: DovecotServer) -> None:
    accept_mails(configured_mailbox, 4)
    whole = run("reconcile")
    assert (whole.code, whole.err) == (0, "")
    head, line, *_ = whole.out.splitlines()
    assert head.split() == ["source", "server", "ledger", "gaps", "not", "read", "yet", "repaired"]
    assert line.split() == ["mailbox:desk", "4", "4", "0", "0"]
    lose(3)
    found = run("reconcile", "desk")
    assert found.code == 1
    assert found.out.splitlines()[1].split() == ["mailbox:desk", "4", "3", "1", "0"]
    assert "gap: mailbox:desk INBOX/" in found.out and "/3: read past, but not in the ledger" in found.out
    assert "casemill reconcile --repair" in found.out
    repaired = run("reconcile", "desk", "--repair")
    assert repaired.code == 0
    assert "repaired: mailbox:desk INBOX/" in repaired.out
    database = open_database()
    assert numbers(database) == [1, 2, 3, 4]
    database.close()
    assert run("reconcile", "mailbox:desk").code == 0


def test_json_has_the_whole_comparison(configured_mailbox: DovecotServer) -> None:
    accept_mails(configured_mailbox, 2)
    lose(1)
    ran = run("reconcile", "desk", "--json")
    (comparison,) = ran.json
    assert ran.code == 1
    assert {name: comparison[name] for name in ("source", "server", "ledger", "unread", "notes", "problem")} == {
        "source": "mailbox:desk", "server": 2, "ledger": 1, "unread": 0, "notes": [], "problem": None,
    }  # fmt: skip
    (gap,) = comparison["gaps"]
    assert (gap["code"], gap["repaired"], gap["place"].rpartition("/")[2]) == ("unknown_message", False, "1")


def test_unreachable_server_gives_exit_code_one_and_the_others_are_compared(
    configure: Write, workdir_each_database: Path
) -> None:
    (workdir_each_database / "drop").mkdir()
    configure(
        f'[mailboxes.away]\nhost = "127.0.0.1"\nport = {free_port()}\nuser = "u"\npassword = "hunter2"\n'
        f'[folders.drop]\npath = "{workdir_each_database / "drop"}"\n[forms.5512345]\nunsigned = true\n'
    )
    ran = run("reconcile")
    assert ran.code == 1
    lines = {line.split()[0]: line.split()[1:] for line in ran.out.splitlines()[1:5]}
    assert lines["mailbox:away"] == ["?", "?", "?", "?"]
    assert lines["folder:drop"] == ["0", "0", "0", "0"]
    assert lines["form:5512345"] == ["not", "read", "0", "0", "0"]
    assert lines["workbooks"] == ["0", "0", "0", "0"]
    assert "connection refusal" in ran.out and "hunter2" not in ran.out + ran.err


@pytest.mark.parametrize("name", ["unknown", "workbook:x", "workbook:999"])
def test_unknown_source_is_wrong_usage_and_has_a_hint(configure: Write, name: str) -> None:
    configure("[forms.5512345]\nunsigned = true\n")
    ran = run("reconcile", name)
    assert ran.code == 2
    assert "error:" in ran.err and "hint:" in ran.err


def test_name_of_several_sources_needs_its_kind(configure: Write, workdir_each_database: Path) -> None:
    (workdir_each_database / "drop").mkdir()
    configure(
        '[mailboxes.support]\nhost = "127.0.0.1"\nuser = "u"\npassword = "p"\n'
        f'[folders.support]\npath = "{workdir_each_database / "drop"}"\n'
    )
    ran = run("reconcile", "support")
    assert ran.code == 2
    assert "mailbox:support, folder:support" in ran.err
    assert run("reconcile", "folder:support").code == 0


def test_missing_database_is_an_error_and_is_not_created(workdir: Path) -> None:
    ran = run("reconcile")
    assert ran.code == 1
    assert "there is no database here yet" in ran.err
    assert not (workdir / "var").exists()


def test_submissions_of_a_form_are_counted_from_all_sources(configure: Write) -> None:
    configure("[forms.5512345]\nunsigned = true\n[forms.551]\nunsigned = true\n")
    database = open_database()
    for number, source in enumerate(("form:5512345", "form:5512345", "upload"), 1):
        arrival = Arrival(FORMSTACK, "form", source, f"{number}", b"{}", clock.now(), identity=f"5512345/{number}")
        database.transaction(lambda session, one=arrival: accept(session, [one], clock.now()))  # type: ignore[misc]
    database.close()
    counts = {
        comparison["source"]: (comparison["server"], comparison["ledger"]) for comparison in run("reconcile", "--json").json
    }
    assert counts == {"form:5512345": (None, 3), "form:551": (None, 0), "workbooks": (0, 0)}
    assert "cannot read Formstack's list of submissions" in run("reconcile", "5512345").out


def test_missing_submission_in_formstacks_list_is_a_gap_and_is_repaired(configure: Write) -> None:
    with FormstackServer() as server:
        for number in (101, 102, 103):
            server.submit(number, "2026-11-02 09:00:00")
        configure(
            f'[forms.5512345]\nunsigned = true\n[forms.5512345.backfill]\ntoken = "{TOKEN}"\n'
            f'base_url = "{server.url}"\nsince = 2026-11-01\n'
        )
        database = open_database()
        arrival = Arrival(FORMSTACK, "form", "form:5512345", "102", b"{}", clock.now(), identity="5512345/102")
        database.transaction(lambda session: accept(session, [arrival], clock.now()))
        database.close()
        ran = run("reconcile", "5512345")
        assert (ran.code, ran.out.splitlines()[1].split()) == (1, ["form:5512345", "3", "1", "2", "0"])
        assert "gap: form:5512345 101: submitted at 2026-11-02 14:00 UTC, but not in the ledger" in ran.out
        assert run("reconcile", "5512345", "--repair").code == 0
        assert run("reconcile", "5512345").out.splitlines()[1].split() == ["form:5512345", "3", "3", "0", "0"]
        server.failures = [HttpResponse(401)]
        refused = run("reconcile", "5512345")
    assert refused.code == 1
    assert "refused token" in refused.out and "canary" not in refused.out + refused.err


def test_unknown_file_in_done_is_accepted_by_repair(configure: Write, workdir_each_database: Path) -> None:
    done = workdir_each_database / "drop" / "done"
    done.mkdir(parents=True)
    configure(f'[folders.drop]\npath = "{done.parent}"\n')
    write_mail(done / "a.eml", 1)
    ran = run("reconcile", "drop")
    assert (ran.code, ran.out.count("gap: folder:drop done/a.eml")) == (1, 1)
    assert run("reconcile", "drop", "--repair").code == 0
    assert run("reconcile", "drop").code == 0
    shutil.rmtree(done.parent)
    assert run("reconcile", "drop").code == 1


def test_missing_row_of_a_workbook_is_a_gap_and_is_repaired(configure: Write, workdir_each_database: Path) -> None:
    configure("")
    write_workbook(workdir_each_database / "w.xlsx", rows=3)
    assert run("ingest", "w.xlsx").code == 0
    assert run("reconcile", "workbooks").out.splitlines()[1].split() == ["workbooks", "3", "3", "0", "0"]
    database = open_database()
    with database.write() as session:
        session.execute(text("DELETE FROM sighting WHERE place LIKE '%!3'"))
    database.close()
    ran = run("reconcile", "workbooks")
    assert ran.code == 1
    assert "Sheet!3: expanded, but not in the ledger" in ran.out
    assert run("reconcile", "workbooks", "--repair").code == 0
    # The command processes all due items.
    assert run("ingest", "w.xlsx").code == 0
    assert run("reconcile", "workbooks").code == 0
