"""The table of the benchmarks: what is run again replaces what its script gave before, the rest stays."""

from __future__ import annotations

from typing import Any

from benchmarks.report import merge, table


def result(script: str, name: str, casemill: float, measured: str = "2026-11-27T02:12+00:00", **more: Any) -> dict[str, Any]:
    plain = {"unit": "mails/s", "other_name": "", "other": None, "reach": None, "most": False, "note": "", "ratio": casemill}
    about = {"script": f"bench_{script}.py", "name": name, "casemill": casemill, "measured": measured, "machine": "Two cores"}
    return {**plain, **about, **more}


def test_a_script_that_is_run_again_replaces_all_its_rows_and_no_others() -> None:
    before = [result("sending", "sending, SQLite", 350), result("ingest", "old name", 900), result("ingest", "mail in", 900)]
    fresh = [result("ingest", "mail in", 1000)]
    assert [(one["name"], one["casemill"]) for one in merge(before, fresh)] == [("sending, SQLite", 350), ("mail in", 1000)]


def test_rows_are_in_the_order_of_the_scripts_whichever_was_run_last() -> None:
    merged = merge([result("million", "million", 1)], [result("start", "start", 1)])
    assert [one["name"] for one in merged] == ["start", "million"]


def test_each_row_says_what_was_to_be_reached_and_when_it_was_measured() -> None:
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
