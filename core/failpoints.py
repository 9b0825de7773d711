"""Failpoints: places where a test kills the process to show that nothing is lost or doubled."""

from __future__ import annotations

import os
import signal


def failpoint(name: str) -> None:
    """Kill this process with SIGKILL, as a power cut would, when ``CASEMILL_CRASH_AT`` names this place."""
    if os.environ.get("CASEMILL_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
