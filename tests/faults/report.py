"""The fault report: one line for each fault and mode, written by the run itself."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

HEAD = """# Fault report

Written by `make faults`; do not edit. After every run the oracle of `tests/faults/oracle.py` looked at the whole system: every
injected item has exactly one outcome, every notice went out once (twice only where the connection died after the final
dot), nothing is left open, quarantine is exactly the poison set, the database is sound, and no word of a message is in a
log, in Redis or in a mail that went out. "held" means that all of it was true.

Replay a line with `FAULT_SEED=<seed> make faults ARGS="-k <test>"`.
"""
COLUMNS = "| fault | mode | runs | outcome | seed | seconds | test |\n|---|---|---|---|---|---|---|\n"


@dataclass
class Row:
    """What one test came to; the test itself sets ``runs`` and ``seed``."""

    faults: tuple[str, ...]
    test: str
    mode: str = ""
    runs: int = 1
    seed: int | None = None
    outcome: str = "not run"
    seconds: float = 0.0

    def lines(self) -> list[str]:
        seed = "" if self.seed is None else str(self.seed)
        cells = f"{self.mode} | {self.runs} | {self.outcome} | {seed} | {self.seconds:.0f} | `{self.test}`"
        return [f"| {fault} | {cells} |" for fault in self.faults]


@dataclass
class Report:
    rows: list[Row] = field(default_factory=list)

    def write(self, path: Path, form: str) -> None:
        """The whole document; ``form`` is `full` or `short`."""
        lines = [line for row in self.rows for line in row.lines()]
        held = sum(row.outcome == "held" for row in self.rows)
        machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        total = f"\n{held} of {len(self.rows)} tests held, {sum(row.runs for row in self.rows)} runs, {form} form, {machine}.\n"
        path.write_text(HEAD + total + "\n" + COLUMNS + "\n".join(lines) + "\n")
