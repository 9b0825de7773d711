"""The fault report: one line for each fault and mode, written by the test run."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HEAD = """# Fault report

Written by `make faults`; do not edit. After every run the oracle of `tests/faults/oracle.py` looked at the whole system: every
injected item has exactly one outcome, every notice went out once (twice only where the connection died after the final
dot), nothing is left open, quarantine is exactly the poison set, the database is sound, and no word of a message is in a
log, in Redis or in a mail that went out. "held" means that all of it was true.

Replay a line with `FAULT_SEED=<seed> make faults ARGS="-k <test>"`. A run of some tests brings their lines up to date and
leaves the others as they were; the last two columns say when and on which commit a line was made. The clock is set wrong
inside the processes, as `tests/faults/test_clock.py` explains.
"""
COLUMNS = "| fault | mode | runs | outcome | seed | seconds | test | at | commit |\n|---|---|---|---|---|---|---|---|---|\n"
_TEST = 6
_KEY = (0, 1, _TEST)


@dataclass
class Row:
    """The result of one test; the test itself sets ``runs`` and ``seed``."""

    faults: tuple[str, ...]
    test: str
    mode: str = ""
    runs: int = 1
    seed: int | None = None
    outcome: str = "not run"
    seconds: float = 0.0
    form: str = "full"

    def lines(self, stamp: str) -> list[str]:
        """Return the lines of the table, one for each fault."""
        seed = "" if self.seed is None else str(self.seed)
        outcome = self.outcome if self.form == "full" else f"{self.outcome} (short form)"
        cells = f"{self.mode} | {self.runs} | {outcome} | {seed} | {self.seconds:.0f} | `{self.test}` | {stamp}"
        return [f"| {fault} | {cells} |" for fault in self.faults]


@dataclass
class Report:
    """The rows of a run and its commit."""

    rows: list[Row] = field(default_factory=list)
    commit: str = field(default_factory=lambda: _commit())

    def write(self, path: Path, *, kept: Collection[str] = ()) -> None:
        """Write the document. ``kept`` are tests that exist: their lines of an earlier run stay if they did not run now."""
        stamp = f"{datetime.now(UTC):%Y-%m-%d %H:%M} | {self.commit}"
        lines = {_key(line): line for line in _lines(path) if _cells(line)[_TEST].strip("`") in kept}
        lines |= {_key(line): line for row in self.rows for line in row.lines(stamp)}
        cells_of_lines = [_cells(line) for line in lines.values()]
        held = sum(cells[3].startswith("held") for cells in cells_of_lines)
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        total = f"\n{held} of {len(cells_of_lines)} lines held; {machine}.\n"
        path.write_text(HEAD + total + "\n" + COLUMNS + "\n".join(lines.values()) + "\n")


def _lines(path: Path) -> list[str]:
    text = path.read_text() if path.exists() else ""
    return text.partition(COLUMNS)[2].splitlines()


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _key(line: str) -> tuple[str, ...]:
    cells = _cells(line)
    return tuple(cells[column] for column in _KEY)


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
