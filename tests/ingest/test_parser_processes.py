"""The processes of a pool: their number, their niceness, and that they end with their parent."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from core.settings.sections import Limits
from ingest.parser_pool import ParserPool
from ingest.parsers.worker import ParseTask
from tests.ingest.processes import cpu_seconds, find_child_processes, new_child_processes, runs
from tests.ingest.support import make_mail, slow_task, subjects
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
MAIL = ParseTask("mail", make_mail(1))


def test_closed_pool_leaves_no_process_thread_or_pipe() -> None:
    files, threads = len(list(Path("/proc/self/fd").iterdir())), set(threading.enumerate())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with new_child_processes(2) as pids:
            pool = ParserPool(Limits(parser_processes=2))
            pool.parse([MAIL] * 40)
        os.kill(pids[0], signal.SIGKILL)
        pool.parse([MAIL] * 40)
        pool.close()
        del pool
        gc.collect()
    assert [warning.message for warning in caught] == []
    assert not set(pids) & set(find_child_processes(os.getpid()))
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert set(threading.enumerate()) <= threads


@pytest.mark.parametrize(
    ("cores", "sharers", "size"), [(2, 1, 2), (2, 2, 1), (2, 8, 1), (3, 2, 2), (8, 1, 4), (8, 2, 4), (8, 4, 2), (None, 1, 1)]
)
def test_pools_on_one_machine_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, sharers: int, size: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    before = len(find_child_processes(os.getpid()))
    with closing(ParserPool(Limits(), sharers=sharers)) as pool:
        assert pool.size == size
        assert len(find_child_processes(os.getpid())) - before == size
    with closing(ParserPool(Limits(parser_processes=3), sharers=sharers)) as pool:
        assert pool.size == 3, "a configured number takes precedence"


@pytest.mark.parametrize("niceness", [0, 5])
def test_parser_processes_have_the_configured_niceness_and_do_not_receive_ctrl_c(niceness: int) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with new_child_processes(1) as pids:
        pool = ParserPool(Limits(parser_processes=1), niceness=niceness)
    with closing(pool):
        assert subjects(pool.parse([MAIL])) == ["Claim 1"]
        (pid,) = pids
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(own + niceness, 19)
        assert os.getpgid(pid) != os.getpgid(0), "Ctrl-C goes to the foreground process group"
        assert os.getsid(pid) == os.getsid(0), "Linux compares niceness within a session only (sched(7), autogroup)"


def test_closed_pool_raises_on_use() -> None:
    pool = ParserPool(Limits(parser_processes=1))
    pool.close()
    pool.close()
    with pytest.raises(RuntimeError):
        pool.parse([MAIL])


PARENT = """
import sys, time
sys.path.insert(0, {root!r})
from core.settings.sections import Limits
from ingest.parser_pool import ParserPool
from ingest.parsers.worker import ParseTask
pool = ParserPool(Limits(parser_processes=2, parser_cpu_seconds=60, parser_wall_seconds=60))
pool.parse([ParseTask("mail", b"From: a@b.example\\r\\n\\r\\nhi")] * 40)
print("ready", flush=True)
if {busy}:
    pool.parse([ParseTask("workbook", sys.stdin.buffer.read())])
time.sleep(60)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_parser_processes_die_with_a_killed_parent(busy: bool) -> None:
    program = PARENT.format(root=str(ROOT), busy=busy)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        pids = find_child_processes(parent.pid)
        assert len(pids) == 2
        if busy:
            start = {pid: cpu_seconds(pid) for pid in pids}
            parent.stdin.write(slow_task().data)
            parent.stdin.close()
            wait_until(lambda: any(cpu_seconds(pid) - start[pid] > 0.3 for pid in pids))
        parent.kill()
        wait_until(lambda: not any(runs(pid) for pid in pids), seconds=3)
