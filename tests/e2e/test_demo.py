"""The sample world as `make run` starts it: tickets from every source it has, notices in the Maildir, a clean end, no repeats."""

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


def start(folder: Path) -> str:
    """Run it until it has said where to look, then stop it as Ctrl-C does; answers what it said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "cli", "run", "--demo"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line.decode()
            if "ticket show" in said:
                break
        process.send_signal(signal.SIGINT)
        said += process.stdout.read().decode()
    assert process.returncode == 0, said
    return said


def ask(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "var" / "demo" / "casemill.db")) as database:
        return database.execute(statement).fetchall()


def test_demo_creates_tickets_from_every_source_and_sends_their_notices(tmp_path: Path) -> None:
    data = tmp_path / "var" / "demo"
    data.mkdir(parents=True)
    (data / "casemill.toml").write_text(f'{render_settings(data)}\n[web]\nlisten = "127.0.0.1:{free_port()}"\n')
    said = start(tmp_path)
    assert "casemill is running with sample data" in said
    query = partial(ask, tmp_path)
    assert {source for (source,) in query("SELECT DISTINCT source FROM ticket")} == {"email", "formstack", "secure_message"}
    assert query("SELECT count(*) FROM ticket WHERE owner_id IS NOT NULL")[0][0] > 10
    ((sent,),) = query("SELECT count(*) FROM delivery WHERE state = 'sent'")
    assert sent == len(list((data / "sent" / "new").iterdir())) > 10
    assert (data / "drop" / "done" / "secure-messages.receipt.xlsx").exists()
    before = query("SELECT count(*) FROM inbound_item")
    said = start(tmp_path)
    assert "casemill is running with the data of the last start" in said
    assert query("SELECT count(*) FROM inbound_item") == before
