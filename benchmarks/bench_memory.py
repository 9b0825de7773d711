"""Measure the memory of `casemill run`, without its parser processes, over many mails: flat after the first tenth, under 300 MB.

The script reads the resident set (VmRSS) after every thousand mails, and empties and refills the mailbox each time. Settings:
SQLite with synchronous=FULL, defaults, notices on (and deferred by the default rate limits, as in production). "Flat" means
that, without the first tenth, the highest figure of the second half is at most a tenth above the highest of the first half.

Run: python -m benchmarks.bench_memory [--mails 100000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.harness import EMBEDDED, Result, RunningCasemill, Testbed, log_progress, record, wait_until
from benchmarks.mails import make_mails

BATCH_MAILS = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory over many mails.")
    parser.add_argument("--mails", type=int, default=100_000)
    mails = max(parser.parse_args().mails, 10 * BATCH_MAILS)
    with Testbed() as testbed:
        user = testbed.new_user()
        with testbed.system(EMBEDDED, user) as system:
            system.start()
            began = time.monotonic()
            figures = list(ingest_batches(testbed, system, user, mails))
            rate = mails / (time.monotonic() - began)
    settled = figures[len(figures) // 10 :]
    half = len(settled) // 2
    early, late = max(settled[:half]), max(settled[half:])
    note = f"after each tenth: {', '.join(f'{one:.0f}' for one in figures[9 :: max(1, len(figures) // 10)])}; {rate:.0f} mails/s"
    record(Result(f"memory of casemill run over {mails:,} mails", max(figures), "MB", reach=300, most=True, note=note))
    record(Result("memory late / early", late, "MB", "early", early, 1.1, most=True, note="the first tenth left out"))


def ingest_batches(testbed: Testbed, system: RunningCasemill, user: str, mails: int) -> Iterator[float]:
    """Yield the resident megabytes after each thousand mails."""
    source = make_mails(mails)
    inbox = testbed.dovecot.maildir(user)
    done = 0
    while chunk := list(islice(source, BATCH_MAILS)):
        testbed.stage(user, chunk)()
        done += len(chunk)
        wait_until(lambda: system.has_processed(0, done), f"{done} tickets", 300)  # noqa: B023 - called at once
        yield resident_megabytes(system.pid)
        if done % (5 * BATCH_MAILS) == 0:
            log_progress(f"{done} mails: {resident_megabytes(system.pid):.0f} MB")
        for path in [*inbox.glob("cur/*"), *inbox.glob("new/*")]:
            path.unlink()


def resident_megabytes(pid: int) -> float:
    """Return the resident set of a process in MB (proc(5), VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
