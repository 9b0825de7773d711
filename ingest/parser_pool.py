"""The pool of parser processes: limited processes without privileges that parse untrusted input.

A call carries several small tasks. When a process dies or exceeds its time, the tasks it answered keep their answers. The first
unanswered task is parsed again alone in a fresh process, and the rest continues with each answer flushed at once. Only a failure
alone counts against an item: never one caused by what an earlier task left behind in the process, nor by the process's start.
"""

from __future__ import annotations

import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path

import msgspec

from core.errors import CasemillError
from core.metrics import PARSE_SECONDS
from core.settings.sections import Limits as LimitSettings
from ingest.parsers import worker as parser_worker
from ingest.parsers.worker import ParseAnswer, ParseCall, ParseFailure, ParseTask

#: Tasks of one call. Fewer than the maximum when that occupies all processes, but enough to hide the round trip of a call.
MAX_CALL_TASKS = 50
MIN_CALL_TASKS = 8
#: How long a process may take until it is ready; a machine under load has needed several seconds.
START_TIMEOUT_SECONDS = 60.0
MAX_CALL_BYTES = 2_000_000
#: How often deadlines are compared with the clock while a process works.
DEADLINE_CHECK_SECONDS = 0.25
#: A process is replaced after this many tasks.
MAX_TASKS_PER_PROCESS = 5_000
ROOT = Path(__file__).resolve().parent.parent
PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ingest.parsers.worker import main; main()"

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[ParseAnswer] = msgspec.msgpack.Decoder(ParseAnswer)


class ParserPool:
    """Parser processes and the threads that exchange calls with them; safe to use from several threads.

    The pool has ``limits.parser_processes`` processes; 0 means one for each core, at most four. ``sharers`` is the number of
    pools that share the cores of this machine. ``niceness`` (nice(2)) lowers the processes' CPU priority.
    """

    def __init__(self, limits: LimitSettings, *, sharers: int = 1, niceness: int = 0) -> None:
        self.size = limits.parser_processes or min(math.ceil((os.cpu_count() or 1) / sharers), 4)
        self._wall = limits.parser_wall_seconds
        self._limits = parser_worker.ProcessLimits(limits.parser_cpu_seconds, limits.parser_memory_bytes, niceness)
        self._supervisor = _ProcessSupervisor(self._limits)
        self._idle: queue.SimpleQueue[_ParserProcess] = queue.SimpleQueue()
        for _ in range(self.size):
            self._idle.put(self._supervisor.spawn())
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="parse")

    def parse(self, tasks: Sequence[ParseTask], *, alone: bool = False) -> list[ParseAnswer]:
        """Parse ``tasks`` and return their answers in order; ``alone`` gives each task a call of its own.

        Raises OSError when no process can be started.
        """
        calls = [[task] for task in tasks] if alone else _split_calls(tasks, self.size)
        futures = [self._threads.submit(self._call, call) for call in calls]
        return [answer for future in futures for answer in future.result()]

    def close(self) -> None:
        """End the processes and wait for them."""
        self._threads.shutdown(wait=True)
        self._supervisor.close()

    def _call(self, tasks: Sequence[ParseTask]) -> list[ParseAnswer]:
        """Return the answers to ``tasks``, parsing alone what failed among others."""
        answers: list[ParseAnswer] = []
        prompt = False
        while len(answers) < len(tasks):
            rest = tasks[len(answers) :]
            received = self._one_call(rest, prompt=prompt)
            answers += received
            if len(received) < len(rest):
                # Answers that the process had not sent yet are lost. With each answer flushed at once, that happens only once.
                prompt = True
                answers += self._one_call(rest[len(received) : len(received) + 1], fresh=True)
        return answers

    def _one_call(self, tasks: Sequence[ParseTask], *, fresh: bool = False, prompt: bool = False) -> list[ParseAnswer]:
        """Return what a process answered until it ended: one answer for each task when all went well.

        A task that failed alone in a used process is left without an answer, as if it had ended the process; the caller parses
        it again in a fresh one.
        """
        with self._borrow(fresh=fresh) as process:
            was_fresh = process.tasks == 0
            answers = self._exchange(process, tasks, prompt=prompt)
        if len(tasks) > 1:
            return answers
        answer = answers[0] if answers else ParseFailure("timeout" if process.timed_out else "killed")
        if not isinstance(answer, ParseFailure):
            return [answer]
        return [ParseFailure(answer.code, alone=True)] if was_fresh else []

    @contextmanager
    def _borrow(self, *, fresh: bool) -> Iterator[_ParserProcess]:
        """Yield a ready process and put it back afterwards, also after an error: a lost place would shrink the pool."""
        process = self._idle.get()
        self._supervisor.begin_call()
        try:
            if not process.is_usable() or (fresh and process.tasks):
                process = self._supervisor.replace(process)
            process.wait_until_ready()
            yield process
        finally:
            self._supervisor.end_call()
            self._idle.put(process)

    def _exchange(self, process: _ParserProcess, tasks: Sequence[ParseTask], *, prompt: bool) -> list[ParseAnswer]:
        answers: list[ParseAnswer] = []
        started = time.perf_counter()
        try:
            process.send(tasks, self._wall * _time_factor(tasks[0]), prompt=prompt)
            for task in tasks:
                answers.append(process.receive(self._wall * _time_factor(task)))
        except Exception:
            # A broken process can write anything, so every exception here is a failure of the process.
            process.kill()
        if len(answers) == len(tasks):
            seconds = (time.perf_counter() - started) / len(tasks)
            for task in tasks:
                PARSE_SECONDS.labels(task.kind).observe(seconds)
        return answers


class _ParserProcess:
    """One process; the supervisor kills it at ``deadline`` (`time.monotonic()`)."""

    def __init__(self, limits: parser_worker.ProcessLimits) -> None:
        self.deadline: float | None = None
        self.timed_out = False
        self.is_worn_out = False
        self.tasks = 0
        self._ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
            # Ctrl-C in the terminal goes to the parent alone.
            process_group=0,
        )
        with suppress(OSError):
            parser_worker.write_frame(self._stdin, _encoder.encode(limits))

    @property
    def _stdin(self):  # type: ignore[no-untyped-def]
        assert self._process.stdin is not None  # noqa: S101 - tells the type checker
        return self._process.stdin

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait for the process to report that it is ready; raises OSError when it does not start, which is no task's fault."""
        if self._ready:
            return
        try:
            self._ready = self._read(START_TIMEOUT_SECONDS) == b""
        except EOFError:
            self._ready = False
        if not self._ready:
            self.kill()
            raise OSError("a parser process did not start")

    def send(self, tasks: Sequence[ParseTask], wall: float, *, prompt: bool) -> None:
        self.tasks += len(tasks)
        self.deadline = time.monotonic() + wall
        parser_worker.write_frame(self._stdin, _encoder.encode(ParseCall(list(tasks), prompt)))

    def _read(self, wall: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - tells the type checker
        self.deadline = time.monotonic() + wall
        frame = parser_worker.read_frame(self._process.stdout)  # type: ignore[arg-type]
        self.deadline = None
        if frame is None:
            raise EOFError
        return frame

    def receive(self, wall: float) -> ParseAnswer:
        answer = _decoder.decode(self._read(wall))
        # After a failure the process is replaced: memory that ran out stays allocated.
        self.is_worn_out |= isinstance(answer, ParseFailure)
        return answer

    def is_usable(self) -> bool:
        return self._process.poll() is None and not self.timed_out and not self.is_worn_out and self.tasks < MAX_TASKS_PER_PROCESS

    def kill(self) -> None:
        self.deadline = None
        self._process.kill()
        self._process.wait()

    def expire(self) -> None:
        self.timed_out = True
        self._process.kill()

    def close(self) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._process.wait()


class _Request(Enum):
    """What the supervisor is asked besides starting a process."""

    WATCH = "watch deadlines"
    STOP = "stop"


class _ProcessSupervisor:
    """The thread that starts the processes and kills those past their deadline.

    It lives as long as the pool: with PDEATHSIG the kernel ends a process together with the *thread* that started it.
    """

    def __init__(self, limits: parser_worker.ProcessLimits) -> None:
        self._limits = limits
        self._processes: set[_ParserProcess] = set()
        self._requests: queue.SimpleQueue[Future[_ParserProcess] | _Request] = queue.SimpleQueue()
        self._calls = 0
        self._calls_lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="parser-supervisor", daemon=True)
        self._thread.start()

    def spawn(self) -> _ParserProcess:
        if not self._thread.is_alive():
            raise CasemillError("the parser processes have been closed")
        started: Future[_ParserProcess] = Future()
        self._requests.put(started)
        return started.result(timeout=30)

    def replace(self, process: _ParserProcess) -> _ParserProcess:
        self._processes.discard(process)
        process.close()
        return self.spawn()

    def begin_call(self) -> None:
        """Watch deadlines from now on; :meth:`end_call` ends it. The thread sleeps while no process works."""
        with self._calls_lock:
            self._calls += 1
            if self._calls == 1:
                self._requests.put(_Request.WATCH)

    def end_call(self) -> None:
        with self._calls_lock:
            self._calls -= 1

    def close(self) -> None:
        self._requests.put(_Request.STOP)
        self._thread.join(timeout=10)
        for process in list(self._processes):
            process.close()

    def _loop(self) -> None:
        while True:
            self._kill_overdue()
            try:
                # A call that begins after this line puts a request, so that the sleep without a time-out ends.
                request = self._requests.get(timeout=DEADLINE_CHECK_SECONDS if self._calls else None)
            except queue.Empty:
                continue
            if request is _Request.STOP:
                return
            if isinstance(request, _Request):
                continue
            try:
                process = _ParserProcess(self._limits)
            except OSError as error:
                request.set_exception(error)
                continue
            self._processes.add(process)
            request.set_result(process)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for process in list(self._processes):
            # Read once: the thread that waits for an answer may reset the deadline in between.
            deadline = process.deadline
            if deadline is not None and deadline < now:
                process.expire()


def _split_calls(tasks: Sequence[ParseTask], processes: int) -> list[list[ParseTask]]:
    """Split tasks into calls that occupy all processes, up to 50 tasks and 2 MB a call."""
    limit = min(MAX_CALL_TASKS, max(MIN_CALL_TASKS, math.ceil(len(tasks) / processes)))
    calls: list[list[ParseTask]] = []
    size = 0
    for task in tasks:
        if not calls or len(calls[-1]) >= limit or size + len(task.data) > MAX_CALL_BYTES:
            calls.append([])
            size = 0
        calls[-1].append(task)
        size += len(task.data)
    return calls


def _time_factor(task: ParseTask) -> int:
    return parser_worker.WORKBOOK_TIME_FACTOR if task.kind == "workbook" else 1
