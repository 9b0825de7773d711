"""What a process learns from the command that started it."""

from __future__ import annotations

import os
import sys

import pytest

from runtime.worker_process import count_worker_processes, is_worker_process


@pytest.mark.parametrize(
    ("argv", "is_worker", "processes"),
    [
        (["/srv/.venv/bin/dramatiq", "workers", "--processes", "3", "--threads", "4"], True, 3),
        (["/srv/.venv/lib/dramatiq/__main__.py", "workers", "-p", "5"], True, 5),
        (["dramatiq", "-t", "2", "workers"], True, os.cpu_count()),
        (["/srv/.venv/bin/casemill", "run"], False, 1),
        (["/srv/cli/__main__.py", "watch", "--processes", "3"], False, 1),
    ],
)
def test_command_line_names_number_of_worker_processes(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], is_worker: bool, processes: int
) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert is_worker_process() is is_worker
    assert count_worker_processes() == processes
