"""Processes as /proc shows them, for the tests of parser and worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def find_child_processes(parent: int) -> list[int]:
    """Return the running child processes of ``parent``."""
    pids = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                pids.append(int(folder.name))
    return pids


@contextmanager
def new_child_processes(count: int = 1) -> Iterator[list[int]]:
    """Yield a list that holds the processes started by the block once the block ends."""
    before = set(find_child_processes(os.getpid()))
    pids: list[int] = []
    yield pids
    pids += [pid for pid in find_child_processes(os.getpid()) if pid not in before]
    assert len(pids) == count


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def runs(pid: int) -> bool:
    """Return whether a process runs."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
