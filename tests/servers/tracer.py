"""strace attached to running processes, to make their system calls fail or to kill them."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Self

from tests.servers.process import find_program
from tests.waiting import poll_until, wait_for_exit


def find_tracer() -> str | None:
    """Return the path of `strace` if it may attach to a running process (ptrace(2), /proc/sys/kernel/yama/ptrace_scope)."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    allowed = os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"
    return find_program("strace") if allowed else None


class Tracer:
    """A context manager that injects `fault` into the system calls `calls` of a process, its threads and its children."""

    def __init__(self, pid: int, calls: str, fault: str, output: Path) -> None:
        targets = [part for one in (pid, *_children(pid)) for part in ("-p", str(one))]
        options = ["-f", "-o", str(output), "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
        self._argv = [str(find_tracer()), *options, *targets]
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process = self._process
        if not poll_until(lambda: _is_traced(self._pid) or process.poll() is not None, 15) or process.poll() is not None:
            raise RuntimeError("strace did not attach")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        wait_for_exit(self._process, 15)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
