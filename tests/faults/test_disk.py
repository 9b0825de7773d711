"""A kill at every fsync between the arrival of a mail and its notice: the next run does the rest."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.system import COMMAND, ROOT, System
from tests.faults import oracle
from tests.faults.report import Row
from tests.faults.trial import CANARY, FULL
from tests.waiting import scale_budget

SAMPLE_SIZE = 3
SYNCS = "fsync,fdatasync"


class CaseRun:
    """One command on a casemill of its own that takes a mail from the file to the notice in the Maildir."""

    def __init__(self, folder: Path, strace: str) -> None:
        folder.mkdir()
        self.system = System(folder)
        self._strace = strace
        self._trace = folder / "trace"
        self._mail = folder / "question.eml"
        self._mail.write_text(
            f"From: <ana@practice.example>\r\nSubject: Question life1x\r\nMessage-ID: <1@practice.example>\r\n\r\n{CANARY}\r\n"
        )

    def run(self, *options: str) -> int:
        """Run the command under strace with these options and return its exit code."""
        traced = [self._strace, "-f", "-o", str(self._trace), "-e", f"trace={SYNCS}", *options]
        command = [*traced, *COMMAND, "ingest", str(self._mail)]
        done = subprocess.run(
            command, cwd=ROOT, env=self.system.environment(), capture_output=True, timeout=scale_budget(120), check=False
        )
        return done.returncode

    def count_syncs(self) -> int:
        """Return the number of fsyncs of the busiest thread: strace counts each thread separately."""
        return max(Counter(re.findall(r"^(\d+) +f(?:data)?sync\(", self._trace.read_text(), re.MULTILINE)).values())

    def check(self) -> None:
        """Run the command again without a fault, then check with the oracle. A mail may be sent again, into the same file."""
        assert self.run() == 0
        if not self.system.is_settled():
            self.system.start()
            self.system.wait(self.system.is_settled, "everything to be settled", 60)
            self.system.stop()
        sent = [file.read_bytes() for file in (self.system.data / "sent" / "new").iterdir()]
        oracle.check(self.system, ["life1x"], sent, canaries=[CANARY])


@pytest.mark.fault("SIGKILL at an fsync, of all the fsyncs of one whole case's life")
@pytest.mark.timeout(1200)
def test_a_kill_at_any_fsync_of_one_life_loses_and_doubles_nothing(strace: str, tmp_path: Path, row: Row, seed: int) -> None:
    first = CaseRun(tmp_path / "first", strace)
    with closing(first.system):
        assert first.run() == 0
        total = first.count_syncs()
        first.check()
    numbers = list(range(1, total + 1))
    chosen = numbers if FULL else sorted(random.Random(seed).sample(numbers, SAMPLE_SIZE))
    killed = []
    for number in chosen:
        life = CaseRun(tmp_path / f"kill{number}", strace)
        with closing(life.system):
            if life.run("-e", f"inject={SYNCS}:signal=KILL:when={number}") != 0:
                killed.append(number)
            life.check()
    print(f"{total} fsyncs, killed at {killed}")
    row.runs = len(killed)
    # The number of SQLite's checkpoints varies by one or two, so the last fsyncs may not be reached.
    assert set(killed) >= {number for number in chosen if number <= total - 6}
