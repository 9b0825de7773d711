"""What the tests of the parser children ask the system about processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def find_children(parent: int) -> list[int]:
    """The processes that ``parent`` has started and that run."""
    found = []
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(folder.name))
    return found


@contextmanager
def new_children(count: int = 1) -> Iterator[list[int]]:
    """The children that the block starts; filled when it is left."""
    before = set(find_children(os.getpid()))
    pids: list[int] = []
    yield pids
    pids += [pid for pid in find_children(os.getpid()) if pid not in before]
    assert len(pids) == count


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
