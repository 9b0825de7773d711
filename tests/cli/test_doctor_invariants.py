"""What `casemill doctor` says of the invariants: a house that does not run is no problem of its own, lost work is."""

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


def write(table: type, **values: object) -> int:
    """Insert a row; answers how many invariants there are."""
    database = Database(load().database)
    with database.write() as session:
        session.execute(insert(table), [values])
    with database.read() as session:
        count = len(check_invariants(session, load(), clock.now()))
    database.close()
    return count


def test_a_house_that_does_not_run_gives_no_sign_of_life_and_is_only_warned_of(workdir_each_database: Path) -> None:
    run("migrate")
    (silent, held) = findings()
    assert silent[:2] == ("warning", "no sign of life from: clock")
    assert "casemill run" in silent[2]
    assert held[0] == "ok"


def test_a_dead_watcher_beside_a_living_clock_is_a_problem(workdir: Path) -> None:
    (workdir / "casemill.toml").write_text('[mailboxes.a]\nhost = "127.0.0.1"\nport = 1\nuser = "u"\npassword = "p"\n')
    run("--config", workdir / "casemill.toml", "migrate")
    now = clock.now()
    write(Lease, name="clock", token="t", beat_at=now, until=now + timedelta(seconds=10))
    told = {text: state for state, text, _ in findings()}
    assert told["no sign of life from: mailbox:a"] == "problem"
    assert told["mailbox a was never read"] == "problem"


def test_a_living_house_in_which_work_is_lost_is_a_problem(workdir_each_database: Path) -> None:
    run("migrate")
    now = clock.now()
    write(Lease, name="clock", token="t", beat_at=now, until=now + timedelta(seconds=10))
    count = write(OutboxFact, kind="x", payload={}, created_at=now - timedelta(minutes=2), due_at=now + timedelta(hours=1))
    states = [(state, text) for state, text, _ in findings()]
    assert states == [
        ("problem", "1 facts have not reached all their readers for more than a minute"),
        ("ok", f"{count - 1} of {count} hold"),
    ]
