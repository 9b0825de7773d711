"""Comparison of a watched folder with the ledger."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from core import clock
from core.database.session import Database
from core.settings.sections import Folder
from ingest.ledger.models import InboundItem, Sighting
from ingest.sources.folder import FolderWatcher
from ops.reconcile.folders import FolderComparison
from ops.reconcile.result import MAX_UNREAD_AGE, SourceComparison
from tests.ingest.sources.support import LIMITS, items, make_tables, message, sightings
from tests.waiting import scale_budget

SEPARATOR = b"From ann@clinic.example Mon Nov  2 09:00:00 2026\r\n"
FORM = {"FormID": "5512345", "UniqueID": "1512345678", "HandshakeKey": "demo-shared-secret", "email": "dana@clinic.example"}
MBOX = b"".join(SEPARATOR + message(number) + b"\r\n" for number in (11, 12, 13))


class FolderHarness:
    """A watched folder, its watcher and its comparison."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self.database = database
        self.folder = Folder(path=path, settle_seconds=0, poll_seconds=0.05)
        path.mkdir()

    def put(self, name: str, content: bytes) -> Path:
        path = self.path / name
        path.write_bytes(content)
        return path

    def accept(self, *, settle: bool = True) -> None:
        """Accept the files, settle their items and archive them, as watcher and pipeline do."""
        watcher = FolderWatcher("scans", self.folder, self.database, LIMITS, threading.Event(), lambda *_, **__: b"receipt")
        watcher.poll()
        if settle:
            values = {"state": "settled", "disposition": "ticket", "reason": "A reason", "settled_at": clock.now()}
            with self.database.write() as session:
                session.execute(update(InboundItem).values(values))
            watcher.poll()

    def reconcile(self, *, repair: bool = False) -> SourceComparison:
        return FolderComparison("scans", self.folder, self.database, LIMITS, repair=repair).run()

    def forget(self, kind: str) -> None:
        lost = [item.id for item in items(self.database) if item.kind == kind]
        assert lost
        with self.database.write() as session:
            session.execute(delete(Sighting).where(Sighting.item_id.in_(lost)))
            session.execute(delete(InboundItem).where(InboundItem.id.in_(lost)))


@pytest.fixture
def drop(database_url: str, tmp_path: Path) -> Iterator[FolderHarness]:
    database = make_tables(database_url)
    yield FolderHarness(tmp_path / "scans", database)
    database.close()


def fill(drop: FolderHarness) -> None:
    drop.put("a.eml", message(1))
    drop.put("many.mbox", MBOX)
    drop.put("form.json", json.dumps(FORM).encode())
    drop.put("export.xlsx", b"PK\x03\x04 the rest of a workbook")
    drop.accept()


def test_archived_files_have_no_gap(drop: FolderHarness) -> None:
    fill(drop)
    assert len(list((drop.path / "done").iterdir())) == 5  # and a receipt
    comparison = drop.reconcile()
    assert (comparison.server, comparison.ledger, comparison.gaps, comparison.notes) == (6, 6, [], [])


@pytest.mark.parametrize(("kind", "count"), [("mail", 4), ("form", 1), ("workbook", 1)])
def test_file_in_done_that_the_ledger_lacks_is_a_gap_and_is_repaired(drop: FolderHarness, kind: str, count: int) -> None:
    fill(drop)
    drop.forget(kind)
    comparison = drop.reconcile()
    assert [gap.code for gap in comparison.gaps] == ["unknown_file"] * count
    assert (comparison.server, comparison.ledger) == (6, 6 - count)
    repaired = drop.reconcile(repair=True)
    assert (repaired.open_gaps, repaired.has_problem) == (0, False)
    again = [item for item in items(drop.database) if item.kind == kind]
    assert [(item.state, item.source) for item in again] == [("waiting", "folder:scans")] * count
    assert not drop.reconcile().has_problem


def test_file_is_found_by_its_content_and_not_by_its_name(drop: FolderHarness) -> None:
    fill(drop)
    shutil.copy(drop.path / "done/a.eml", drop.path / "done/another name.eml")
    assert not drop.reconcile().has_problem
    (drop.path / "done/a.eml").write_bytes(message(99))
    assert [gap.code for gap in drop.reconcile().gaps] == ["unknown_file"]


def test_new_file_is_unread_and_late_after_ten_minutes(drop: FolderHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop.put("a.eml", message(1))
    # Its own age does not count: it was moved here just now.
    os.utime(path, (0, 0))
    comparison = drop.reconcile()
    assert (comparison.server, comparison.ledger, comparison.unread, comparison.has_problem) == (1, 0, 1, False)
    later = clock.now() + 2 * MAX_UNREAD_AGE
    monkeypatch.setattr(clock, "now", lambda: later)
    comparison = drop.reconcile(repair=True)
    assert [(gap.place, gap.code) for gap in comparison.gaps] == [("a.eml", "late_file")]
    assert (comparison.unread, comparison.has_problem) == (0, True)
    assert items(drop.database) == []


def test_file_without_outcome_is_no_gap_and_one_that_stays_after_it_is(
    drop: FolderHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop.put("many.mbox", MBOX)
    drop.accept(settle=False)
    later = clock.now() + 2 * MAX_UNREAD_AGE
    monkeypatch.setattr(clock, "now", lambda: later)
    comparison = drop.reconcile()
    assert (comparison.server, comparison.ledger, comparison.gaps) == (1, 1, [])
    values = {"state": "settled", "disposition": "ticket", "settled_at": later - 2 * MAX_UNREAD_AGE}
    with drop.database.write() as session:
        session.execute(update(InboundItem).values(values))
    assert [(gap.place, gap.code) for gap in drop.reconcile().gaps] == [("many.mbox", "file_not_put_away")]


def test_files_that_are_never_accepted_are_ignored(drop: FolderHarness) -> None:
    drop.put(".hidden.eml", message(1))
    drop.put("half.eml.part", message(1))
    drop.put("a.eml", message(1))
    (drop.path / "deeper").mkdir()
    drop.accept()
    (drop.path / "done/notes.pdf").write_bytes(b"%PDF-1.7")
    (drop.path / "done/a.eml.txt").write_bytes(b"Message 2: a reason")
    comparison = drop.reconcile()
    assert (comparison.server, comparison.ledger, comparison.gaps) == (1, 1, [])
    assert comparison.notes == ["done/notes.pdf is no file that casemill accepts, and was not put there by casemill"]


def test_missing_folder_is_a_problem(drop: FolderHarness) -> None:
    shutil.rmtree(drop.path)
    comparison = drop.reconcile()
    assert comparison.problem is not None and comparison.problem.code == "unreachable_folder"
    assert comparison.has_problem


def test_watcher_at_work_causes_no_gap(drop: FolderHarness) -> None:
    stop = threading.Event()
    watcher = FolderWatcher("scans", drop.folder, drop.database, LIMITS, stop, lambda *_, **__: b"receipt")
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()
    try:
        for number in range(30):
            drop.put(f"{number}.eml", message(number))
            values = {"state": "settled", "disposition": "ticket", "settled_at": clock.now()}
            drop.database.transaction(lambda session, v=values: session.execute(update(InboundItem).values(v)))  # type: ignore[misc]
            assert drop.reconcile().gaps == []
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join(scale_budget(10))
    assert len(sightings(drop.database)) >= 1
