"""The log is copied back beside the writers, and whatever hinders that hinders nobody else."""

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


def checkpointers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "checkpoints"]


def test_what_was_committed_is_in_the_file_soon_and_no_commit_waited_for_that(tmp_path: Path) -> None:
    path = tmp_path / "casemill.db"
    database = Database(f"sqlite:///{path}")
    Base.metadata.create_all(database.engine)
    fill(database)
    assert poll_until(lambda: path.stat().st_size > LARGE)
    fill(database)
    assert poll_until(lambda: path.stat().st_size > 2 * LARGE), "again with every commit"
    database.close()


def test_without_a_commit_there_is_no_thread_and_after_the_end_none_either(tmp_path: Path) -> None:
    before = len(checkpointers())
    database = Database(f"sqlite:///{tmp_path / 'casemill.db'}")
    with database.read() as session:
        session.execute(text("SELECT 1"))
    assert len(checkpointers()) == before
    fill(database)
    assert len(checkpointers()) == before + 1
    database.close()
    assert len(checkpointers()) == before


def test_a_database_that_has_gone_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    folder = tmp_path / "gone"
    database = Database(f"sqlite:///{folder / 'casemill.db'}")
    fill(database)
    database.engine.dispose()
    shutil.rmtree(folder)
    time.sleep(0.6)  # more than two rests
    assert failed == []
    database.close()


class Script:
    """A checkpointer without a database: in each rest somebody commits as often as is told, and time goes on by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, commits: list[bool]) -> None:
        self.events: list[str] = []
        self._commits = iter(commits)
        self._now = 0.0
        self.checkpointer = checkpoints.Checkpointer(None)  # type: ignore[arg-type]
        monkeypatch.setattr(checkpoints.time, "monotonic", lambda: self._now)
        monkeypatch.setattr(self.checkpointer, "_run_checkpoint", self._copy)
        monkeypatch.setattr(self.checkpointer, "_stopping", self)

    def wait(self, seconds: float) -> bool:
        """The rest: whether it ended because of the end of the process."""
        self._now += seconds
        commits = next(self._commits, None)
        if commits is None:
            return True
        self.events.append("commit" if commits else "rest")
        if commits:
            self.checkpointer.notify_commit()
        return False

    def is_set(self) -> bool:
        return False

    def _copy(self) -> None:
        self.events.append("copied")
        self.checkpointer.notify_commit()  # and so on, until the script ends

    def run(self) -> list[str]:
        self.checkpointer._committed.set()  # the first commit
        self.checkpointer._thread = threading.current_thread()
        self.checkpointer._loop()
        return self.events


def test_the_log_is_copied_once_when_the_writers_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Script(monkeypatch, [True, True, True, False]).run() == ["commit", "commit", "commit", "rest", "copied"]


def test_who_never_rests_has_it_copied_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    most = int(checkpoints.MAX_WAIT_SECONDS / checkpoints.IDLE_SECONDS)
    events = Script(monkeypatch, [True] * (2 * most)).run()
    assert events == (["commit"] * most + ["copied"]) * 2


def test_what_was_committed_meanwhile_is_copied_at_once() -> None:
    asked: list[str] = []
    answers = iter([(0, 400, 300), (0, 410, 410)])

    class Cursor:
        def execute(self, statement: str) -> Cursor:
            asked.append(statement)
            return self

        def fetchone(self) -> tuple[int, int, int]:
            return next(answers)

    class Lent:
        def raw_connection(self) -> Lent:
            return self

        def cursor(self) -> Cursor:
            return Cursor()

        def close(self) -> None:
            asked.append("closed")

    checkpoints.Checkpointer(Lent())._run_checkpoint()  # type: ignore[arg-type]
    assert asked == ["PRAGMA wal_checkpoint(PASSIVE)"] * 2 + ["closed"]
