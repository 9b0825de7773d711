"""What a process of ``dramatiq workers`` is told by how it was started, and what it owes the one that started it."""

from __future__ import annotations

import ctypes
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def is_worker_process() -> bool:
    """Whether ``dramatiq workers`` or ``python -m dramatiq workers`` loaded this process."""
    program = Path(sys.argv[0])
    return "dramatiq" in (program.stem, program.parent.name)


def count_worker_processes() -> int:
    """How many processes the command that started this one has for its work, this one among them."""
    if not is_worker_process():
        return 1
    from dramatiq.cli import make_argument_parser

    # The command itself has read them without an error.
    count: int = make_argument_parser().parse_args().processes  # type: ignore[no-untyped-call]
    return count


def terminate_with_parent() -> None:
    """A worker whose parent is killed would work on for ever, unseen: the kernel asks it to end instead (prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
