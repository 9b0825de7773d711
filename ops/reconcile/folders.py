"""Compare a watched folder with the ledger: no file waits too long, and the ledger has every file in ``done/``.

Files in ``done/`` are read again as the watcher reads them and found by their content, because a file's place is never state.
``rejected/`` is not compared: the reason is beside each file.
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
from ingest.ledger.types import Arrival, Source
from ingest.sources.file_kinds import Origin, read_arrivals
from ingest.sources.folder import DONE, UNFINISHED_SUFFIXES, WatchedFile, split_arrivals
from ingest.workbooks.expand import is_finished
from ops.reconcile.result import MAX_UNREAD_AGE, Gap, SourceComparison, accept_arrivals, format_age

#: Files that the watcher itself writes.
_SIDECAR = re.compile(r"(\.receipt(-\d+)?\.xlsx|\.txt)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileInFolder:
    """A file in a folder; ``since`` is when it arrived or last changed there (UTC)."""

    file: WatchedFile
    since: datetime


class FolderComparison:
    """Compares one folder with the ledger; :meth:`run` once."""

    def __init__(self, name: str, folder: Folder, database: Database, limits: Limits, *, repair: bool) -> None:
        self._name = name
        self._path = folder.path
        self._database = database
        self._limits = limits
        self._repair = repair
        self._source = str(Source("folder", name))
        self._comparison = SourceComparison(self._source, server=0)

    def run(self) -> SourceComparison:
        """Return the comparison; a folder that cannot be opened is its problem. Raises only when the database is unavailable."""
        try:
            waiting = list(list_files(self._path))
            # The watcher creates it at its first poll.
            folder = self._path / DONE
            done = sorted(list_files(folder), key=lambda one: one.file.path.name) if folder.is_dir() else []
        except OSError as error:
            text = f"{self._path} cannot be opened ({error.strerror or type(error).__name__}): check that it is mounted"
            self._comparison.problem = Reason("unreachable_folder", text)
            return self._comparison
        for one in waiting:
            self._compare_waiting(one)
        for batch in split_arrivals(self._read_done(done)):
            self._compare_done(batch)
        return self._comparison

    def _compare_waiting(self, one: FileInFolder) -> None:
        comparison = self._comparison
        comparison.server = (comparison.server or 0) + 1
        with self._database.read() as session:
            items = _find_items(session, self._source, one.file.place)
            finished = [_find_finish(session, item) for item in items]
        place = one.file.path.name
        if not items and clock.now() - one.since > MAX_UNREAD_AGE:
            text = f"there for {format_age(clock.now() - one.since)} and not accepted: check that `casemill watch` is running"
            comparison.gaps.append(Gap(place, "late_file", text))
        elif not items:
            comparison.unread += 1
        else:
            comparison.ledger += 1
            last = max((moment for moment in finished if moment), default=None)
            if None not in finished and last and clock.now() - last > MAX_UNREAD_AGE:
                text = (
                    f"settled for {format_age(clock.now() - last)} and still not in {DONE}/: check that casemill may write there"
                )
                comparison.gaps.append(Gap(place, "file_not_put_away", text))

    def _read_done(self, files: Sequence[FileInFolder]) -> Iterator[Arrival]:
        """Yield the arrivals in the files of ``done/``, as the watcher accepts them."""
        for one in files:
            path = one.file.path
            if _SIDECAR.search(path.name):
                continue
            name = one.file.place.rpartition(":")[0].rpartition(":")[0]
            origin = Origin(self._source, f"{DONE}/{one.file.place}", {"file": name, "folder": self._name}, clock.now())
            try:
                arrivals = read_arrivals(path, path.suffix.lower(), origin, self._limits) if one.file.is_regular else None
                if arrivals is None or isinstance(arrivals, Reason):
                    self._comparison.notes.append(
                        f"{DONE}/{path.name} is no file that casemill accepts, and was not put there by casemill"
                    )
                else:
                    yield from arrivals
            except OSError as error:
                text = f"cannot be read ({error.strerror or type(error).__name__})"
                self._comparison.gaps.append(Gap(f"{DONE}/{path.name}", "unreadable_file", text))

    def _compare_done(self, arrivals: Sequence[Arrival]) -> None:
        comparison = self._comparison
        keys = [(one.family, one.identity or blobs.digest(one.raw)) for one in arrivals]
        with self._database.read() as session:
            known = find_known(session, keys)
        unknown = [one for one, key in zip(arrivals, keys, strict=True) if key not in known]
        comparison.server = (comparison.server or 0) + len(arrivals)
        comparison.ledger += len(arrivals) - len(unknown)
        comparison.gaps += [Gap(one.place, "unknown_file", f"in {DONE}/ but not in the ledger") for one in unknown]
        if self._repair:
            comparison.mark_repaired(accept_arrivals(self._database, unknown), "accepted now")


def list_files(path: Path) -> Iterator[FileInFolder]:
    """Yield files and links in a folder, except hidden files and those a program is still writing. Raises ``OSError``."""
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith((".", "~$")) or entry.name.lower().endswith(UNFINISHED_SUFFIXES):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                # The watcher has just archived it.
                continue
            is_regular = stat.S_ISREG(status.st_mode)
            if is_regular or stat.S_ISLNK(status.st_mode):
                # Also the change time of the inode, because a file that is moved here keeps its modification time.
                since = datetime.fromtimestamp(max(status.st_ctime, status.st_mtime), UTC)
                yield FileInFolder(
                    WatchedFile(path / entry.name, status.st_size, status.st_mtime_ns, status.st_ino, is_regular), since
                )


def _find_items(session: Session, source: str, place: str) -> list[InboundItem]:
    """Return the items of a file; the places of an mbox's messages have a number at the end."""
    is_here = or_(Sighting.place == place, Sighting.place.startswith(f"{place}:", autoescape=True))
    statement = select(InboundItem).join(Sighting, Sighting.item_id == InboundItem.id).where(Sighting.source == source, is_here)
    return list(session.execute(statement).scalars())


def _find_finish(session: Session, item: InboundItem) -> datetime | None:
    """Return when an item, and all rows of a workbook, had their outcome; None while one has none."""
    finished = is_finished(session, item.id) if item.kind == "workbook" else item.state == "settled"
    if not finished or item.kind != "workbook":
        return item.settled_at if finished else None
    rows = select(InboundItem.settled_at).join(Sighting, Sighting.item_id == InboundItem.id)
    moments = session.execute(rows.where(Sighting.source == str(Source("workbook", str(item.id))))).scalars()
    return max([moment for moment in (item.settled_at, *moments) if moment], default=None)
