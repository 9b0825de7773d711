"""A worker process that relays and sends everything due, or is killed at a failpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.waiting import scale_budget

ROOT = Path(__file__).resolve().parent.parent.parent


def run_until(failpoint: str, database_url: str, target: str, folder: Path) -> int:
    """Run the worker and return its exit status, minus the signal's number when it was killed."""
    command = [sys.executable, "-m", "tests.notify.crash_worker", database_url, target, str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "CASEMILL_CRASH_AT": failpoint},
        check=False,
        timeout=scale_budget(60),
        capture_output=True,
    )
    if done.returncode > 0:
        raise AssertionError(done.stderr.decode())
    return done.returncode


def main() -> None:
    from tests.notify.harness import NotifyHarness

    database_url, target, folder = sys.argv[1:]
    harness = NotifyHarness(database_url, Path(folder))
    harness.run_until_idle(harness.open_worker(target))
    harness.close()


if __name__ == "__main__":
    main()
