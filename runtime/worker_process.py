"""Processes of ``dramatiq workers``: recognise one, count its siblings, and end it with its parent."""

from __future__ import annotations

import ctypes
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def is_worker_process() -> bool:
    """Return whether ``dramatiq workers`` or ``python -m dramatiq workers`` started this process."""
    program = Path(sys.argv[0])
    return "dramatiq" in (program.stem, program.parent.name)


def count_worker_processes() -> int:
    """Return how many worker processes the command started, including this one; 1 outside of ``dramatiq workers``."""
    if not is_worker_process():
        return 1
    from dramatiq.cli import make_argument_parser

    # The arguments are valid: the command itself has parsed them.
    count: int = make_argument_parser().parse_args().processes  # type: ignore[no-untyped-call]
    return count


def terminate_with_parent() -> None:
    """Ask the kernel to send SIGTERM when the parent dies (prctl(2)); an orphaned worker would run on unsupervised."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
