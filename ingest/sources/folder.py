"""The folder watcher: files dropped in a folder become items of the ledger and are put away once they have their outcome.

A file's place is never state: what was taken is known by its sighting (name, inode, time), and a file stays where it is
until everything in it is settled. Then it goes to ``done/``, or to ``rejected/`` with a ``.txt`` beside it that says why.
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
from ingest.ledger.types import Arrival
from ingest.sources.file_archive import put_away
from ingest.sources.file_kinds import Origin, read_arrivals
from ingest.sources.held_lease import HeldLease, LeaseLostError
from ingest.workbooks.expand import is_finished
from runtime.drain_requests import request_drain

log = logging.getLogger("casemill.sources")

DONE, REJECTED = "done", "rejected"
#: Names that programs give to files they are still busy with.
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp")
BATCH_FILES, BATCH_BYTES = 100, 4 * 1024 * 1024
WAIT_PAUSE = 2.0


class Receipt(Protocol):
    """Makes the receipt workbook of an item; ``repeated`` when the same file had been there before."""

    def __call__(self, item_id: int, *, repeated: bool = False) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was seen; two looks that are equal saw the same file unchanged."""

    path: Path
    size: int
    mtime_ns: int
    inode: int
    regular: bool

    @property
    def place(self) -> str:
        """The file's place in the ledger; a name that is no UTF-8 is written out."""
        name = os.fsencode(self.path.name).decode("utf-8", "backslashreplace")
        return f"{name}:{self.inode}:{self.mtime_ns}"


class FolderWatcher:
    """Watches one folder. :meth:`poll` is one look; :meth:`run` looks again and again until ``stop``."""

    def __init__(
        self,
        name: str,
        folder: Folder,
        database: Database,
        limits: Limits,
        stop: threading.Event,
        receipt: Receipt,
    ) -> None:
        self.name = name
        self._folder = folder
        self._path = folder.path
        self._database = database
        self._limits = limits
        self._stop = stop
        self._receipt = receipt
        self._source = f"folder:{name}"
        self._tenure = HeldLease(database, self._source)
        self._first_seen: dict[Found, float] = {}
        self._taken: dict[str, list[int]] = {}
        self._complained: set[str] = set()

    def run(self) -> None:
        """Thread body. A database that is away is waited for; the files stay where they are."""
        while not self._stop.is_set():
            pause = self._folder.poll_seconds
            try:
                self.poll()
                self._complained.discard("database")
            except Exception as error:
                if not is_unavailable(error):
                    raise
                self._complain("database", error)
                pause = WAIT_PAUSE
            self._stop.wait(pause)

    def poll(self) -> int:
        """Take what is new and settled down, put away what has its outcome; answers how many files were put away.

        Does nothing when another process holds the folder's lease. Raises only when the database is away.
        """
        ready = self._look()
        if not ready or not self._tenure.begin():
            return 0
        with self._tenure:
            put = 0
            for found in ready:
                if self._stop.is_set() or not self._tenure.held:
                    break
                put += self._handle(found)
            return put

    # -- looking

    def _look(self) -> list[Found]:
        """The files that have not changed for a while, oldest first."""
        try:
            for shelf in (DONE, REJECTED):
                (self._path / shelf).mkdir(parents=True, exist_ok=True)
            found = list(self._scan())
        except OSError as error:
            self._complain("folder", error)
            return []
        self._complained.discard("folder")
        now = time.monotonic()
        self._first_seen = {one: self._first_seen.get(one, now) for one in found}
        places = {one.place for one in found}
        self._taken = {place: ids for place, ids in self._taken.items() if place in places}
        ready = [one for one in found if self._is_quiet(one, now - self._first_seen[one])]
        return sorted(ready, key=lambda one: (one.mtime_ns, one.path.name))

    def _scan(self) -> Iterator[Found]:
        with os.scandir(self._path) as entries:
            for entry in entries:
                if entry.name.startswith((".", "~$")) or entry.name.lower().endswith(UNFINISHED):
                    continue
                found = self._look_at(self._path / entry.name)
                if found is not None:
                    yield found

    def _look_at(self, path: Path) -> Found | None:
        """A file or a link as it is now; None for anything else, and for what is gone or not ours to look at."""
        try:
            about = path.lstat()
        except OSError as error:
            self._complain(path.name, error)
            return None
        regular = stat.S_ISREG(about.st_mode)
        if not regular and not stat.S_ISLNK(about.st_mode):
            return None
        return Found(path, about.st_size, about.st_mtime_ns, about.st_ino, regular)

    def _is_quiet(self, found: Found, unchanged: float) -> bool:
        """Unchanged since an earlier look, and by the wall clock (unless the file's time lies in the future)."""
        age = clock.now().timestamp() - found.mtime_ns / 1e9
        return unchanged >= self._folder.settle_seconds and not 0 <= age < self._folder.settle_seconds

    # -- one file

    def _handle(self, found: Found) -> int:
        """One step with one file; what goes wrong with it is said once and stops no other."""
        try:
            refusal = None if found.place in self._taken else self._take(found)
            put = self._reject(found, refusal) if refusal else self._finish(found)
        except LeaseLostError:
            return 0
        except Exception as error:
            if is_unavailable(error):
                raise
            self._complain(found.place, error)
            return 0
        self._complained.discard(found.place)
        return int(put)

    def _take(self, found: Found) -> Reason | None:
        """Commit what is in the file to the ledger; doing it again after a crash changes nothing."""
        if not found.regular:
            return Reason("not_a_file", "This is a link to a file and not a file.")
        name = found.place.rpartition(":")[0].rpartition(":")[0]
        origin = Origin(self._source, found.place, {"file": name, "folder": self.name}, clock.now())
        arrivals = read_arrivals(found.path, found.path.suffix.lower(), origin, self._limits)
        if self._look_at(found.path) != found:
            return None  # it changed while it was read: it is looked at again when it is quiet
        if isinstance(arrivals, Reason):
            return arrivals
        item_ids: list[int] = []
        for batch in _batches(arrivals):
            item_ids += self._accept(batch)
            failpoint("folder.accepted")
        self._taken[found.place] = item_ids
        request_drain("ingest.drain")
        return None

    def _accept(self, arrivals: list[Arrival]) -> list[int]:
        def unit(session: Session) -> list[int]:
            self._tenure.check(session)
            return [one.item_id for one in accept(session, arrivals, clock.now())]

        return self._database.transaction(unit)

    def _finish(self, found: Found) -> bool:
        """Put the file away once all its items have their outcome; False while they have not."""
        with self._database.read() as session:
            settled = _settled(session, self._taken.get(found.place, []))
            repeated = _is_repeated(session, self._source, found.place)
        if not settled:
            return False
        refused = {index: item for index, item in enumerate(settled) if item.disposition in ("rejected", "quarantined")}
        if refused:
            shelf = REJECTED if len(refused) == len(settled) else DONE
            self._put(found, shelf, (".txt", _explanation(refused, len(settled))))
        elif settled[0].kind == "workbook":
            self._put(found, DONE, (".receipt.xlsx", self._receipt(settled[0].id, repeated=repeated)))
        else:
            self._put(found, DONE, None)
        return True

    def _reject(self, found: Found, reason: Reason) -> bool:
        self._put(found, REJECTED, (".txt", f"{reason.text}\n".encode()))
        log.info("file rejected", extra={"folder": self.name, "reason": reason.code})
        return True

    def _put(self, found: Found, shelf: str, beside: tuple[str, bytes] | None) -> None:
        failpoint("folder.settled")
        put_away(found.path, self._path / shelf, beside)
        self._taken.pop(found.place, None)

    def _complain(self, about: str, error: Exception) -> None:
        """Say what is wrong once, until it is well again; never a file's text, never its name."""
        if about not in self._complained:
            self._complained.add(about)
            log.warning("a file or the folder cannot be used", extra={"folder": self.name, "error": type(error).__name__})


def _batches(arrivals: Iterator[Arrival]) -> Iterator[list[Arrival]]:
    """Batches for one transaction each: SQLite's write lock is held while one is stored."""
    batch: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        if batch and (len(batch) >= BATCH_FILES or size + len(arrival.raw) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(arrival)
        size += len(arrival.raw)
    if batch:
        yield batch


def _settled(session: Session, item_ids: Sequence[int]) -> list[InboundItem]:
    """The items in that order; none as long as one of them, or a row of a workbook, is without its outcome."""
    items: list[InboundItem] = []
    for start in range(0, len(item_ids), BATCH_FILES):
        chunk = item_ids[start : start + BATCH_FILES]
        rows = {item.id: item for item in session.execute(select(InboundItem).where(InboundItem.id.in_(chunk))).scalars()}
        if any(item_id not in rows or not _is_finished(session, rows[item_id]) for item_id in chunk):
            return []
        items += [rows[item_id] for item_id in chunk]
    return items


def _is_finished(session: Session, item: InboundItem) -> bool:
    return is_finished(session, item.id) if item.kind == "workbook" else item.state == "settled"


def _is_repeated(session: Session, source: str, place: str) -> bool:
    """Whether the item of the file had been there before the file came."""
    statement = select(Sighting.first).where(Sighting.source == source, Sighting.place == place)
    return session.execute(statement).scalar_one_or_none() is False


def _explanation(refused: Mapping[int, InboundItem], count: int) -> bytes:
    """What the ``.txt`` says: the reason, or one line for each refused message of an mbox."""
    if count == 1:
        return f"{refused[0].reason}\n".encode()
    return "".join(f"Message {index + 1}: {item.reason}\n" for index, item in refused.items()).encode()
