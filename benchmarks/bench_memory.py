"""Measures the memory of `casemill run` without its parser children over many mails: flat after the first tenth, under 300 MB.

The resident set (VmRSS) is read after every thousand mails of a mailbox that is filled as it is emptied; SQLite with
synchronous=FULL, defaults, notices running (and put off by the default limits, as they would be). Flat means: the highest
figure of the second half is no more than a tenth above the highest of the first half, the first tenth left out.

Run: python -m benchmarks.bench_memory [--mails 100000]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.harness import EMBEDDED, Result, RunningCasemill, Scene, record, say, wait
from benchmarks.mails import make_mails

STEP = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description="Memory over many mails.")
    parser.add_argument("--mails", type=int, default=100_000)
    mails = max(parser.parse_args().mails, 10 * STEP)
    with Scene() as scene:
        user = scene.new_user()
        with scene.system(EMBEDDED, user) as system:
            system.start()
            began = time.monotonic()
            figures = list(take_in(scene, system, user, mails))
            rate = mails / (time.monotonic() - began)
    settled = figures[len(figures) // 10 :]
    half = len(settled) // 2
    early, late = max(settled[:half]), max(settled[half:])
    note = f"after each tenth: {', '.join(f'{one:.0f}' for one in figures[9 :: max(1, len(figures) // 10)])}; {rate:.0f} mails/s"
    record(Result(f"memory of casemill run over {mails:,} mails", max(figures), "MB", reach=300, most=True, note=note))
    record(Result("memory late / early", late, "MB", "early", early, 1.1, most=True, note="the first tenth left out"))


def take_in(scene: Scene, system: RunningCasemill, user: str, mails: int) -> Iterator[float]:
    """Megabytes after each thousand mails."""
    source = make_mails(mails)
    inbox = scene.dovecot.maildir(user)
    done = 0
    while chunk := list(islice(source, STEP)):
        scene.stage(user, chunk)()
        done += len(chunk)
        wait(lambda: system.settled(0, done), f"{done} tickets", 300)  # noqa: B023 - called at once
        yield resident(system.pid)
        if done % (5 * STEP) == 0:
            say(f"{done} mails: {resident(system.pid):.0f} MB")
        for path in [*inbox.glob("cur/*"), *inbox.glob("new/*")]:
            path.unlink()


def resident(pid: int) -> float:
    """The resident set of a process in MB (proc(5), VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    main()
