"""The single-instance lock: one embedded process for each database, by a file lock that the kernel releases when it dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import CasemillError


class AlreadyRunningError(CasemillError):
    """Another embedded process uses the same database."""


@contextmanager
def single_instance_lock(database_file: Path) -> Iterator[None]:
    """Hold the lock file beside ``database_file``. Its holder knows that no other embedded process runs on the database.

    Raises :class:`AlreadyRunningError` when another process holds the lock.
    """
    path = database_file.with_name(f"{database_file.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = f"casemill is already running on {database_file}"
            raise AlreadyRunningError(text, hint="stop the other process, or set another data_dir") from None
        yield
