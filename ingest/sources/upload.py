"""Files that somebody names: mails, mboxes, Maildirs, forms, workbooks, and folders of them, as arrivals in their order.

`casemill ingest` puts them into the ledger, `casemill explain` only reads them. What a folder watcher takes is taken here
too, and read by the same code; beyond that a file named outright may have any name, when its first bytes say what it is.
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
from ingest.ledger.accept import accept
from ingest.ledger.types import Accepted, Arrival
from ingest.sources.file_kinds import HEAD_BYTES, Origin, read_arrivals
from ingest.sources.mbox import is_mbox

UPLOAD = "upload"
KNOWN_ENDINGS = frozenset({".eml", ".mbox", ".json", ".xlsx", ".xlsm", ".xls", ".csv"})
BATCH_FILES, BATCH_BYTES = 100, 4 * 1024 * 1024
_RECEIPT = re.compile(r"\.receipt(-\d+)?\.xlsx\Z", re.IGNORECASE)
_WORKBOOK_HEADS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_HEADER_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
#: Two of these before the first empty line, and a file is a mail whatever its name (RFC 5322 §3.6, RFC 5321 §4.4).
_MAIL_FIELDS = re.compile(
    rb"^(received|return-path|delivered-to|from|date|subject|to|message-id|mime-version)[ \t]*:", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class UploadFile:
    """A file to be read; ``ending`` is the lower-case suffix that says as what."""

    path: Path
    ending: str


@dataclass(slots=True)
class Found:
    """The files of some paths in the order given, and how many of a folder were left alone because of their kind."""

    files: list[UploadFile] = field(default_factory=list)
    left_alone: int = 0


@dataclass(frozen=True, slots=True)
class Uploaded:
    """One arrival of a file: its item, and whether that was known before; or why there is none."""

    path: Path
    item_id: int | None = None
    known: bool = False
    refusal: Reason | None = None


def find_files(paths: Iterable[Path]) -> Found:
    """Look into folders and Maildirs; a path that is neither is a file, whether it can be read or not."""
    found = Found()
    for path in paths:
        if path.is_dir():
            _look_into(path, found)
        else:
            found.files.append(UploadFile(path, _named_ending(path)))
    return found


def choose_source(settings: Settings, name: str | None) -> tuple[str, dict[str, Any]]:
    """The source word and the items' extra for ``--source NAME``: the rules of that mailbox, folder or form hold.

    Raises :class:`RefusedError` when no source, or more than one, has the name.
    """
    if name is None:
        return UPLOAD, {}
    known = (("mailbox", [*settings.mailboxes]), ("folder", [*settings.folders]), ("form", [*settings.forms]))
    words = [f"{kind}:{one}" for kind, names in known for one in names]
    fitting = [word for word in words if name in (word, word.partition(":")[2])]
    if len(fitting) != 1:
        text = f"{name} is the name of several sources" if fitting else f"no mailbox, folder or form is called {name}"
        names = ", ".join(fitting or words)
        raise RefusedError("unknown_source", text, hint=f"give one of {names}" if names else "none is configured: leave it out")
    kind, _, own = fitting[0].partition(":")
    return fitting[0], {kind: own}


def read_file(file: UploadFile, source: str, extra: dict[str, Any], limits: Limits) -> Iterator[Arrival | Reason]:
    """The arrivals of one file in its order, or the one reason why there are none. Never raises on a bad file."""
    try:
        about = file.path.stat()
        if not stat.S_ISREG(about.st_mode):
            folder = stat.S_ISDIR(about.st_mode)
            yield Reason("not_a_file", "The folder cannot be looked into." if folder else "This is no regular file.")
            return
        name = _plain(file.path.name)
        origin = Origin(source, f"{name}:{about.st_ino}:{about.st_mtime_ns}", {**extra, "file": name}, clock.now())
        arrivals = read_arrivals(file.path, file.ending, origin, limits)
        if isinstance(arrivals, Reason):
            yield arrivals
        else:
            yield from arrivals
    except FileNotFoundError:
        yield Reason("missing_file", "There is no such file.")
    except OSError as error:
        yield Reason("unreadable_file", f"The file cannot be read: {error.strerror or type(error).__name__}.")


class Upload:
    """Puts files into the ledger, a hundred arrivals a commit."""

    def __init__(self, database: Database, limits: Limits, source: str, extra: dict[str, Any]) -> None:
        self._database = database
        self._limits = limits
        self._source = source
        self._extra = extra

    def accept(self, files: Sequence[UploadFile], progress: Callable[[int, int], None]) -> list[Uploaded]:
        """One result for each arrival or refused file; ``progress`` is told (files done, files).

        Raises only when the database is away.
        """
        results: list[Uploaded] = []
        batch: list[tuple[Path, Arrival]] = []
        size = 0
        for done, file in enumerate(files):
            for one in read_file(file, self._source, self._extra, self._limits):
                if isinstance(one, Reason):
                    results.append(Uploaded(file.path, refusal=one))
                    continue
                if batch and (len(batch) >= BATCH_FILES or size + len(one.raw) > BATCH_BYTES):
                    results += self._store(batch)
                    batch, size = [], 0
                batch.append((file.path, one))
                size += len(one.raw)
            progress(done, len(files))
        results += self._store(batch)
        progress(len(files), len(files))
        return results

    def _store(self, batch: Sequence[tuple[Path, Arrival]]) -> list[Uploaded]:
        """One bad arrival does not spoil the others: when a batch cannot be stored, each is stored by itself."""
        if not batch:
            return []
        try:
            accepted = self._accept([arrival for _, arrival in batch])
        except Exception as error:
            if is_unavailable(error):
                raise
            if len(batch) == 1:
                return [Uploaded(batch[0][0], refusal=Reason("not_storable", "It could not be stored."))]
            return [result for one in batch for result in self._store([one])]
        return [Uploaded(path, one.item_id, one.known) for (path, _), one in zip(batch, accepted, strict=True)]

    def _accept(self, arrivals: Sequence[Arrival]) -> list[Accepted]:
        return self._database.transaction(lambda session: accept(session, arrivals, clock.now()))


def _look_into(folder: Path, found: Found) -> None:
    """A Maildir's mails, else what is in the folder and below it, by name. Links to folders are not followed."""
    if all((folder / name).is_dir() for name in ("cur", "new", "tmp")):
        mails = [path for name in ("cur", "new") for path in _list(folder / name, found) if path.is_file()]
        found.files += [UploadFile(path, ".eml") for path in sorted(mails, key=lambda path: path.name)]
        for path in _list(folder, found):
            if path.name.startswith(".") and path.is_dir():
                _look_into(path, found)  # Maildir++: folders of the mailbox begin with a dot
        return
    for path in _list(folder, found):
        if path.name.startswith((".", "~$")) or _RECEIPT.search(path.name):
            continue
        if path.is_dir():
            if not path.is_symlink():
                _look_into(path, found)
        elif path.suffix.lower() in KNOWN_ENDINGS:
            found.files.append(UploadFile(path, path.suffix.lower()))
        elif path.is_file() and _is_mail(head := _head(path)):
            found.files.append(UploadFile(path, ".mbox" if is_mbox(head) else ".eml"))
        else:
            found.left_alone += 1


def _list(folder: Path, found: Found) -> list[Path]:
    """What is in a folder, by name; one that may not be looked into is noted, so that it is refused as a file is."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError:
        found.files.append(UploadFile(folder, ""))
        return []


def _named_ending(path: Path) -> str:
    """As what a file is read that was named outright: by its suffix, else by its first bytes, else as a mail."""
    suffix = path.suffix.lower()
    if suffix in KNOWN_ENDINGS:
        return suffix
    head = _head(path)
    if is_mbox(head):
        return ".mbox"
    if head.startswith(_WORKBOOK_HEADS):
        return suffix or ".xlsx"
    return ".json" if head.lstrip().startswith(b"{") else ".eml"


def _head(path: Path) -> bytes:
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


def _plain(name: str) -> str:
    """A file name as text; what is no UTF-8 is written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
