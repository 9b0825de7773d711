"""How many malloc arenas the threads of a process use."""

import subprocess
import sys

PROGRAM = """
import ctypes, sys, threading
from runtime import process_tuning
if sys.argv[1] == "limited":
    process_tuning.limit_malloc_arenas()
held, started = [], threading.Barrier(8)
def allocate():
    started.wait()
    held.append(ctypes.CDLL(None).malloc(100_000))
    started.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
ctypes.CDLL(None).malloc_stats()
"""


def count_arenas(mode: str) -> int:
    """Return the number of arenas that malloc_stats(3) lists for a process with eight threads."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return sum(line.startswith("Arena ") for line in done.stderr.splitlines())


def test_threads_share_two_arenas() -> None:
    assert count_arenas("unlimited") > 2
    assert count_arenas("limited") <= 2
