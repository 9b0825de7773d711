"""A watched folder held against the ledger."""

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
from ops.reconcile.folders import FolderCheck
from ops.reconcile.result import LATE, SourceComparison
from tests.ingest.sources.support import LIMITS, items, make_tables, message, sightings

SEPARATOR = b"From ann@clinic.example Mon Nov  2 09:00:00 2026\r\n"
FORM = {"FormID": "5512345", "UniqueID": "1512345678", "HandshakeKey": "demo-shared-secret", "email": "dana@clinic.example"}
MBOX = b"".join(SEPARATOR + message(number) + b"\r\n" for number in (11, 12, 13))


class Drop:
    """A folder, its watcher and its balance."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self.database = database
        self.folder = Folder(path=path, settle_seconds=0, poll_seconds=0.05)
        path.mkdir()

    def put(self, name: str, content: bytes) -> Path:
        path = self.path / name
        path.write_bytes(content)
        return path

    def take(self, *, settle: bool = True) -> None:
        """What the watcher does, and the pipeline between its looks."""
        watcher = FolderWatcher("scans", self.folder, self.database, LIMITS, threading.Event(), lambda *_, **__: b"receipt")
        watcher.poll()
        if settle:
            values = {"state": "settled", "disposition": "ticket", "reason": "A reason", "settled_at": clock.now()}
            with self.database.write() as session:
                session.execute(update(InboundItem).values(values))
            watcher.poll()

    def reconcile(self, *, repair: bool = False) -> SourceComparison:
        return FolderCheck("scans", self.folder, self.database, LIMITS, repair=repair).run()

    def forget(self, kind: str) -> None:
        lost = [item.id for item in items(self.database) if item.kind == kind]
        assert lost
        with self.database.write() as session:
            session.execute(delete(Sighting).where(Sighting.item_id.in_(lost)))
            session.execute(delete(InboundItem).where(InboundItem.id.in_(lost)))


@pytest.fixture
def drop(database_url: str, tmp_path: Path) -> Iterator[Drop]:
    database = make_tables(database_url)
    yield Drop(tmp_path / "scans", database)
    database.close()


def fill(drop: Drop) -> None:
    drop.put("a.eml", message(1))
    drop.put("many.mbox", MBOX)
    drop.put("form.json", json.dumps(FORM).encode())
    drop.put("export.xlsx", b"PK\x03\x04 the rest of a workbook")
    drop.take()


def test_what_was_taken_and_put_away_has_no_gap(drop: Drop) -> None:
    fill(drop)
    assert len(list((drop.path / "done").iterdir())) == 5  # and a receipt
    balance = drop.reconcile()
    assert (balance.server, balance.ledger, balance.gaps, balance.notes) == (6, 6, [], [])


@pytest.mark.parametrize(("kind", "count"), [("mail", 4), ("form", 1), ("workbook", 1)])
def test_what_lies_in_done_without_a_ledger_row_is_a_gap_and_is_mended(drop: Drop, kind: str, count: int) -> None:
    fill(drop)
    drop.forget(kind)
    balance = drop.reconcile()
    assert [gap.code for gap in balance.gaps] == ["unknown_file"] * count
    assert (balance.server, balance.ledger) == (6, 6 - count)
    repaired = drop.reconcile(repair=True)
    assert (repaired.open_gaps, repaired.is_wrong) == (0, False)
    again = [item for item in items(drop.database) if item.kind == kind]
    assert [(item.state, item.source) for item in again] == [("waiting", "folder:scans")] * count
    assert not drop.reconcile().is_wrong


def test_a_file_is_known_by_its_content_and_not_by_its_name(drop: Drop) -> None:
    fill(drop)
    shutil.copy(drop.path / "done/a.eml", drop.path / "done/another name.eml")
    assert not drop.reconcile().is_wrong
    (drop.path / "done/a.eml").write_bytes(message(99))
    assert [gap.code for gap in drop.reconcile().gaps] == ["unknown_file"]


def test_a_new_file_is_on_its_way_and_late_after_ten_minutes(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drop.put("a.eml", message(1))
    os.utime(path, (0, 0))  # its own age is nothing: it has just been moved here
    balance = drop.reconcile()
    assert (balance.server, balance.ledger, balance.unread, balance.is_wrong) == (1, 0, 1, False)
    later = clock.now() + 2 * LATE
    monkeypatch.setattr(clock, "now", lambda: later)
    balance = drop.reconcile(repair=True)
    assert [(gap.place, gap.code) for gap in balance.gaps] == [("a.eml", "late_file")]
    assert (balance.unread, balance.is_wrong) == (0, True)
    assert items(drop.database) == []


def test_a_file_that_is_worked_on_is_no_gap_and_one_that_stays_after_its_outcome_is(
    drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop.put("many.mbox", MBOX)
    drop.take(settle=False)
    later = clock.now() + 2 * LATE
    monkeypatch.setattr(clock, "now", lambda: later)
    balance = drop.reconcile()
    assert (balance.server, balance.ledger, balance.gaps) == (1, 1, [])
    values = {"state": "settled", "disposition": "ticket", "settled_at": later - 2 * LATE}
    with drop.database.write() as session:
        session.execute(update(InboundItem).values(values))
    assert [(gap.place, gap.code) for gap in drop.reconcile().gaps] == [("many.mbox", "file_not_put_away")]


def test_what_is_never_taken_is_left_alone(drop: Drop) -> None:
    drop.put(".hidden.eml", message(1))
    drop.put("half.eml.part", message(1))
    drop.put("a.eml", message(1))
    (drop.path / "deeper").mkdir()
    drop.take()
    (drop.path / "done/notes.pdf").write_bytes(b"%PDF-1.7")
    (drop.path / "done/a.eml.txt").write_bytes(b"Message 2: a reason")
    balance = drop.reconcile()
    assert (balance.server, balance.ledger, balance.gaps) == (1, 1, [])
    assert balance.notes == ["done/notes.pdf is nothing that is ever taken, and was put there by somebody"]


def test_a_folder_that_is_not_there_is_a_problem(drop: Drop) -> None:
    shutil.rmtree(drop.path)
    balance = drop.reconcile()
    assert balance.problem is not None and balance.problem.code == "unreachable_folder"
    assert balance.is_wrong


def test_a_watcher_at_work_makes_no_gap(drop: Drop) -> None:
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
        thread.join(10)
    assert len(sightings(drop.database)) >= 1
