"""The folder watcher: which files it accepts, when, and where it archives them."""

import ctypes
import errno
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from core import clock
from core.database.session import Database
from core.leases import LeaseHolder
from core.settings.sections import Folder, Limits
from ingest.ledger.accept import accept, blobs
from ingest.ledger.models import InboundItem
from ingest.ledger.types import ROW, Arrival
from ingest.sources import file_archive
from ingest.sources.folder import FolderWatcher
from tests.ingest.sources.support import LIMITS, items, message, sightings
from tests.waiting import scale_budget, wait_until

XLSX = b"PK\x03\x04 the rest of a workbook"
SEPARATOR = b"From ann@clinic.example Mon Nov  2 09:00:00 2026\r\n"
FORM = {"FormID": "5512345", "UniqueID": "1512345678", "HandshakeKey": "demo-shared-secret", "email": "dana@clinic.example"}


def make_receipt(item_id: int, *, repeated: bool = False) -> bytes:
    return f"receipt of {item_id}{' again' if repeated else ''}".encode()


class FolderHarness:
    """A watched folder and its watcher."""

    def __init__(self, path: Path, database: Database, limits: Limits = LIMITS, settle_seconds: float = 0.0) -> None:
        self.path = path
        self.database = database
        self.stop = threading.Event()
        self._arguments = (Folder(path=path, settle_seconds=settle_seconds, poll_seconds=0.05), database, limits, self.stop)
        self.restart()

    def restart(self) -> None:
        self.watcher = FolderWatcher("scans", *self._arguments, make_receipt)

    def put(self, name: str, content: bytes) -> Path:
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / name
        path.write_bytes(content)
        return path

    def poll(self) -> int:
        return self.watcher.poll()

    def settle(self, disposition: str = "ticket", reason: str = "A reason", item_id: int | None = None) -> None:
        """Settle items, as the pipeline does."""
        values = {"state": "settled", "disposition": disposition, "reason": reason, "settled_at": clock.now()}
        statement = update(InboundItem).where(InboundItem.state != "settled").values(values)
        with self.database.write() as session:
            session.execute(statement if item_id is None else statement.where(InboundItem.id == item_id))

    def names(self, folder: str = "") -> list[str]:
        return sorted(path.name for path in (self.path / folder).iterdir() if path.is_file())


@contextmanager
def without_privileges() -> Iterator[None]:
    """Drop root's right to read every file (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) in this thread, for the block."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    head, before, without = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(head, before) == 0
    without[:] = before[:]
    without[0] &= ~0b110
    assert libc.capset(head, without) == 0
    try:
        yield
    finally:
        assert libc.capset(head, before) == 0


@pytest.fixture
def drop(tmp_path: Path, database: Database) -> Iterator[FolderHarness]:
    yield FolderHarness(tmp_path / "scans", database)


@pytest.mark.parametrize(
    ("name", "content", "family", "kind"),
    [
        ("a.xlsx", XLSX, "workbook", "workbook"),
        ("A.XLSM", XLSX, "workbook", "workbook"),
        ("locked.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 encrypted", "workbook", "workbook"),
        ("a.eml", message(1), "mail", "mail"),
    ],
)
def test_file_is_accepted_by_its_kind(drop: FolderHarness, name: str, content: bytes, family: str, kind: str) -> None:
    path = drop.put(name, content)
    drop.poll()
    item = items(drop.database)[0]
    assert (item.family, item.kind, item.source, item.size) == (family, kind, "folder:scans", len(content))
    assert item.extra == {"file": name, "folder": "scans"}
    status = path.stat()
    assert sightings(drop.database)[0].place == f"{name}:{status.st_ino}:{status.st_mtime_ns}"


def test_form_is_accepted_under_its_submission_number_and_without_its_secret(drop: FolderHarness) -> None:
    drop.put("form.json", json.dumps(FORM).encode())
    drop.poll()
    item = items(drop.database)[0]
    assert (item.family, item.kind, item.identity) == ("formstack", "form", "5512345/1512345678")
    assert item.extra["content_type"] == "application/json"
    with drop.database.read() as session:
        stored = blobs.get(session, item.sha256)
    assert b"demo-shared-secret" not in stored and b"dana@clinic.example" in stored


def test_each_message_of_an_mbox_is_an_item(drop: FolderHarness) -> None:
    drop.put("old.mbox", b"".join(SEPARATOR + message(number) + b"\r\n" for number in (1, 2, 3)))
    drop.poll()
    assert len(items(drop.database)) == 3
    assert [sighting.place.rpartition(":")[2] for sighting in sightings(drop.database)] == ["0", "1", "2"]
    drop.settle()
    drop.poll()
    assert drop.names("done") == ["old.mbox"]


def test_file_stays_until_its_item_is_settled_and_then_moves_to_done(drop: FolderHarness) -> None:
    drop.put("a.eml", message(1))
    assert [drop.poll(), drop.poll()] == [0, 0]
    assert drop.names() == ["a.eml"]
    drop.settle()
    assert drop.poll() == 1
    assert (drop.names(), drop.names("done")) == ([], ["a.eml"])
    assert len(items(drop.database)) == 1


def test_workbook_waits_for_its_rows_and_gets_a_receipt(drop: FolderHarness) -> None:
    drop.put("messages.xlsx", XLSX)
    drop.poll()
    book = items(drop.database)[0].id
    row = Arrival(ROW, "row", f"workbook:{book}", "Sheet1!2", b"{}", clock.now(), "row 1", parent_id=book)
    with drop.database.write() as session:
        accept(session, [row], clock.now())
    drop.settle("expanded", item_id=book)
    assert drop.poll() == 0
    drop.settle()
    assert drop.poll() == 1
    assert drop.names("done") == ["messages.receipt.xlsx", "messages.xlsx"]
    assert (drop.path / "done" / "messages.receipt.xlsx").read_bytes() == f"receipt of {book}".encode()


def test_repeated_workbook_gets_a_number_and_a_receipt_that_says_repeated(drop: FolderHarness) -> None:
    for _ in range(2):
        drop.put("messages.xlsx", XLSX)
        drop.poll()
        drop.settle("expanded")
        drop.poll()
    assert len(items(drop.database)) == 1
    assert drop.names("done") == [
        "messages-2.receipt.xlsx",
        "messages-2.xlsx",
        "messages.receipt.xlsx",
        "messages.xlsx",
    ]
    assert (drop.path / "done" / "messages-2.receipt.xlsx").read_bytes().endswith(b" again")
    assert not (drop.path / "done" / "messages.receipt.xlsx").read_bytes().endswith(b" again")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("old.xls", b"\xd0\xcf\x11\xe0", "save it as .xlsx"),
        ("list.csv", b"a,b\n", "save it as .xlsx"),
        ("photo.png", b"\x89PNG", "Files of this kind are not accepted"),
        ("README", b"text", "Files of this kind are not accepted"),
        ("empty.eml", b"", "empty"),
        ("fake.xlsx", b"not a workbook", "not an Excel workbook"),
        ("fake.eml", b"PK\x03\x04", "not a mail"),
        ("words.eml", b"just some words\n", "not a mail"),
        ("fake.mbox", b"Subject: a\n\n", "not an mbox"),
        ("bad.json", b"{", "not a valid JSON object"),
        ("other.json", b'{"UniqueID": "1"}', "form"),
        ("list.json", b"[1]", "not a valid JSON object"),
    ],
)
def test_refused_file_moves_to_rejected_with_an_explanation(drop: FolderHarness, name: str, content: bytes, words: str) -> None:
    drop.put(name, content)
    drop.put("good.eml", message(1))
    assert drop.poll() == 1
    assert drop.names("rejected") == sorted([name, f"{name}.txt"])
    explanation = (drop.path / "rejected" / f"{name}.txt").read_text()
    assert words in explanation and explanation.endswith(".\n")
    assert len(items(drop.database)) == 1


def test_oversize_file_is_rejected_without_being_read(tmp_path: Path, database: Database) -> None:
    drop = FolderHarness(tmp_path / "scans", database, Limits(message_bytes=1000, form_bytes=50))
    with drop.put("huge.eml", b"").open("r+b") as file:
        file.truncate(60 * 1024 * 1024)
    drop.put("huge.xlsx", XLSX + b"x" * 1000)
    drop.put("form.json", json.dumps(FORM).encode())
    assert drop.poll() == 3
    assert "the limit is 1,000" in (drop.path / "rejected" / "huge.eml.txt").read_text()
    assert "the limit is 50" in (drop.path / "rejected" / "form.json.txt").read_text()
    assert items(database) == []


def test_only_the_oversize_message_of_an_mbox_is_cut_to_its_header(tmp_path: Path, database: Database) -> None:
    drop = FolderHarness(tmp_path / "scans", database, Limits(message_bytes=1000))
    drop.put("a.mbox", SEPARATOR + message(1, 5000) + b"\r\n\r\n" + SEPARATOR + message(2) + b"\r\n")
    drop.poll()
    assert sorted(item.kind for item in items(database)) == ["mail", "oversize"]
    large = next(item for item in items(database) if item.kind == "oversize")
    assert large.extra["size"] == len(message(1, 5000) + b"\r\n")


@pytest.mark.parametrize("disposition", ["rejected", "quarantined"])
def test_file_of_a_refused_item_moves_to_rejected_with_the_reason(drop: FolderHarness, disposition: str) -> None:
    drop.put("a.xlsx", XLSX)
    drop.poll()
    drop.settle(disposition, "The workbook needs a password that is not configured")
    drop.poll()
    assert drop.names("rejected") == ["a.xlsx", "a.xlsx.txt"]
    assert "password" in (drop.path / "rejected" / "a.xlsx.txt").read_text()
    assert drop.names("done") == []


def test_mbox_with_one_refused_message_moves_to_done_with_the_reason(drop: FolderHarness) -> None:
    drop.put("a.mbox", b"".join(SEPARATOR + message(number) + b"\r\n" for number in (1, 2, 3)))
    drop.poll()
    second = sightings(drop.database)[1].item_id
    drop.settle("quarantined", "It could not be read", second)
    drop.settle()
    drop.poll()
    assert (drop.path / "done" / "a.mbox.txt").read_text() == "Message 2: It could not be read\n"


def test_file_that_still_changes_is_not_accepted(tmp_path: Path, database: Database) -> None:
    drop = FolderHarness(tmp_path / "scans", database, settle_seconds=0.3)
    path = drop.put("a.eml", message(1))
    for _ in range(6):
        drop.poll()
        with path.open("ab") as file:
            file.write(b"more\r\n")
        time.sleep(0.1)
    assert items(database) == []
    drop.poll()
    time.sleep(0.4)
    drop.poll()
    assert [item.size for item in items(database)] == [len(message(1)) + 36]


def test_hidden_and_unfinished_files_and_folders_are_ignored(drop: FolderHarness) -> None:
    for name in (".hidden.eml", "~$open.xlsx", "coming.xlsx.part", "upload.tmp"):
        drop.put(name, b"x")
    (drop.path / "archive.eml").mkdir()
    assert drop.poll() == 0
    assert drop.names() == [".hidden.eml", "coming.xlsx.part", "upload.tmp", "~$open.xlsx"]


def test_link_is_rejected_and_not_followed(drop: FolderHarness, tmp_path: Path) -> None:
    secret = tmp_path / "secret.eml"
    secret.write_bytes(message(1))
    drop.path.mkdir()
    (drop.path / "a.eml").symlink_to(secret)
    drop.poll()
    assert items(drop.database) == []
    assert (drop.path / "rejected" / "a.eml").is_symlink()
    assert secret.exists()


def test_no_archived_file_is_overwritten(drop: FolderHarness) -> None:
    for number in (1, 2, 3):
        drop.put("a.eml", message(number))
        drop.poll()
        drop.settle()
        drop.poll()
        drop.put("b.csv", str(number).encode())
        drop.poll()
    assert [(drop.path / "done" / name).read_bytes() for name in drop.names("done")] == [message(2), message(3), message(1)]
    assert drop.names("done") == ["a-2.eml", "a-3.eml", "a.eml"]
    assert drop.names("rejected") == ["b-2.csv", "b-2.csv.txt", "b-3.csv", "b-3.csv.txt", "b.csv", "b.csv.txt"]


def test_receipt_edited_by_a_person_is_not_overwritten(drop: FolderHarness) -> None:
    (drop.path / "done").mkdir(parents=True)
    (drop.path / "done" / "a.receipt.xlsx").write_bytes(b"corrected by hand")
    drop.put("a.xlsx", XLSX)
    drop.poll()
    drop.settle("expanded")
    drop.poll()
    assert (drop.path / "done" / "a.receipt.xlsx").read_bytes() == b"corrected by hand"
    assert drop.names("done") == ["a-2.receipt.xlsx", "a-2.xlsx", "a.receipt.xlsx"]


def test_file_whose_name_is_long_or_not_utf8_is_archived(either_database: Database, tmp_path: Path) -> None:
    drop = FolderHarness(tmp_path / "scans", either_database)
    drop.put("n" * 250 + ".csv", b"x")
    drop.put(os.fsdecode(b"caf\xe9.eml"), message(1))
    drop.poll()
    assert len(drop.names("rejected")) == 2
    drop.settle()
    drop.poll()
    assert drop.names("done") == [os.fsdecode(b"caf\xe9.eml")]


def test_restarted_watcher_accepts_nothing_twice(drop: FolderHarness) -> None:
    drop.put("a.mbox", b"".join(SEPARATOR + message(number) + b"\r\n" for number in (1, 2)))
    drop.poll()
    drop.restart()
    drop.poll()
    assert (len(items(drop.database)), len(sightings(drop.database))) == (2, 2)
    drop.settle()
    drop.restart()
    assert drop.poll() == 1


def test_unreadable_file_is_logged_once_and_stops_no_other(drop: FolderHarness, caplog: pytest.LogCaptureFixture) -> None:
    drop.put("a.eml", message(1)).chmod(0)
    drop.put("b.eml", message(2))
    with without_privileges(), caplog.at_level(logging.WARNING, "casemill.sources"):
        for _ in range(3):
            drop.poll()
    assert [item.extra["file"] for item in items(drop.database)] == ["b.eml"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert drop.names() == ["a.eml", "b.eml"]


def test_receipt_that_cannot_be_written_is_retried(drop: FolderHarness) -> None:
    drop.put("a.xlsx", XLSX)
    drop.poll()
    drop.settle("expanded")
    done = drop.path / "done"
    done.rmdir()
    done.write_text("a file where the folder should be")
    assert drop.poll() == 0
    assert drop.names() == ["a.xlsx", "done"]
    done.unlink()
    assert drop.poll() == 1
    assert drop.names("done") == ["a.receipt.xlsx", "a.xlsx"]


def test_file_is_copied_to_another_file_system(drop: FolderHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    drop.put("a.xlsx", XLSX)
    drop.poll()
    drop.settle("expanded")
    assert drop.poll() == 1
    assert drop.names() == []
    assert drop.names("done") == ["a.receipt.xlsx", "a.xlsx"]
    assert (drop.path / "done" / "a.xlsx").read_bytes() == XLSX


def test_archiving_continues_where_it_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "done"
    folder.mkdir()
    path = tmp_path / "a.xlsx"
    path.write_bytes(XLSX)
    os.link(path, folder / "a.xlsx")
    (folder / "a.receipt.xlsx").write_bytes(b"half")
    file_archive.archive_file(path, folder, (".receipt.xlsx", b"whole"))
    assert not path.exists()
    assert sorted(one.name for one in folder.iterdir()) == ["a.receipt.xlsx", "a.xlsx"]
    assert (folder / "a.receipt.xlsx").read_bytes() == b"whole"


def test_watcher_does_nothing_while_another_process_holds_the_lease(drop: FolderHarness) -> None:
    other = LeaseHolder(drop.database, "folder:scans")
    assert other.acquire()
    drop.put("a.eml", message(1))
    drop.poll()
    assert items(drop.database) == []
    other.release()
    drop.poll()
    assert len(items(drop.database)) == 1


def test_run_creates_the_folder_and_accepts_new_files(tmp_path: Path, either_database: Database) -> None:
    drop = FolderHarness(tmp_path / "not" / "there" / "yet", either_database)
    thread = threading.Thread(target=drop.watcher.run, daemon=True)
    thread.start()
    wait_until(lambda: (drop.path / "rejected").is_dir())
    drop.put("a.eml", message(1))
    wait_until(lambda: items(either_database))
    drop.settle()
    wait_until(lambda: drop.names("done") == ["a.eml"])
    drop.stop.set()
    thread.join(scale_budget(5))
    assert not thread.is_alive()
