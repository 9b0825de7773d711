"""Which errors are disk failures, as opposed to a full disk or a locked database."""

from __future__ import annotations

import sqlite3

import pytest

from core import disk


def make_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code  # type: ignore[misc]
    return error


@pytest.mark.parametrize("name", ["IOERR_READ", "IOERR_WRITE", "IOERR_FSYNC", "IOERR_TRUNCATE", "CORRUPT"])
def test_read_or_write_error_is_disk_failure(name: str) -> None:
    assert disk.is_disk_failure(make_error(getattr(sqlite3, f"SQLITE_{name}")))


@pytest.mark.parametrize("name", ["FULL", "BUSY", "NOMEM", "IOERR_NOMEM", "IOERR_SHMSIZE", "IOERR_LOCK", "CANTOPEN"])
def test_temporary_error_is_no_disk_failure(name: str) -> None:
    assert not disk.is_disk_failure(make_error(getattr(sqlite3, f"SQLITE_{name}")))


def test_error_of_another_kind_is_no_disk_failure() -> None:
    disk.exit_on_disk_failure(OSError(5, "Input/output error"))
    disk.exit_on_disk_failure(sqlite3.OperationalError("no code"))
    disk.exit_on_disk_failure(None)
    assert not disk.is_disk_failure(RuntimeError())
