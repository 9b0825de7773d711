"""A disk that fails. After an input or output error nobody knows what it kept: the process ends at once.

Trying again would be wrong: after an fsync that failed Linux may call the next one good without having written anything.
Whoever starts the process again finds what was committed before, or the same error. A full disk is another matter: it passes.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from typing import NoReturn

log = logging.getLogger("casemill.disk")

#: EX_IOERR of sysexits.h: a supervisor can tell it from a crash and from a configuration that was refused.
DISK_FAILURE_EXIT_CODE = 74
#: Of SQLite's I/O errors those that come from reading and writing (https://www.sqlite.org/rescode.html). The others are about
#: memory, locks and the room for shared memory. A read that failed with EIO is told of as a damaged file inside a statement.
DISK_FAILURE_CODES = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_FSTAT,
    8202,  # SQLITE_IOERR_DATA: a checksum does not fit; Python 3.11 has no name for it
    8458,  # SQLITE_IOERR_CORRUPTFS
}


def is_disk_failure(error: BaseException | None) -> bool:
    """Whether the disk under SQLite failed. PostgreSQL ends itself and comes back, so its errors are of a server that is away."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in DISK_FAILURE_CODES


def exit_on_disk_failure(error: BaseException | None) -> None:
    """End this process with :data:`EXIT_CODE`, without cleaning up, when ``error`` says that the disk failed."""
    if is_disk_failure(error):
        _end(str(getattr(error, "sqlite_errorname", "")))


def _end(code: str) -> NoReturn:
    log.critical("the disk failed: what it kept is not known, so this process ends", extra={"code": code})
    os._exit(DISK_FAILURE_EXIT_CODE)
