"""The program of a parser child: reads tasks from its standard input, writes answers to its standard output.

It is started with an empty environment, sees no setting and no secret, and limits itself before it reads the first byte.
Frames are a length (8 bytes, big-endian) and MessagePack. The first one is empty and says that the child is ready. Answers to a
call go out together every few milliseconds; with ``prompt`` each at once, so that the parent knows which task was under way when
a child died.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from ingest.parsers.types import Parsed, ParsedForm, ParsedMail, ParsedWorkbook, ParseOptions, Refusal

PR_SET_PDEATHSIG = 1
#: Unpacking and reading a workbook of the largest size allowed takes several times as long as the largest mail.
WORKBOOK_TIME_FACTOR = 6
#: Answers are kept back this long: each one that is sent wakes the parent.
FLUSH_SECONDS = 0.01
OUTPUT_BUFFER_BYTES = 256 * 1024
#: How many new objects there must be before the collector of garbage looks at them: a mail's die with the mail.
GC_THRESHOLD_OBJECTS = 20_000


class ParseTask(msgspec.Struct, frozen=True):
    """One item to parse; ``kind`` is ``mail``, ``form`` or ``workbook``."""

    kind: str
    data: bytes
    options: ParseOptions = ParseOptions()


class ParseCall(msgspec.Struct, frozen=True):
    """What a child is sent: tasks to be answered in their order, each one at once when ``prompt``."""

    tasks: list[ParseTask]
    prompt: bool


class ParseFailure(msgspec.Struct, frozen=True, tag="failure"):
    """The parser did not come to an end with this item: ``code`` is an exception's name, ``timeout`` or ``killed``.

    ``alone`` says whether the item was by itself in its child, so that nobody else can be to blame.
    """

    code: str
    alone: bool = False


class ProcessLimits(msgspec.Struct, frozen=True):
    """What a child may use: CPU seconds a task, bytes of address space; and its niceness (nice(2))."""

    cpu_seconds: int
    memory_bytes: int
    niceness: int


#: No task and no answer is larger; a longer frame is rubbish, and nobody reserves memory for it.
MAX_FRAME_BYTES = 512 * 1024 * 1024

ParseAnswer = ParsedMail | ParsedForm | ParsedWorkbook | Refusal | ParseFailure
FRAME_HEADER = struct.Struct(">Q")


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Write one frame and flush it."""
    _buffer_frame(stream, content)
    stream.flush()


def _buffer_frame(stream: BinaryIO, content: bytes) -> None:
    stream.write(FRAME_HEADER.pack(len(content)))
    stream.write(content)


def read_frame(stream: BinaryIO) -> bytes | None:
    """Read one frame; None when the other end is gone or writes no frames."""
    header = stream.read(FRAME_HEADER.size)
    if len(header) < FRAME_HEADER.size:
        return None
    (length,) = FRAME_HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        return None
    content = stream.read(length)
    return content if len(content) == length else None


def parse(task: ParseTask) -> Parsed:
    """Parse one task in this process, without limits of time or memory."""
    return _load_parser(task.kind)(task.data, task.options)


def main() -> None:
    """Serve tasks until standard input ends."""
    _exit_with_parent()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", OUTPUT_BUFFER_BYTES)
    os.dup2(2, 1)  # whatever a library prints must not get between the frames
    limits = msgspec.msgpack.decode(read_frame(source) or b"", type=ProcessLimits)
    _load_parser("mail")
    _set_hard_limit(resource.RLIMIT_AS, limits.memory_bytes)
    _set_hard_limit(resource.RLIMIT_CORE, 0)
    os.nice(limits.niceness)
    calls = msgspec.msgpack.Decoder(ParseCall)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD_OBJECTS, 10, 10)
    write_frame(sink, b"")
    while (frame := read_frame(source)) is not None:
        _answer_call(calls.decode(frame), limits, sink)


def _answer_call(call: ParseCall, limits: ProcessLimits, sink: BinaryIO) -> None:
    flushed = time.monotonic()
    for task in call.tasks:
        _limit_cpu(limits, task.kind)
        _buffer_frame(sink, _answer_task(task))
        if call.prompt or time.monotonic() - flushed > FLUSH_SECONDS:
            sink.flush()
            flushed = time.monotonic()
    sink.flush()


def _answer_task(task: ParseTask) -> bytes:
    """The packed answer. What cannot be packed (a lone surrogate) is a failure of its own, not the end of the child."""
    try:
        return msgspec.msgpack.encode(parse(task))
    except Exception as error:
        return msgspec.msgpack.encode(ParseFailure(type(error).__name__))


def _load_parser(kind: str) -> Callable[[bytes, ParseOptions], Parsed]:
    if kind == "mail":
        from ingest.parsers.mail.message import parse_mail

        return parse_mail
    if kind == "form":
        from ingest.parsers.form.submission import parse_form

        return parse_form
    from ingest.parsers.workbook.parse import parse_workbook

    return parse_workbook


def _limit_cpu(limits: ProcessLimits, kind: str) -> None:
    """RLIMIT_CPU counts a process's whole life, so each task gets what was used so far and its own share."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    share = limits.cpu_seconds * (WORKBOOK_TIME_FACTOR if kind == "workbook" else 1)
    soft = int(used.ru_utime + used.ru_stime) + 1 + share
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if most == resource.RLIM_INFINITY else min(soft, most), most))


def _set_hard_limit(limit: int, value: int) -> None:
    """Set a limit for good; one that is lower already, by the system's own configuration, stays."""
    _, most = resource.getrlimit(limit)
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(limit, (value, value))


def _exit_with_parent() -> None:
    """A busy child outlives a parent that was killed unless the kernel is told (prctl(2), PR_SET_PDEATHSIG)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
