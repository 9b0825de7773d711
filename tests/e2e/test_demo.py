"""The demo as `make run` starts it: tickets from every source, notices in the Maildir, a clean end, and no repeats."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from demo.configuration import render_settings
from tests.e2e.system import ROOT
from tests.servers.ports import free_port
from tests.waiting import wait_until

OPEN_WORK = """
SELECT (SELECT count(*) FROM inbound_item WHERE state != 'settled') + (SELECT count(*) FROM outbox_fact WHERE done_at IS NULL)
     + (SELECT count(*) FROM delivery WHERE finished_at IS NULL)
"""


def run_demo(folder: Path) -> str:
    """Run the demo until it has printed where to look and is settled, stop it as Ctrl-C does, and return its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "cli", "run", "--demo"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line.decode()
            if "ticket show" in output:
                wait_until(lambda: process.poll() is not None or is_settled(folder), 60)
                break
        process.send_signal(signal.SIGINT)
        output += process.stdout.read().decode()
    assert process.returncode == 0, output
    return output


def is_settled(folder: Path) -> bool:
    """Return whether all sample inputs have been taken in, and no item, fact or delivery is open."""
    data = folder / "var" / "demo"
    receipt = data / "drop" / "done" / "secure-messages.receipt.xlsx"
    ((forms,),) = query_database(folder, "SELECT count(*) FROM ticket WHERE source = 'formstack'")
    has_all = forms > 0 and receipt.exists() and not list((data / "mail").glob("*.eml"))
    return has_all and query_database(folder, OPEN_WORK) == [(0,)]


def query_database(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "var" / "demo" / "casemill.db")) as database:
        return database.execute(statement).fetchall()


def test_demo_creates_tickets_from_every_source_and_sends_their_notices(tmp_path: Path) -> None:
    data = tmp_path / "var" / "demo"
    data.mkdir(parents=True)
    (data / "casemill.toml").write_text(f'{render_settings(data)}\n[web]\nlisten = "127.0.0.1:{free_port()}"\n')
    output = run_demo(tmp_path)
    assert "casemill is running with sample data" in output
    query = partial(query_database, tmp_path)
    assert {source for (source,) in query("SELECT DISTINCT source FROM ticket")} == {"email", "formstack", "secure_message"}
    assert query("SELECT count(*) FROM ticket WHERE owner_id IS NOT NULL")[0][0] > 10
    ((sent,),) = query("SELECT count(*) FROM delivery WHERE state = 'sent'")
    assert sent == len(list((data / "sent" / "new").iterdir())) > 10
    assert (data / "drop" / "done" / "secure-messages.receipt.xlsx").exists()
    before = query("SELECT count(*) FROM inbound_item")
    output = run_demo(tmp_path)
    assert "casemill is running with the data of the last start" in output
    assert query("SELECT count(*) FROM inbound_item") == before
