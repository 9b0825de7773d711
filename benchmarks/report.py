"""Store the results of the benchmarks and write benchmarks/RESULTS.md from them: the last step of `make bench`.

Run: python -m benchmarks.report FILE

Each line of FILE is one result in the format of :func:`benchmarks.harness.record`. New results of a script replace its old ones
in `results.jsonl` beside this file. Results of scripts that were not run stay, with the date of their measurement.
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

from benchmarks.harness import format_figure

StoredResult = dict[str, Any]

TARGET = Path(__file__).resolve().parent / "RESULTS.md"
STORE = TARGET.with_name("results.jsonl")
#: The scripts in the order of their rows.
SCRIPT_ORDER = ("start", "webhook", "workbook", "sending", "latency", "ingest", "memory", "million")
HEAD = """# Results

Written by `make bench` and not by hand. What each row measures, and against what, stands at the beginning of its script; what
the figures mean, and where the time goes, in [README.md](README.md). Rates are medians. A ratio compares two sides measured in
turn in one run of a script; rows of different scripts may be of different days.

| work | casemill | against | ratio | to reach | | measured |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    new_results = parse_lines(Path(sys.argv[1]).read_text())
    metadata = {"measured": datetime.now(UTC).isoformat(timespec="minutes"), "machine": describe_machine()}
    old_results = parse_lines(STORE.read_text()) if STORE.exists() else []
    results = merge(old_results, [{**result, **metadata} for result in new_results])
    STORE.write_text("".join(json.dumps(result) + "\n" for result in results))
    TARGET.write_text(table(results))
    print(f"casemill: {len(new_results)} results in {TARGET.relative_to(Path.cwd())}")


def parse_lines(text: str) -> list[StoredResult]:
    return [json.loads(line) for line in text.splitlines()]


def merge(old_results: Iterable[StoredResult], new_results: Sequence[StoredResult]) -> list[StoredResult]:
    """Replace all old results of each script that was run again."""
    run_again = {result["script"] for result in new_results}
    unchanged = [result for result in old_results if result["script"] not in run_again]
    return sorted([*unchanged, *new_results], key=lambda result: SCRIPT_ORDER.index(_script_name(result)))


def table(results: Sequence[StoredResult]) -> str:
    machines = dict.fromkeys(result["machine"] for result in results)
    measured_on = "".join(f"- Measured on: {machine}\n" for machine in machines)
    return HEAD + "".join(f"{row(result)}\n" for result in results) + "\n" + measured_on + notes(results)


def describe_machine() -> str:
    """Return the Python version, processor, memory and kernel, on which the figures depend."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) // 1024**2 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    parts = [f"Python {platform.python_version()}", f"{os.cpu_count()} cores {model}".strip(), f"{memory} GB of memory"]
    return ", ".join([*parts, f"{platform.system()} {platform.release().partition('-')[0]}"])


def row(result: StoredResult) -> str:
    against = f"{result['other_name']}: {format_figure(result['other'])} {result['unit']}" if result["other"] else "–"
    ratio = f"{result['ratio']:.2f}" if result["other"] else "–"
    own = f"{format_figure(result['casemill'])} {result['unit']}"
    day = f"{datetime.fromisoformat(result['measured']):%d %B %Y, %H:%M}"
    return f"| {result['name']} | {own} | {against} | {ratio} | {_format_target(result)} | {_format_assessment(result)} | {day} |"


def notes(results: Sequence[StoredResult]) -> str:
    return "".join(f"- {result['name']}: {result['note']}\n" for result in results if result["note"])


def _script_name(result: StoredResult) -> str:
    return str(result["script"]).removeprefix("bench_").removesuffix(".py")


def _format_target(result: StoredResult) -> str:
    if result["reach"] is None:
        return "–"
    unit = "" if result["other"] else f" {result['unit']}"
    return f"{'at most' if result['most'] else 'at least'} {format_figure(result['reach'])}{unit}"


def _format_assessment(result: StoredResult) -> str:
    if result["reach"] is None:
        return ""
    reached = result["ratio"] <= result["reach"] if result["most"] else result["ratio"] >= result["reach"]
    return "reached" if reached else "**not reached**"


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    main()
