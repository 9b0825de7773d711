"""A watched folder held against the ledger: files lie in it no longer than they must, and what is in ``done/`` was taken.

What is in a file of ``done/`` is read again as the watcher read it, and known by its content: a file's place is never state.
``rejected/`` is left alone: there the reason lies beside each file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from core import blobs, clock
from core.database.session import Database
from core.reasons import Reason
from core.settings.sections import Folder, Limits
from ingest.ledger.accept import find_known
from ingest.ledger.models import InboundItem, Sighting
from ingest.ledger.types import Arrival
from ingest.sources.file_kinds import Origin, read_arrivals
from ingest.sources.folder import DONE, UNFINISHED, Found
from ingest.workbooks.expand import is_finished
from ops.reconcile.result import LATE, Gap, SourceComparison, spell, store

BATCH_ARRIVALS, BATCH_BYTES = 100, 4 * 1024 * 1024
#: What the watcher itself writes beside a file.
_BESIDE = re.compile(r"(\.receipt(-\d+)?\.xlsx|\.txt)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Present:
    """A file as it lies in a folder; ``since`` is when it came or was last changed there."""

    found: Found
    since: datetime


class FolderCheck:
    """Holds one folder against the ledger; :meth:`run` once."""

    def __init__(self, name: str, folder: Folder, database: Database, limits: Limits, *, repair: bool) -> None:
        self._name = name
        self._path = folder.path
        self._database = database
        self._limits = limits
        self._repair = repair
        self._source = f"folder:{name}"
        self._balance = SourceComparison(self._source, server=0)

    def run(self) -> SourceComparison:
        """The balance; a folder that cannot be looked into is its problem. Raises only when the database is away."""
        try:
            lying = list(look(self._path))
            shelf = self._path / DONE  # the watcher makes it at its first look
            done = sorted(look(shelf), key=lambda one: one.found.path.name) if shelf.is_dir() else []
        except OSError as error:
            text = f"{self._path} cannot be looked into ({error.strerror or type(error).__name__}): see that it is mounted"
            self._balance.problem = Reason("unreachable_folder", text)
            return self._balance
        for one in lying:
            self._judge_lying(one)
        for batch in _batches(self._read(done)):
            self._compare(batch)
        return self._balance

    def _judge_lying(self, one: Present) -> None:
        balance = self._balance
        balance.server = (balance.server or 0) + 1
        with self._database.read() as session:
            items = _items_of(session, self._source, one.found.place)
            finished = [_finished_at(session, item) for item in items]
        place = one.found.path.name
        if not items and clock.now() - one.since > LATE:
            text = f"there for {spell(clock.now() - one.since)} and not taken: is `casemill watch` running?"
            balance.gaps.append(Gap(place, "late_file", text))
        elif not items:
            balance.unread += 1
        else:
            balance.ledger += 1
            last = max((moment for moment in finished if moment), default=None)
            if None not in finished and last and clock.now() - last > LATE:
                text = f"settled for {spell(clock.now() - last)} and not put away: may {DONE}/ be written?"
                balance.gaps.append(Gap(place, "file_not_put_away", text))

    def _read(self, files: Sequence[Present]) -> Iterator[Arrival]:
        """What is in the files of ``done/``, as the watcher would accept it."""
        for one in files:
            path = one.found.path
            if _BESIDE.search(path.name):
                continue
            name = one.found.place.rpartition(":")[0].rpartition(":")[0]
            origin = Origin(self._source, f"{DONE}/{one.found.place}", {"file": name, "folder": self._name}, clock.now())
            try:
                arrivals = read_arrivals(path, path.suffix.lower(), origin, self._limits) if one.found.regular else None
                if arrivals is None or isinstance(arrivals, Reason):
                    self._balance.notes.append(f"{DONE}/{path.name} is nothing that is ever taken, and was put there by somebody")
                else:
                    yield from arrivals
            except OSError as error:
                text = f"cannot be read ({error.strerror or type(error).__name__})"
                self._balance.gaps.append(Gap(f"{DONE}/{path.name}", "unreadable_file", text))

    def _compare(self, arrivals: Sequence[Arrival]) -> None:
        balance = self._balance
        keys = [(one.family, one.identity or blobs.digest(one.raw)) for one in arrivals]
        with self._database.read() as session:
            known = find_known(session, keys)
        unknown = [one for one, key in zip(arrivals, keys, strict=True) if key not in known]
        balance.server = (balance.server or 0) + len(arrivals)
        balance.ledger += len(arrivals) - len(unknown)
        balance.gaps += [Gap(one.place, "unknown_file", f"in {DONE}/, and not in the ledger") for one in unknown]
        if self._repair:
            balance.mark_repaired(store(self._database, unknown), "accepted now")


def look(path: Path) -> Iterator[Present]:
    """Files and links in a folder, but for hidden ones and those a program is busy with. Raises ``OSError``."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith((".", "~$")) or entry.name.lower().endswith(UNFINISHED):
                continue
            try:
                about = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # put away in this very moment
            regular = stat.S_ISREG(about.st_mode)
            if regular or stat.S_ISLNK(about.st_mode):
                # The time of the last change of the inode: a file that is moved here keeps its own time.
                since = datetime.fromtimestamp(max(about.st_ctime, about.st_mtime), UTC)
                yield Present(Found(path / entry.name, about.st_size, about.st_mtime_ns, about.st_ino, regular), since)


def _batches(arrivals: Iterator[Arrival]) -> Iterator[list[Arrival]]:
    batch: list[Arrival] = []
    size = 0
    for arrival in arrivals:
        if batch and (len(batch) >= BATCH_ARRIVALS or size + len(arrival.raw) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(arrival)
        size += len(arrival.raw)
    if batch:
        yield batch


def _items_of(session: Session, source: str, place: str) -> list[InboundItem]:
    """The items of a file; those of an mbox are numbered."""
    here = or_(Sighting.place == place, Sighting.place.startswith(f"{place}:", autoescape=True))
    statement = select(InboundItem).join(Sighting, Sighting.item_id == InboundItem.id).where(Sighting.source == source, here)
    return list(session.execute(statement).scalars())


def _finished_at(session: Session, item: InboundItem) -> datetime | None:
    """When an item, and the rows of a workbook, had their outcome; None as long as they have not."""
    finished = is_finished(session, item.id) if item.kind == "workbook" else item.state == "settled"
    if not finished or item.kind != "workbook":
        return item.settled_at if finished else None
    rows = select(InboundItem.settled_at).join(Sighting, Sighting.item_id == InboundItem.id)
    moments = session.execute(rows.where(Sighting.source == f"workbook:{item.id}")).scalars()
    return max([moment for moment in (item.settled_at, *moments) if moment], default=None)
