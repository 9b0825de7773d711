"""Writes benchmarks/RESULTS.md from what the benchmarks recorded: the last step of `make bench`.

Run: python -m benchmarks.report FILE

Each line of FILE is one result as :func:`benchmarks.harness.record` keeps it. The table stands for one run on one machine.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import show_figure

TARGET = Path(__file__).resolve().parent / "RESULTS.md"
HEAD = """# Results

Written by `make bench` on {date} and not by hand. {machine}. What each row measures, and against what, stands at the
beginning of its script; what the figures mean, and where the time goes, in [README.md](README.md). Rates are medians.

| work | casemill | against | ratio | to reach | |
|---|---|---|---|---|---|
"""


def main() -> None:
    lines = Path(sys.argv[1]).read_text().splitlines()
    results = [json.loads(line) for line in lines]
    head = HEAD.format(date=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"), machine=describe_machine())
    TARGET.write_text(head + "".join(f"{row(result)}\n" for result in results) + notes(results))
    print(f"casemill: {len(results)} results in {TARGET.relative_to(Path.cwd())}")


def describe_machine() -> str:
    """What the figures depend on."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) // 1024**2 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    parts = [f"Python {platform.python_version()}", f"{os.cpu_count()} cores {model}".strip(), f"{memory} GB of memory"]
    return ", ".join([*parts, f"{platform.system()} {platform.release().partition('-')[0]}"])


def row(result: dict[str, Any]) -> str:
    against = f"{result['other_name']}: {show_figure(result['other'])} {result['unit']}" if result["other"] else "–"
    ratio = f"{result['ratio']:.2f}" if result["other"] else "–"
    own = f"{show_figure(result['casemill'])} {result['unit']}"
    return f"| {result['name']} | {own} | {against} | {ratio} | {_reach(result)} | {_verdict(result)} |"


def notes(results: Sequence[dict[str, Any]]) -> str:
    lines = [f"- {result['name']}: {result['note']}\n" for result in results if result["note"]]
    return "\n" + "".join(lines) if lines else ""


def _reach(result: dict[str, Any]) -> str:
    if result["reach"] is None:
        return "–"
    unit = "" if result["other"] else f" {result['unit']}"
    return f"{'at most' if result['most'] else 'at least'} {show_figure(result['reach'])}{unit}"


def _verdict(result: dict[str, Any]) -> str:
    if result["reach"] is None:
        return ""
    reached = result["ratio"] <= result["reach"] if result["most"] else result["ratio"] >= result["reach"]
    return "reached" if reached else "**not reached**"


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    main()
