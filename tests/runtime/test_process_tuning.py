"""How many heaps the C library makes for the threads of a process."""

import subprocess
import sys

PROGRAM = """
import ctypes, sys, threading
from core import arenas
if sys.argv[1] == "limited":
    arenas.limit()
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


def count(mode: str) -> int:
    """Arenas of a process with eight threads, as malloc_stats(3) names them."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return sum(line.startswith("Arena ") for line in done.stderr.splitlines())


def test_threads_share_two_arenas() -> None:
    assert count("free") > 2
    assert count("limited") <= 2
