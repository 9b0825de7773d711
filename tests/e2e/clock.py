"""A clock that can be moved while processes run."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.system import ROOT


class ShiftedClock:
    """The time of processes started with ``environment``, in seconds from the true one; it may be changed while they run.

    libfaketime would do it from outside, but makes Python's `sleep` fail (it takes its offset from the monotonic clock too).
    """

    PROGRAM = """
import time
from datetime import timedelta
from pathlib import Path
import core.clock
FILE, true_now, true_time = Path(__file__).with_name("offset"), core.clock.now, time.time
core.clock.now = lambda: true_now() + timedelta(seconds=float(FILE.read_text()))
time.time = lambda: true_time() + float(FILE.read_text())
"""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.set_offset(0)
        (folder / "sitecustomize.py").write_text(self.PROGRAM)
        self.environment = {"PYTHONPATH": f"{folder}:{ROOT}", "TZ": "America/New_York"}

    def set_offset(self, seconds: float) -> None:
        draft = self._folder / "draft"
        draft.write_text(f"{seconds:.0f}")
        draft.replace(self._folder / "offset")
