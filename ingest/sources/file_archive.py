"""Move processed files into ``done/`` or ``rejected/``, with a receipt or an explanation beside them, overwriting no file.

Every step can be repeated after a crash, because the file leaves its original place last.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from pathlib import Path

from core.failpoints import failpoint

#: File systems take names of 255 bytes; the name of a draft is longer by a dot and a suffix.
MAX_NAME_BYTES = 240
DRAFT_SUFFIX = ".draft"


def archive_file(path: Path, folder: Path, sidecar: tuple[str, bytes] | None = None) -> Path:
    """Move ``path`` into ``folder`` and write ``sidecar`` = (suffix, content) beside it; return the file's new path.

    A suffix that ends in ``.xlsx`` (``.receipt.xlsx``) replaces the file's own; any other (``.txt``) is added to its name.
    A name that is taken gets a number. Raises ``OSError``; a repeated call continues where the failed one stopped.

    1. Link the file under its new name, so that it exists twice and is never lost.
    2. Write the sidecar: an archived file without its sidecar would look finished.
    3. Remove the original. On a file system without links, copy the file and remove the original instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for count in itertools.count(1):
        target = folder / (path.name if count == 1 else _fit_name(path.stem, f"-{count}{path.suffix}"))
        sidecar_path = _sidecar_path(target, sidecar[0]) if sidecar else None
        # An earlier call that failed may have linked the file already.
        is_linked = _is_same_file(path, target)
        if is_linked or not (os.path.lexists(target) or (sidecar_path and os.path.lexists(sidecar_path))):
            break
    if not is_linked:
        is_linked = _link(path, target)
    failpoint("folder.linked")
    if sidecar and sidecar_path:
        write_file(sidecar_path, sidecar[1])
    failpoint("folder.written")
    if is_linked:
        path.unlink()
    else:
        _move_by_copy(path, target)
    _sync_folder(folder)
    return target


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut it is either complete or absent."""
    draft = path.with_name(f".{path.name}{DRAFT_SUFFIX}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _sidecar_path(target: Path, suffix: str) -> Path:
    return target.with_name(_fit_name(target.stem if suffix.endswith(".xlsx") else target.name, suffix))


def _fit_name(stem: str, suffix: str) -> str:
    """Join stem and suffix to a name of at most :data:`MAX_NAME_BYTES`; cut the stem if necessary."""
    max_stem_bytes = MAX_NAME_BYTES - len(os.fsencode(suffix))
    return os.fsdecode(os.fsencode(stem)[:max_stem_bytes]) + suffix


def _is_same_file(path: Path, target: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        source, linked = path.lstat(), target.lstat()
        return (source.st_dev, source.st_ino) == (linked.st_dev, linked.st_ino)
    return False


def _link(path: Path, target: Path) -> bool:
    """Give the file its second name; return False where the file system has no links."""
    try:
        os.link(path, target, follow_symlinks=False)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        return False
    return True


def _move_by_copy(path: Path, target: Path) -> None:
    """Copy the file and remove the original. The copy is complete before it gets its name."""
    draft = target.with_name(f".{target.name[:200]}{DRAFT_SUFFIX}")
    shutil.copy2(path, draft, follow_symlinks=False)
    draft.rename(target)
    path.unlink()


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
