"""Read files named on the command line: mails, mboxes, Maildirs, forms, workbooks, and folders of them, in their order.

`casemill ingest` accepts them into the ledger; `casemill explain` only reads them. Everything a folder watcher accepts is
accepted here too, by the same code. A file that is named itself may have any suffix, if its first bytes show its kind.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import clock
from core.database.session import Database, is_unavailable
from core.errors import RefusedError
from core.reasons import Reason
from core.settings import Settings
from core.settings.sections import Limits
from ingest.configured_sources import list_sources, match_sources
from ingest.ledger.accept import accept
from ingest.ledger.types import Accepted, Arrival
from ingest.sources.file_kinds import HEAD_BYTES, Origin, read_arrivals
from ingest.sources.mbox import is_mbox

UPLOAD = "upload"
KNOWN_SUFFIXES = frozenset({".eml", ".mbox", ".json", ".xlsx", ".xlsm", ".xls", ".csv"})
MAX_BATCH_ARRIVALS, MAX_BATCH_BYTES = 100, 4 * 1024 * 1024
_RECEIPT = re.compile(r"\.receipt(-\d+)?\.xlsx\Z", re.IGNORECASE)
_WORKBOOK_HEADS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_HEADER_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
#: A file with two of these before the first empty line is a mail, with any name (RFC 5322 §3.6, RFC 5321 §4.4).
_MAIL_FIELDS = re.compile(
    rb"^(received|return-path|delivered-to|from|date|subject|to|message-id|mime-version)[ \t]*:", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class UploadFile:
    """A file to read; ``suffix`` is the lower-case suffix of the kind it is read as."""

    path: Path
    suffix: str


@dataclass(slots=True)
class FoundFiles:
    """Files in the order of the given paths, and how many files in folders were skipped because of their kind."""

    files: list[UploadFile] = field(default_factory=list)
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The result for one arrival in a file: its item, and whether the ledger knew it before; or why it was refused."""

    path: Path
    item_id: int | None = None
    is_known: bool = False
    refusal: Reason | None = None


def find_files(paths: Iterable[Path]) -> FoundFiles:
    """Return the files of ``paths``. Folders and Maildirs are searched; any other path is a file, readable or not."""
    found = FoundFiles()
    for path in paths:
        if path.is_dir():
            _search_folder(path, found)
        else:
            found.files.append(UploadFile(path, _guess_suffix(path)))
    return found


def choose_source(settings: Settings, name: str | None) -> tuple[str, dict[str, Any]]:
    """Return the source and the items' extra for ``--source NAME``: the rules of that mailbox, folder or form apply.

    Raises :class:`RefusedError` when no source, or more than one, has the name.
    """
    if name is None:
        return UPLOAD, {}
    sources = list_sources(settings)
    matches = match_sources(sources, name)
    if len(matches) != 1:
        text = f"{name} is the name of several sources" if matches else f"no mailbox, folder or form has the name {name}"
        names = ", ".join(map(str, matches or sources))
        raise RefusedError(
            "unknown_source", text, hint=f"use one of {names}" if names else "no source is configured: leave out --source"
        )
    (source,) = matches
    return str(source), {source.kind: source.name}


def read_file(file: UploadFile, source: str, extra: dict[str, Any], limits: Limits) -> Iterator[Arrival | Reason]:
    """Yield the arrivals of one file in its order, or the one reason why it is refused. Never raises on a bad file."""
    try:
        status = file.path.stat()
        if not stat.S_ISREG(status.st_mode):
            is_folder = stat.S_ISDIR(status.st_mode)
            yield Reason("not_a_file", "The folder cannot be opened." if is_folder else "This is not a regular file.")
            return
        name = _to_text(file.path.name)
        origin = Origin(source, f"{name}:{status.st_ino}:{status.st_mtime_ns}", {**extra, "file": name}, clock.now())
        arrivals = read_arrivals(file.path, file.suffix, origin, limits)
        if isinstance(arrivals, Reason):
            yield arrivals
        else:
            yield from arrivals
    except FileNotFoundError:
        yield Reason("missing_file", "There is no such file.")
    except OSError as error:
        yield Reason("unreadable_file", f"The file cannot be read: {error.strerror or type(error).__name__}.")


class Uploader:
    """Accepts files into the ledger, in commits of at most a hundred arrivals."""

    def __init__(self, database: Database, limits: Limits, source: str, extra: dict[str, Any]) -> None:
        self._database = database
        self._limits = limits
        self._source = source
        self._extra = extra

    def accept(self, files: Sequence[UploadFile], progress: Callable[[int, int], None]) -> list[UploadResult]:
        """Return one result for each arrival or refused file; ``progress`` is called with (files done, files).

        Raises only when the database is unavailable.
        """
        results: list[UploadResult] = []
        batch: list[tuple[Path, Arrival]] = []
        size = 0
        for done, file in enumerate(files):
            for one in read_file(file, self._source, self._extra, self._limits):
                if isinstance(one, Reason):
                    results.append(UploadResult(file.path, refusal=one))
                    continue
                if batch and (len(batch) >= MAX_BATCH_ARRIVALS or size + len(one.raw) > MAX_BATCH_BYTES):
                    results += self._store(batch)
                    batch, size = [], 0
                batch.append((file.path, one))
                size += len(one.raw)
            progress(done, len(files))
        results += self._store(batch)
        progress(len(files), len(files))
        return results

    def _store(self, batch: Sequence[tuple[Path, Arrival]]) -> list[UploadResult]:
        """Store a batch, or each arrival alone when the batch fails, so that one bad arrival does not affect the others."""
        if not batch:
            return []
        try:
            accepted = self._accept([arrival for _, arrival in batch])
        except Exception as error:
            if is_unavailable(error):
                raise
            if len(batch) == 1:
                return [UploadResult(batch[0][0], refusal=Reason("not_storable", "It could not be stored."))]
            return [result for one in batch for result in self._store([one])]
        return [UploadResult(path, one.item_id, one.known) for (path, _), one in zip(batch, accepted, strict=True)]

    def _accept(self, arrivals: Sequence[Arrival]) -> list[Accepted]:
        return self._database.transaction(lambda session: accept(session, arrivals, clock.now()))


def _search_folder(folder: Path, found: FoundFiles) -> None:
    """Add a Maildir's mails, or else the files in the folder and below it, by name. Links to folders are not followed."""
    if all((folder / name).is_dir() for name in ("cur", "new", "tmp")):
        mails = [path for name in ("cur", "new") for path in _list_folder(folder / name, found) if path.is_file()]
        found.files += [UploadFile(path, ".eml") for path in sorted(mails, key=lambda path: path.name)]
        for path in _list_folder(folder, found):
            if path.name.startswith(".") and path.is_dir():
                # Maildir++: the names of a mailbox's folders begin with a dot.
                _search_folder(path, found)
        return
    for path in _list_folder(folder, found):
        if path.name.startswith((".", "~$")) or _RECEIPT.search(path.name):
            continue
        if path.is_dir():
            if not path.is_symlink():
                _search_folder(path, found)
        elif path.suffix.lower() in KNOWN_SUFFIXES:
            found.files.append(UploadFile(path, path.suffix.lower()))
        elif path.is_file() and _is_mail(head := _read_head(path)):
            found.files.append(UploadFile(path, ".mbox" if is_mbox(head) else ".eml"))
        else:
            found.skipped += 1


def _list_folder(folder: Path, found: FoundFiles) -> list[Path]:
    """Return the paths in a folder, by name. A folder that cannot be opened is added as a file, so that it is refused."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError:
        found.files.append(UploadFile(folder, ""))
        return []


def _guess_suffix(path: Path) -> str:
    """Return the suffix to read a named file by: its own, or one for its first bytes, or that of a mail."""
    suffix = path.suffix.lower()
    if suffix in KNOWN_SUFFIXES:
        return suffix
    head = _read_head(path)
    if is_mbox(head):
        return ".mbox"
    if head.startswith(_WORKBOOK_HEADS):
        return suffix or ".xlsx"
    return ".json" if head.lstrip().startswith(b"{") else ".eml"


def _read_head(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _is_mail(head: bytes) -> bool:
    if is_mbox(head):
        return True
    header = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    fields = {name.lower() for name in _MAIL_FIELDS.findall(header)}
    return _HEADER_FIELD.match(header) is not None and len(fields) >= 2


def _to_text(name: str) -> str:
    """Return a file name as text; bytes that are not UTF-8 are written as escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
