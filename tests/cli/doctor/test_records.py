"""The invariants in `casemill doctor`: that casemill is not running is a warning, lost work is a problem."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert

from core import clock
from core.database.session import Database
from core.leases import Lease
from core.settings import load
from ops.invariants.checks import check_invariants
from outbox.models import OutboxFact
from tests.cli.support import run


def findings() -> list[tuple[str, str, str]]:
    return [(one["state"], one["text"], one["hint"]) for one in run("doctor", "--json").json if one["check"] == "invariants"]


def insert_row(table: type, **values: object) -> int:
    """Insert a row; return how many invariants there are."""
    database = Database(load().database)
    with database.write() as session:
        session.execute(insert(table), [values])
    with database.read() as session:
        count = len(check_invariants(session, load(), clock.now()))
    database.close()
    return count


def test_missing_heartbeats_are_a_warning_while_casemill_is_not_running(workdir_each_database: Path) -> None:
    run("migrate")
    (silent, held) = findings()
    assert silent[:2] == ("warning", "no heartbeat from: clock")
    assert "casemill run" in silent[2]
    assert held[0] == "ok"


def test_dead_watcher_is_a_problem_while_the_clock_runs(workdir: Path) -> None:
    (workdir / "casemill.toml").write_text('[mailboxes.a]\nhost = "127.0.0.1"\nport = 1\nuser = "u"\npassword = "p"\n')
    run("--config", workdir / "casemill.toml", "migrate")
    now = clock.now()
    insert_row(Lease, name="clock", token="t", beat_at=now, until=now + timedelta(seconds=10))
    states = {text: state for state, text, _ in findings()}
    assert states["no heartbeat from: mailbox:a"] == "problem"
    assert states["mailbox a was never read"] == "problem"


def test_lost_work_is_a_problem_while_casemill_is_running(workdir_each_database: Path) -> None:
    run("migrate")
    now = clock.now()
    insert_row(Lease, name="clock", token="t", beat_at=now, until=now + timedelta(seconds=10))
    count = insert_row(OutboxFact, kind="x", payload={}, created_at=now - timedelta(minutes=2), due_at=now + timedelta(hours=1))
    states = [(state, text) for state, text, _ in findings()]
    assert states == [
        ("problem", "1 facts have been waiting for a handler for more than a minute"),
        ("ok", f"{count - 1} of {count} hold"),
    ]
