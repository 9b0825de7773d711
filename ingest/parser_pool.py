"""The parser children: a few processes with limits that parse what nobody trusts.

A call carries several small items. When a child dies or takes too long, the items that were answered keep their answers, the
first that was not is tried again alone in a fresh child, and the rest goes on with each answer sent at once: only a failure
alone counts against an item, and no item answers for what another left behind in its child, nor for the start of one.
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
from pathlib import Path

import msgspec

from core.errors import CasemillError
from core.settings.sections import Limits as LimitSettings
from ingest.parsers import worker as child
from ingest.parsers.worker import ParseAnswer, ParseCall, ParseFailure, ParseTask

#: A call carries no more, and fewer when that lets all children work, down to those few that hide the round trip.
CALL_ITEMS = 50
FEWEST_ITEMS = 8
#: How long a child may take until it is ready; a machine under load has needed several seconds.
START_SECONDS = 60.0
CALL_BYTES = 2_000_000
RECYCLE_AFTER = 5_000
ROOT = Path(__file__).resolve().parent.parent
PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ingest.parsers.worker import main; main()"

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[ParseAnswer] = msgspec.msgpack.Decoder(ParseAnswer)


class ParserPool:
    """Children that parse; safe to use from several threads.

    As many as ``limits.parser_processes`` says; 0 means one a core, at most four, or its share when so many pools as
    ``sharers`` work side by side on the same cores. ``niceness`` (nice(2)) is how far they let others go first.
    """

    def __init__(self, limits: LimitSettings, *, sharers: int = 1, niceness: int = 0) -> None:
        self.size = limits.parser_processes or min(math.ceil((os.cpu_count() or 1) / sharers), 4)
        self._wall = limits.parser_wall_seconds
        self._limits = child.ProcessLimits(limits.parser_cpu_seconds, limits.parser_memory_bytes, niceness)
        self._keeper = _ProcessSupervisor(self._limits)
        self._idle: queue.SimpleQueue[_ParserProcess] = queue.SimpleQueue()
        for _ in range(self.size):
            self._idle.put(self._keeper.spawn())
        self._threads = ThreadPoolExecutor(self.size, thread_name_prefix="parse")

    def parse(self, tasks: Sequence[ParseTask], *, alone: bool = False) -> list[ParseAnswer]:
        """Parse ``tasks``, answers in their order. ``alone`` gives each a call of its own."""
        calls = [[task] for task in tasks] if alone else _calls(tasks, self.size)
        futures = [self._threads.submit(self._call, call) for call in calls]
        return [answer for future in futures for answer in future.result()]

    def close(self) -> None:
        """End the children and wait for them."""
        self._threads.shutdown(wait=True)
        self._keeper.close()

    def _call(self, tasks: Sequence[ParseTask]) -> list[ParseAnswer]:
        """The answers to ``tasks``; raises OSError when no child can be started, which is nobody's fault in ``tasks``."""
        answers: list[ParseAnswer] = []
        prompt = False
        while len(answers) < len(tasks):
            rest = tasks[len(answers) :]
            found = self._one_call(rest, prompt=prompt)
            answers += found
            if len(found) < len(rest):
                prompt = True  # what was answered and not yet sent is lost once, and not with every loss of a child
                answers += self._one_call(rest[len(found) : len(found) + 1], fresh=True)
        return answers

    def _one_call(self, tasks: Sequence[ParseTask], *, fresh: bool = False, prompt: bool = False) -> list[ParseAnswer]:
        """What a child answered before it came to an end; one answer a task when all went well.

        A task that failed alone, in a child that had worked before, is left unanswered like one that ended its child.
        """
        with self._borrowed(fresh=fresh) as worker:
            was_fresh = worker.tasks == 0
            answers = self._exchange(worker, tasks, prompt=prompt)
        if len(tasks) > 1:
            return answers
        answer = answers[0] if answers else ParseFailure("timeout" if worker.timed_out else "killed")
        if not isinstance(answer, ParseFailure):
            return [answer]
        return [ParseFailure(answer.code, alone=True)] if was_fresh else []

    @contextmanager
    def _borrowed(self, *, fresh: bool) -> Iterator[_ParserProcess]:
        """A child that lives; its place is given back whatever happens, or the pool would run dry."""
        worker = self._idle.get()
        try:
            if not worker.usable() or (fresh and worker.tasks):
                worker = self._keeper.replace(worker)
            worker.wait_until_ready()
            yield worker
        finally:
            self._idle.put(worker)

    def _exchange(self, worker: _ParserProcess, tasks: Sequence[ParseTask], *, prompt: bool) -> list[ParseAnswer]:
        answers: list[ParseAnswer] = []
        try:
            worker.send(tasks, self._wall * _slowness(tasks[0]), prompt=prompt)
            for task in tasks:
                answers.append(worker.receive(self._wall * _slowness(task)))
        except Exception:  # whatever a broken child writes, it is a failure of the child
            worker.kill()
        return answers


class _ParserProcess:
    """One process; ``deadline`` is when the keeper kills it."""

    def __init__(self, limits: child.ProcessLimits) -> None:
        self.deadline: float | None = None
        self.timed_out = False
        self.worn = False
        self.tasks = 0
        self._ready = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
            process_group=0,  # Ctrl-C is for the parent
        )
        with suppress(OSError):
            child.write_frame(self._stdin, _encoder.encode(limits))

    @property
    def _stdin(self):  # type: ignore[no-untyped-def]
        assert self._process.stdin is not None  # noqa: S101 - tells the type checker
        return self._process.stdin

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Raises OSError when it does not start: that is the fault of no task."""
        if self._ready:
            return
        try:
            self._ready = self._read(START_SECONDS) == b""
        except EOFError:
            self._ready = False
        if not self._ready:
            self.kill()
            raise OSError("a parser child did not start")

    def send(self, tasks: Sequence[ParseTask], wall: float, *, prompt: bool) -> None:
        self.tasks += len(tasks)
        self.deadline = time.monotonic() + wall
        child.write_frame(self._stdin, _encoder.encode(ParseCall(list(tasks), prompt)))

    def _read(self, wall: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - tells the type checker
        self.deadline = time.monotonic() + wall
        frame = child.read_frame(self._process.stdout)  # type: ignore[arg-type]
        self.deadline = None
        if frame is None:
            raise EOFError
        return frame

    def receive(self, wall: float) -> ParseAnswer:
        answer = _decoder.decode(self._read(wall))
        self.worn |= isinstance(answer, ParseFailure)  # memory that ran out stays used
        return answer

    def usable(self) -> bool:
        return self._process.poll() is None and not self.timed_out and not self.worn and self.tasks < RECYCLE_AFTER

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


class _ProcessSupervisor:
    """The thread that starts the children and kills those past their deadline.

    It lives as long as the pool does: the kernel ends a child with the *thread* that started it.
    """

    def __init__(self, limits: child.ProcessLimits) -> None:
        self._limits = limits
        self._children: set[_ParserProcess] = set()
        self._orders: queue.SimpleQueue[Future[_ParserProcess] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="parser-keeper", daemon=True)
        self._thread.start()

    def spawn(self) -> _ParserProcess:
        if not self._thread.is_alive():
            raise CasemillError("the parser children have been closed")
        order: Future[_ParserProcess] = Future()
        self._orders.put(order)
        return order.result(timeout=30)

    def replace(self, worn: _ParserProcess) -> _ParserProcess:
        self._children.discard(worn)
        worn.close()
        return self.spawn()

    def close(self) -> None:
        self._orders.put(None)
        self._thread.join(timeout=10)
        for worker in list(self._children):
            worker.close()

    def _loop(self) -> None:
        while True:
            self._kill_late()
            try:
                order = self._orders.get(timeout=0.25)
            except queue.Empty:
                continue
            if order is None:
                return
            try:
                worker = _ParserProcess(self._limits)
            except OSError as error:
                order.set_exception(error)
                continue
            self._children.add(worker)
            order.set_result(worker)

    def _kill_late(self) -> None:
        now = time.monotonic()
        for worker in list(self._children):
            deadline = worker.deadline  # read once: the thread that waits for an answer takes it away
            if deadline is not None and deadline < now:
                worker.expire()


def _calls(tasks: Sequence[ParseTask], children: int) -> list[list[ParseTask]]:
    """Shared out among the children, up to 50 items and 2 MB a call."""
    most = min(CALL_ITEMS, max(FEWEST_ITEMS, math.ceil(len(tasks) / children)))
    calls: list[list[ParseTask]] = []
    size = 0
    for task in tasks:
        if not calls or len(calls[-1]) >= most or size + len(task.data) > CALL_BYTES:
            calls.append([])
            size = 0
        calls[-1].append(task)
        size += len(task.data)
    return calls


def _slowness(task: ParseTask) -> int:
    return child.WORKBOOK_TIME_FACTOR if task.kind == "workbook" else 1
