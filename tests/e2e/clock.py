"""A clock that a test moves while processes run."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.system import ROOT


class ShiftedClock:
    """The clock of processes that run with ``environment``: it differs from the true time by an offset in seconds.

    libfaketime cannot be used: it shifts the monotonic clock as well, which makes Python's `sleep` fail.
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
        """Change the offset, also of processes that run."""
        draft = self._folder / "draft"
        draft.write_text(f"{seconds:.0f}")
        draft.replace(self._folder / "offset")
