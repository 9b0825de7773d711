"""Keeps what the benchmarks recorded, and writes benchmarks/RESULTS.md from it: the last step of `make bench`.

Run: python -m benchmarks.report FILE

Each line of FILE is one result as :func:`benchmarks.harness.record` keeps it. The results of a script replace those it gave
before, in `results.jsonl` beside this file; those of scripts that were not run stay, with the day on which they were measured.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import show_figure

Kept = dict[str, Any]

TARGET = Path(__file__).resolve().parent / "RESULTS.md"
STORE = TARGET.with_name("results.jsonl")
#: The scripts in the order of their rows.
ORDER = ("start", "webhook", "workbook", "sending", "latency", "ingest", "memory", "million")
HEAD = """# Results

Written by `make bench` and not by hand. What each row measures, and against what, stands at the beginning of its script; what
the figures mean, and where the time goes, in [README.md](README.md). Rates are medians. A ratio compares two sides measured in
turn in one run of a script; rows of different scripts may be of different days.

| work | casemill | against | ratio | to reach | | measured |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    fresh = read(Path(sys.argv[1]).read_text())
    about = {"measured": datetime.now(UTC).isoformat(timespec="minutes"), "machine": describe_machine()}
    before = read(STORE.read_text()) if STORE.exists() else []
    results = merge(before, [{**result, **about} for result in fresh])
    STORE.write_text("".join(json.dumps(result) + "\n" for result in results))
    TARGET.write_text(table(results))
    print(f"casemill: {len(fresh)} results in {TARGET.relative_to(Path.cwd())}")


def read(text: str) -> list[Kept]:
    return [json.loads(line) for line in text.splitlines()]


def merge(before: Iterable[Kept], fresh: Sequence[Kept]) -> list[Kept]:
    """What a script gives now replaces all that it gave before."""
    run_again = {result["script"] for result in fresh}
    kept = [result for result in before if result["script"] not in run_again]
    return sorted([*kept, *fresh], key=lambda result: ORDER.index(_name_of(result)))


def table(results: Sequence[Kept]) -> str:
    machines = dict.fromkeys(result["machine"] for result in results)
    measured_on = "".join(f"- Measured on: {machine}\n" for machine in machines)
    return HEAD + "".join(f"{row(result)}\n" for result in results) + "\n" + measured_on + notes(results)


def describe_machine() -> str:
    """What the figures depend on."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) // 1024**2 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    parts = [f"Python {platform.python_version()}", f"{os.cpu_count()} cores {model}".strip(), f"{memory} GB of memory"]
    return ", ".join([*parts, f"{platform.system()} {platform.release().partition('-')[0]}"])


def row(result: Kept) -> str:
    against = f"{result['other_name']}: {show_figure(result['other'])} {result['unit']}" if result["other"] else "–"
    ratio = f"{result['ratio']:.2f}" if result["other"] else "–"
    own = f"{show_figure(result['casemill'])} {result['unit']}"
    day = f"{datetime.fromisoformat(result['measured']):%d %B %Y, %H:%M}"
    return f"| {result['name']} | {own} | {against} | {ratio} | {_reach(result)} | {_rating(result)} | {day} |"


def notes(results: Sequence[Kept]) -> str:
    return "".join(f"- {result['name']}: {result['note']}\n" for result in results if result["note"])


def _name_of(result: Kept) -> str:
    return str(result["script"]).removeprefix("bench_").removesuffix(".py")


def _reach(result: Kept) -> str:
    if result["reach"] is None:
        return "–"
    unit = "" if result["other"] else f" {result['unit']}"
    return f"{'at most' if result['most'] else 'at least'} {show_figure(result['reach'])}{unit}"


def _rating(result: Kept) -> str:
    if result["reach"] is None:
        return ""
    reached = result["ratio"] <= result["reach"] if result["most"] else result["ratio"] >= result["reach"]
    return "reached" if reached else "**not reached**"


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    main()
