"""Test the benchmark table: new results of a script replace its old ones, and results of other scripts stay."""

from __future__ import annotations

from typing import Any

from benchmarks.report import merge, table


def result(script: str, name: str, casemill: float, measured: str = "2026-11-27T02:12+00:00", **more: Any) -> dict[str, Any]:
    defaults = {"unit": "mails/s", "other_name": "", "other": None, "reach": None, "most": False, "note": "", "ratio": casemill}
    measurement = {
        "script": f"bench_{script}.py",
        "name": name,
        "casemill": casemill,
        "measured": measured,
        "machine": "Two cores",
    }
    return {**defaults, **measurement, **more}


def test_new_run_of_a_script_replaces_only_the_rows_of_that_script() -> None:
    old_results = [result("sending", "sending, SQLite", 350), result("ingest", "old name", 900), result("ingest", "mail in", 900)]
    new_results = [result("ingest", "mail in", 1000)]
    assert [(row["name"], row["casemill"]) for row in merge(old_results, new_results)] == [
        ("sending, SQLite", 350),
        ("mail in", 1000),
    ]


def test_rows_keep_script_order_regardless_of_run_order() -> None:
    merged = merge([result("million", "million", 1)], [result("start", "start", 1)])
    assert [row["name"] for row in merged] == ["start", "million"]


def test_each_row_shows_target_outcome_and_time_of_measurement() -> None:
    rows = [
        result("ingest", "mail in", 924, other_name="peer", other=80.8, reach=10, ratio=11.44, note="runs: 857, 924"),
        result("ingest", "from below", 924, other_name="floor", other=2005, reach=0.5, ratio=0.461),
        result("latency", "mail to notice", 0.5, unit="s", reach=5, most=True),
    ]
    lines = table(rows).splitlines()
    assert "| mail in | 924 mails/s | peer: 80.8 mails/s | 11.44 | at least 10.0 | reached | 27 November 2026, 02:12 |" in lines
    assert any(line.startswith("| from below |") and "| **not reached** |" in line for line in lines)
    assert "| mail to notice | 0.5 s | – | – | at most 5 s | reached | 27 November 2026, 02:12 |" in lines
    assert "- mail in: runs: 857, 924" in lines
    assert lines.count("- Measured on: Two cores") == 1
