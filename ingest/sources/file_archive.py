"""Putting files away: into ``done/`` or ``rejected/``, with what belongs beside them, never over another file.

Every step can be done again after a crash: the file itself leaves its place last.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from pathlib import Path

from core.failpoints import failpoint

#: File systems take names of 255 bytes; a draft's name is longer by a dot and an ending.
NAME_BYTES = 240
DRAFT = ".draft"


def put_away(path: Path, shelf: Path, beside: tuple[str, bytes] | None = None) -> Path:
    """Move ``path`` into ``shelf`` and write ``beside`` = (ending, content) there; answers where the file is now.

    The ending replaces the file's own when it begins with a dot and a word before ``.xlsx`` (``.receipt.xlsx``), and is
    added to its name otherwise (``.txt``). A taken name gets a number. Raises ``OSError``; doing it again goes on.
    """
    shelf.mkdir(parents=True, exist_ok=True)
    for count in itertools.count(1):
        target = shelf / (path.name if count == 1 else _fit(path.stem, f"-{count}{path.suffix}"))
        sidecar = _sidecar(target, beside[0]) if beside else None
        ours = _same_file(path, target)  # an earlier try came this far
        if ours or not (os.path.lexists(target) or (sidecar and os.path.lexists(sidecar))):
            break
    if not ours:
        ours = _link(path, target)
    failpoint("folder.linked")
    if beside and sidecar:
        write_file(sidecar, beside[1])
    failpoint("folder.written")
    if ours:
        path.unlink()
    else:
        _carry(path, target)
    _sync(shelf)
    return target


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    draft = path.with_name(f".{path.name}{DRAFT}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _sidecar(target: Path, ending: str) -> Path:
    return target.with_name(_fit(target.stem if ending.endswith(".xlsx") else target.name, ending))


def _fit(stem: str, ending: str) -> str:
    """A name of at most :data:`NAME_BYTES`, the stem cut where it has to be."""
    room = NAME_BYTES - len(os.fsencode(ending))
    return os.fsdecode(os.fsencode(stem)[:room]) + ending


def _same_file(path: Path, target: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        here, there = path.lstat(), target.lstat()
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    return False


def _link(path: Path, target: Path) -> bool:
    """Give the file its second name; False where the file system has no such thing."""
    try:
        os.link(path, target, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        return False
    return True


def _carry(path: Path, target: Path) -> None:
    """Copy to another file system, or on one without links; the copy is whole before it has its name."""
    draft = target.with_name(f".{target.name[:200]}{DRAFT}")
    shutil.copy2(path, draft, follow_symlinks=False)
    draft.rename(target)
    path.unlink()


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
