"""`casemill run` without work sleeps: all its threads together wake up a few times a second (docs/decisions/idle-threads.md)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.system import System

#: Voluntary context switches a second, of all threads and of the parser processes.
MOST_WAKE_UPS = 30
WINDOW_SECONDS = 6
#: What was left to do after the start is done within these; on a busy machine more of them are looked at.
WINDOWS = 10


def count_wake_ups(pid: int) -> int:
    """Return how often the threads of a process and of its children have given up their core to wait."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
        for child in (task / "children").read_text().split():
            total += count_wake_ups(int(child))
    return total


@pytest.mark.parametrize("folders", [0, 2])
def test_run_without_work_wakes_its_threads_rarely(tmp_path: Path, folders: int) -> None:
    extra = ""
    for number in range(folders):
        (tmp_path / f"in{number}").mkdir()
        extra += f'[folders.in{number}]\npath = "{tmp_path / f"in{number}"}"\n'
    system = System(tmp_path, extra=extra)
    try:
        system.start()
        pid = system.processes[0].pid
        rates = []
        for _ in range(WINDOWS):
            before, began = count_wake_ups(pid), time.monotonic()
            time.sleep(WINDOW_SECONDS)
            rates.append((count_wake_ups(pid) - before) / (time.monotonic() - began))
            if rates[-1] <= MOST_WAKE_UPS:
                break
        assert rates[-1] <= MOST_WAKE_UPS, f"wake-ups a second: {[round(rate) for rate in rates]}"
    finally:
        system.close()
