"""Write the result of a run into the table: python -m fuzz.report FOLDER TARGET SECONDS STATUS TABLE."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from fuzz.targets import TARGETS

HEAD = """# Fuzzing

`make fuzz` writes this page; do not edit it. It shows the result of the last coverage-guided run (atheris) of each target
(`fuzz/targets.py`). A finding is an uncaught exception, an input that takes more than 10 seconds, or one that takes 256 MB above
what the libraries need.

| target | seconds | inputs run | a second | day | outcome |
|---|---|---|---|---|---|
"""
_FINDING = re.compile(r"Test unit written to \S*-(crash|timeout|oom)-")


def format_row(name: str, seconds: int, status: int, log: str) -> str:
    """Return one line of the table from the planned duration, the exit status and the output of the fuzzer."""
    figures = dict(re.findall(r"^stat::(\w+): *(\d+)", log, re.M))
    finding = _FINDING.search(log)
    outcome = "nothing found" if status == 0 and figures else f"**{finding.group(1) if finding else 'ended early'}**"
    ran, rate = (int(figures.get(name, 0)) for name in ("number_of_executed_units", "average_exec_per_sec"))
    return f"| {name} | {seconds} | {ran:,} | {rate:,} | {datetime.now(UTC):%Y-%m-%d} | {outcome} |"


def main() -> None:
    """Replace the row of one target in the table; rows of removed targets are dropped."""
    folder, name, seconds, status, table = sys.argv[1:6]
    path = Path(table)
    previous = path.read_text() if path.exists() else ""
    rows = {line.split("|")[1].strip(): line for line in previous.splitlines() if line.startswith("| ") and "target" not in line}
    rows[name] = format_row(name, int(seconds), int(status), (Path(folder) / f"{name}.log").read_text(errors="replace"))
    path.write_text(HEAD + "".join(f"{rows[one]}\n" for one in TARGETS if one in rows))
    print(rows[name])


if __name__ == "__main__":
    main()
