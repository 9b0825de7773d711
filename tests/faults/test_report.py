"""The fault report: a run updates the lines of its tests and keeps the others."""

from __future__ import annotations

from pathlib import Path

from tests.faults.report import Report, Row


def row(fault: str, outcome: str, seed: int = 1) -> Row:
    return Row((fault,), "test_it", "embedded", 5, seed, outcome)


def test_partial_run_keeps_the_lines_of_other_tests(tmp_path: Path) -> None:
    path = tmp_path / "faults.md"
    Report([row("kill", "FAILED"), row("disk full", "held")]).write(path)
    Report([row("kill", "held", seed=2)]).write(path, kept={"test_it"})
    lines = [line for line in path.read_text().splitlines() if "test_it" in line]
    assert [line.split(" | ")[0:5] for line in lines] == [
        ["| kill", "embedded", "5", "held", "2"],
        ["| disk full", "embedded", "5", "held", "1"],
    ]
    assert "2 of 2 lines held" in path.read_text()


def test_removed_test_loses_its_line(tmp_path: Path) -> None:
    path = tmp_path / "faults.md"
    Report([row("kill", "held")]).write(path)
    Report([row("disk full", "NOT RUN: no tmpfs")]).write(path)
    text = path.read_text()
    assert "| kill |" not in text
    assert "0 of 1 lines held" in text
    assert "NOT RUN: no tmpfs" in text


def test_short_form_is_marked_in_the_report(tmp_path: Path) -> None:
    path = tmp_path / "faults.md"
    short = row("kill", "held")
    short.form = "short"
    Report([short]).write(path)
    assert "| held (short form) |" in path.read_text()
