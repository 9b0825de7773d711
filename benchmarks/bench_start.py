"""Measure start-up time: `casemill --help`, and `casemill run` until its web server is ready; compared with `python -c pass`.

`casemill run` has an empty, migrated database and starts two parser processes. The commands run in turn; the figures are
medians of the runs.

Run: python -m benchmarks.bench_start [--runs 7]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from benchmarks.harness import COMMAND, EMBEDDED, ROOT, Result, RunningCasemill, Testbed, format_runs, median, record, wait_until


def main() -> None:
    parser = argparse.ArgumentParser(description="Start-up time.")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    helps, readies, bare = [], [], []
    with Testbed() as testbed, testbed.system(EMBEDDED) as system:
        for _ in range(options.runs):
            bare.append(seconds_of([sys.executable, "-c", "pass"]))
            helps.append(seconds_of([*COMMAND, "--help"]))
            readies.append(seconds_until_ready(system))
    python = f"python -c pass takes {median(bare):.3f} s"
    record(Result("casemill --help", median(helps), "s", reach=0.3, most=True, note=f"{python}; {format_runs(helps)}"))
    record(Result("casemill run ready", median(readies), "s", reach=3.0, most=True, note=f"{python}; {format_runs(readies)}"))


def seconds_of(command: Sequence[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def seconds_until_ready(system: RunningCasemill) -> float:
    began = time.monotonic()
    system.start()
    ready = wait_until(lambda: is_ready(f"http://127.0.0.1:{system.port}/readyz"), "casemill to be ready", 60, pause=0.005)
    system.stop()
    return ready - began


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    main()
