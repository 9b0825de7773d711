"""Disk failures: after an input or output error of SQLite the process exits at once.

Retrying would be wrong: after a failed fsync, Linux may report success for the next one although the data was never written.
A restarted process finds what was committed before the failure, or meets the same error. A full disk is not a failure: it
passes, and the caller retries.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from typing import NoReturn

log = logging.getLogger("casemill.disk")

#: EX_IOERR of sysexits.h, so that a supervisor can tell it from a crash and from a refused configuration.
DISK_FAILURE_EXIT_CODE = 74
#: Those of SQLite's I/O errors that come from reading and writing (https://www.sqlite.org/rescode.html). The others are about
#: memory, locks and shared memory. SQLite reports a read that failed with EIO inside a statement as a damaged file.
DISK_FAILURE_CODES = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_DIR_FSYNC,
    sqlite3.SQLITE_IOERR_TRUNCATE,
    sqlite3.SQLITE_IOERR_FSTAT,
    # SQLITE_IOERR_DATA, a wrong checksum; Python 3.11 has no name for it.
    8202,
    # SQLITE_IOERR_CORRUPTFS
    8458,
}


def is_disk_failure(error: BaseException | None) -> bool:
    """Return whether ``error`` says that the disk under SQLite failed.

    Errors of PostgreSQL never do: a server whose disk fails stops and recovers, which its clients see as an unavailable server.
    """
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) in DISK_FAILURE_CODES


def exit_on_disk_failure(error: BaseException | None) -> None:
    """Exit this process with :data:`DISK_FAILURE_EXIT_CODE`, without any clean-up, when ``error`` is a disk failure."""
    if is_disk_failure(error):
        _exit(str(getattr(error, "sqlite_errorname", "")))


def _exit(code: str) -> NoReturn:
    log.critical("disk failed, process exits", extra={"code": code})
    os._exit(DISK_FAILURE_EXIT_CODE)
