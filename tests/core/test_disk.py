"""What says that a disk has failed, as against one that is full or a database that is held by another."""

from __future__ import annotations

import sqlite3

import pytest

from core import disk


def error_of(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code  # type: ignore[misc]
    return error


@pytest.mark.parametrize("name", ["IOERR_READ", "IOERR_WRITE", "IOERR_FSYNC", "IOERR_TRUNCATE", "CORRUPT"])
def test_an_error_in_reading_or_writing_is_a_failed_disk(name: str) -> None:
    assert disk.is_disk_failure(error_of(getattr(sqlite3, f"SQLITE_{name}")))


@pytest.mark.parametrize("name", ["FULL", "BUSY", "NOMEM", "IOERR_NOMEM", "IOERR_SHMSIZE", "IOERR_LOCK", "CANTOPEN"])
def test_what_passes_is_no_failed_disk(name: str) -> None:
    assert not disk.is_disk_failure(error_of(getattr(sqlite3, f"SQLITE_{name}")))


def test_an_error_of_something_else_is_no_failed_disk() -> None:
    disk.exit_on_disk_failure(OSError(5, "Input/output error"))
    disk.exit_on_disk_failure(sqlite3.OperationalError("no code"))
    disk.exit_on_disk_failure(None)
    assert not disk.is_disk_failure(RuntimeError())
