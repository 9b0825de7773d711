"""Checkpoints run beside the writers, and their failures disturb no writer."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.database import checkpoints
from core.database.session import Database
from core.database.types import Base
from tests.waiting import poll_until

LARGE = 2_000_000


def fill(database: Database) -> None:
    with database.write() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS big (content BLOB)"))
        session.execute(text("INSERT INTO big VALUES (zeroblob(:size))"), {"size": LARGE})


def checkpoint_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "checkpoints"]


def test_committed_pages_are_copied_into_the_file_soon(tmp_path: Path) -> None:
    path = tmp_path / "casemill.db"
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.engine)
    fill(database)
    assert poll_until(lambda: path.stat().st_size > LARGE)
    fill(database)
    assert poll_until(lambda: path.stat().st_size > 2 * LARGE), "every commit must be followed by a checkpoint"
    database.close()


def test_checkpoint_thread_exists_from_first_commit_until_close(tmp_path: Path) -> None:
    before = len(checkpoint_threads())
    database = Database(f"sqlite:///{tmp_path / 'casemill.db'}")
    with database.read() as session:
        session.execute(text("SELECT 1"))
    assert len(checkpoint_threads()) == before
    fill(database)
    assert len(checkpoint_threads()) == before + 1
    database.close()
    assert len(checkpoint_threads()) == before


def test_removed_database_crashes_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    folder = tmp_path / "gone"
    database = Database(f"sqlite:///{folder / 'casemill.db'}")
    fill(database)
    database.engine.dispose()
    shutil.rmtree(folder)
    # More than two idle intervals.
    time.sleep(0.6)
    assert failed == []
    database.close()


class ScriptedCheckpointer:
    """A checkpointer without a database and with its own clock: ``commits`` says in which idle intervals a commit happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, commits: list[bool]) -> None:
        self.events: list[str] = []
        self._commits = iter(commits)
        self._now = 0.0
        self.checkpointer = checkpoints.Checkpointer(None)  # type: ignore[arg-type]
        monkeypatch.setattr(checkpoints.time, "monotonic", lambda: self._now)
        monkeypatch.setattr(self.checkpointer, "_run_checkpoint", self._copy)
        monkeypatch.setattr(self.checkpointer, "_stopping", self)

    def wait(self, seconds: float) -> bool:
        """Let an idle interval pass; return True, as if stopped, at the end of the script."""
        self._now += seconds
        commits = next(self._commits, None)
        if commits is None:
            return True
        self.events.append("commit" if commits else "idle")
        if commits:
            self.checkpointer.notify_commit()
        return False

    def is_set(self) -> bool:
        return False

    def _copy(self) -> None:
        self.events.append("copied")
        # Starts the next wait, until the script ends.
        self.checkpointer.notify_commit()

    def run(self) -> list[str]:
        # The first commit.
        self.checkpointer._committed.set()
        self.checkpointer._thread = threading.current_thread()
        self.checkpointer._loop()
        return self.events


def test_log_is_copied_once_when_writers_are_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ScriptedCheckpointer(monkeypatch, [True, True, True, False]).run() == ["commit", "commit", "commit", "idle", "copied"]


def test_log_is_copied_under_constant_load(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = int(checkpoints.MAX_WAIT_SECONDS / checkpoints.IDLE_SECONDS)
    events = ScriptedCheckpointer(monkeypatch, [True] * (2 * limit)).run()
    assert events == (["commit"] * limit + ["copied"]) * 2


def test_pages_committed_during_a_checkpoint_are_copied_in_the_next_pass() -> None:
    statements: list[str] = []
    answers = iter([(0, 400, 300), (0, 410, 410)])

    class Cursor:
        def execute(self, statement: str) -> Cursor:
            statements.append(statement)
            return self

        def fetchone(self) -> tuple[int, int, int]:
            return next(answers)

    class Engine:
        def raw_connection(self) -> Engine:
            return self

        def cursor(self) -> Cursor:
            return Cursor()

        def close(self) -> None:
            statements.append("closed")

    checkpoints.Checkpointer(Engine())._run_checkpoint()  # type: ignore[arg-type]
    assert statements == ["PRAGMA wal_checkpoint(PASSIVE)"] * 2 + ["closed"]
