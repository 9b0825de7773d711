"""Watch a folder: accept the files in it into the ledger, and archive each file once all its items have their outcome.

The place of a file is never state. The sighting (name, inode, time) shows which files are accepted, and a file stays where it is
until everything in it is settled. Then it moves to ``done/``, or to ``rejected/`` with the reasons in a ``.txt`` beside it.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import clock
from core.database.session import Database, is_unavailable
from core.failpoints import failpoint
from core.reasons import Reason
from core.settings.sections import Folder, Limits
from ingest.ledger.accept import accept
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import Arrival, Source
from ingest.sources.file_archive import archive_file
from ingest.sources.file_kinds import Origin, read_arrivals
from ingest.sources.held_lease import HeldLease, LeaseLostError
from ingest.workbooks.expand import is_finished
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.sources.folder")

DONE, REJECTED = "done", "rejected"
#: Suffixes of files that a program is still writing.
UNFINISHED_SUFFIXES = (".part", ".partial", ".filepart", ".crdownload", ".tmp")
#: Of one transaction: SQLite's write lock is held while its arrivals are stored.
MAX_BATCH_ARRIVALS, MAX_BATCH_BYTES = 100, 4 * 1024 * 1024
#: Between two attempts while the database is unavailable.
RETRY_SECONDS = 2.0


class ReceiptMaker(Protocol):
    """Makes the receipt workbook of an item; ``repeated`` when the ledger had the same file before."""

    def __call__(self, item_id: int, *, repeated: bool = False) -> bytes: ...


@dataclass(frozen=True, slots=True)
class WatchedFile:
    """The state of a file at one poll; equal states mean that the file has not changed."""

    path: Path
    size: int
    mtime_ns: int
    inode: int
    is_regular: bool

    @property
    def place(self) -> str:
        """The file's place in the ledger; bytes of the name that are not UTF-8 are written as escapes."""
        name = os.fsencode(self.path.name).decode("utf-8", "backslashreplace")
        return f"{name}:{self.inode}:{self.mtime_ns}"


class FolderWatcher:
    """Watches one folder until ``stop``. ``make_receipt`` makes the receipt of an accepted workbook."""

    def __init__(
        self,
        name: str,
        folder: Folder,
        database: Database,
        limits: Limits,
        stop: threading.Event,
        make_receipt: ReceiptMaker,
    ) -> None:
        self.name = name
        self._folder = folder
        self._path = folder.path
        self._database = database
        self._limits = limits
        self._stop = stop
        self._make_receipt = make_receipt
        self._source = str(Source("folder", name))
        self._lease = HeldLease(database, self._source)
        self._first_seen: dict[WatchedFile, float] = {}
        self._item_ids: dict[str, list[int]] = {}
        self._warned: set[str] = set()

    def run(self) -> None:
        """Poll until ``stop`` (a thread's target). While the database is unavailable the files stay where they are."""
        while not self._stop.is_set():
            pause = self._folder.poll_seconds
            try:
                self.poll()
                self._warned.discard("database")
            except Exception as error:
                if not is_unavailable(error):
                    raise
                self._warn_once("database", error)
                pause = RETRY_SECONDS
            self._stop.wait(pause)

    def poll(self) -> int:
        """Accept new files that no longer change, archive files that have their outcome; return how many were archived.

        Does nothing while another process holds the folder's lease. Raises only when the database is unavailable.
        """
        files = self._find_unchanged_files()
        if not files or not self._lease.acquire():
            return 0
        with self._lease:
            archived = 0
            for file in files:
                if self._stop.is_set() or not self._lease.is_held:
                    break
                archived += self._process(file)
            return archived

    # -- the folder

    def _find_unchanged_files(self) -> list[WatchedFile]:
        """Return the files that have not changed for a while, oldest first."""
        try:
            for name in (DONE, REJECTED):
                (self._path / name).mkdir(parents=True, exist_ok=True)
            files = list(self._list_files())
        except OSError as error:
            self._warn_once("folder", error)
            return []
        self._warned.discard("folder")
        now = time.monotonic()
        self._first_seen = {file: self._first_seen.get(file, now) for file in files}
        places = {file.place for file in files}
        self._item_ids = {place: ids for place, ids in self._item_ids.items() if place in places}
        unchanged = [file for file in files if self._is_unchanged(file, now - self._first_seen[file])]
        return sorted(unchanged, key=lambda file: (file.mtime_ns, file.path.name))

    def _list_files(self) -> Iterator[WatchedFile]:
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.startswith((".", "~$")) or entry.name.lower().endswith(UNFINISHED_SUFFIXES):
                    continue
                file = self._read_state(self._path / entry.name)
                if file is not None:
                    yield file

    def _read_state(self, path: Path) -> WatchedFile | None:
        """Return the state of a file or a link; None for anything else, and for a file that is gone or not accessible."""
        try:
            status = path.lstat()
        except OSError as error:
            self._warn_once(path.name, error)
            return None
        is_regular = stat.S_ISREG(status.st_mode)
        if not is_regular and not stat.S_ISLNK(status.st_mode):
            return None
        return WatchedFile(path, status.st_size, status.st_mtime_ns, status.st_ino, is_regular)

    def _is_unchanged(self, file: WatchedFile, seconds_unchanged: float) -> bool:
        """Compare with earlier polls and with the wall clock. A modification time in the future is ignored."""
        age_seconds = clock.now().timestamp() - file.mtime_ns / 1e9
        settle_seconds = self._folder.settle_seconds
        return seconds_unchanged >= settle_seconds and not 0 <= age_seconds < settle_seconds

    # -- one file

    def _process(self, file: WatchedFile) -> int:
        """Accept or archive one file; return how many were archived. An error is logged once and affects no other file."""
        try:
            refusal = None if file.place in self._item_ids else self._accept_file(file)
            is_archived = self._reject(file, refusal) if refusal else self._archive_if_settled(file)
        except LeaseLostError:
            return 0
        except Exception as error:
            if is_unavailable(error):
                raise
            self._warn_once(file.place, error)
            return 0
        self._warned.discard(file.place)
        return int(is_archived)

    def _accept_file(self, file: WatchedFile) -> Reason | None:
        """Commit the content of the file to the ledger, or return why not. A repetition after a crash changes nothing."""
        if not file.is_regular:
            return Reason("not_a_file", "This is a link to a file and not a file.")
        name = file.place.rpartition(":")[0].rpartition(":")[0]
        origin = Origin(self._source, file.place, {"file": name, "folder": self.name}, clock.now())
        arrivals = read_arrivals(file.path, file.path.suffix.lower(), origin, self._limits)
        if self._read_state(file.path) != file:
            # It changed while it was read: a later poll accepts it.
            return None
        if isinstance(arrivals, Reason):
            return arrivals
        item_ids: list[int] = []
        for batch in split_arrivals(arrivals):
            item_ids += self._accept(batch)
            failpoint("folder.accepted")
        self._item_ids[file.place] = item_ids
        request_drain("ingest.drain")
        return None

    def _accept(self, arrivals: list[Arrival]) -> list[int]:
        def unit(session: Session) -> list[int]:
            self._lease.check(session)
            return [one.item_id for one in accept(session, arrivals, clock.now())]

        return self._database.transaction(unit)

    def _archive_if_settled(self, file: WatchedFile) -> bool:
        """Archive the file once all its items have their outcome; return whether they have."""
        with self._database.read() as session:
            items = _read_settled(session, self._item_ids.get(file.place, []))
            repeated = _is_repeated(session, self._source, file.place)
        if not items:
            return False
        refused = {index: item for index, item in enumerate(items) if item.disposition in ("rejected", "quarantined")}
        if refused:
            folder = REJECTED if len(refused) == len(items) else DONE
            self._archive(file, folder, (".txt", _explain_refusals(refused, len(items))))
        elif items[0].kind == "workbook":
            self._archive(file, DONE, (".receipt.xlsx", self._make_receipt(items[0].id, repeated=repeated)))
        else:
            self._archive(file, DONE, None)
        return True

    def _reject(self, file: WatchedFile, reason: Reason) -> bool:
        self._archive(file, REJECTED, (".txt", f"{reason.text}\n".encode()))
        log.info("dropped file rejected", extra={"folder": self.name, "reason": reason.code})
        return True

    def _archive(self, file: WatchedFile, folder: str, sidecar: tuple[str, bytes] | None) -> None:
        failpoint("folder.settled")
        archive_file(file.path, self._path / folder, sidecar)
        self._item_ids.pop(file.place, None)

    def _warn_once(self, subject: str, error: Exception) -> None:
        """Log an error once, until ``subject`` works again. The line contains neither the file's name nor its text."""
        if subject not in self._warned:
            self._warned.add(subject)
            log.warning("folder watcher error", extra={"folder": self.name, "error": type(error).__name__})


def split_arrivals(arrivals: Iterator[Arrival]) -> Iterator[list[Arrival]]:
    """Split into batches of at most :data:`MAX_BATCH_ARRIVALS` and :data:`MAX_BATCH_BYTES`; a larger arrival goes alone."""
    batch: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        if batch and (len(batch) >= MAX_BATCH_ARRIVALS or size + len(arrival.raw) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(arrival)
        size += len(arrival.raw)
    if batch:
        yield batch


def _read_settled(session: Session, item_ids: Sequence[int]) -> list[InboundItem]:
    """Return the items in that order, or none while one of them, or a row of a workbook, has no outcome."""
    items: list[InboundItem] = []
    for start in range(0, len(item_ids), MAX_BATCH_ARRIVALS):
        chunk = item_ids[start : start + MAX_BATCH_ARRIVALS]
        rows = {item.id: item for item in session.execute(select(InboundItem).where(InboundItem.id.in_(chunk))).scalars()}
        if any(item_id not in rows or not _is_finished(session, rows[item_id]) for item_id in chunk):
            return []
        items += [rows[item_id] for item_id in chunk]
    return items


def _is_finished(session: Session, item: InboundItem) -> bool:
    return is_finished(session, item.id) if item.kind == "workbook" else item.state == "settled"


def _is_repeated(session: Session, source: str, place: str) -> bool:
    """Return whether the ledger had the file's item before this file was dropped."""
    statement = select(Sighting.first).where(Sighting.source == source, Sighting.place == place)
    return session.execute(statement).scalar_one_or_none() is False


def _explain_refusals(refused: Mapping[int, InboundItem], count: int) -> bytes:
    """Return the text of the ``.txt``: the reason, or one line for each refused message of an mbox."""
    if count == 1:
        return f"{refused[0].reason}\n".encode()
    return "".join(f"Message {index + 1}: {item.reason}\n" for index, item in refused.items()).encode()
