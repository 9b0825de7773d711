"""One embedded process a database: a lock on a file that the kernel lets go of when its holder dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import CasemillError


class AlreadyRunningError(CasemillError):
    """Another embedded process lives on the same database."""


@contextmanager
def single_instance_lock(database_file: Path) -> Iterator[None]:
    """Hold the lock beside ``database_file``. Whoever holds it knows that every other process of its kind is dead.

    Raises :class:`AlreadyRunningError` when another one lives.
    """
    path = database_file.with_name(f"{database_file.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = f"casemill is already running on {database_file}"
            raise AlreadyRunningError(text, hint="stop the other one, or set another data_dir") from None
        yield
