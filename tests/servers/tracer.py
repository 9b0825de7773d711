"""strace attached to running processes, to make their system calls fail or end them."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.servers.process import find_program


def find_tracer() -> str | None:
    """Path of `strace` when it may attach to a running process (ptrace(2), /proc/sys/kernel/yama/ptrace_scope)."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    allowed = os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"
    return find_program("strace") if allowed else None


class Tracer:
    """Injects `fault` into the system calls `calls` of a process, its threads and its children, as long as the block lasts."""

    def __init__(self, pid: int, calls: str, fault: str, output: Path) -> None:
        targets = [part for one in (pid, *_children(pid)) for part in ("-p", str(one))]
        options = ["-f", "-o", str(output), "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}"]
        self._argv = [str(find_tracer()), *options, *targets]
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = pid

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while not _is_traced(self._pid):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError("strace did not attach")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(15)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
