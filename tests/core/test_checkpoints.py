"""The log is copied back beside the writers, and whatever hinders that hinders nobody else."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.db import Base, Database
from tests.waiting import happens

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
    assert happens(lambda: path.stat().st_size > LARGE)
    fill(database)
    assert happens(lambda: path.stat().st_size > 2 * LARGE), "again with every commit"
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
    time.sleep(0.6)  # more than two pauses
    assert failed == []
    database.close()
