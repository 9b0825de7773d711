"""The program of a parser process: it reads tasks from standard input and writes answers to standard output.

The process starts with an empty environment, has no access to settings or secrets, and limits itself before it parses the
first task. A frame is a length (8 bytes, big-endian) followed by MessagePack. The first frame of the process is empty and
means "ready". The answers of one call are flushed together every few milliseconds. With ``prompt`` each answer is flushed at
once, so that the parent knows which task was running when the process died.
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
#: CPU share of a workbook task relative to a mail: the largest workbook takes several times as long as the largest mail.
WORKBOOK_TIME_FACTOR = 6
#: Longest delay of an answer within a call. Each flush wakes the parent.
FLUSH_SECONDS = 0.01
OUTPUT_BUFFER_BYTES = 256 * 1024
#: New objects before a garbage collection of the youngest generation. The objects of a mail are freed with the mail.
GC_THRESHOLD_OBJECTS = 20_000


class ParseTask(msgspec.Struct, frozen=True):
    """One item to parse. ``kind`` is ``mail``, ``form`` or ``workbook``."""

    kind: str
    data: bytes
    options: ParseOptions = ParseOptions()


class ParseCall(msgspec.Struct, frozen=True):
    """The tasks of one call. The process answers them in order; ``prompt`` flushes each answer at once."""

    tasks: list[ParseTask]
    prompt: bool


class ParseFailure(msgspec.Struct, frozen=True, tag="failure"):
    """The parser did not finish this item. ``code`` is the name of an exception, ``timeout`` or ``killed``.

    ``alone`` is True when the item was the only one in its process, so that no other item can have caused the failure.
    """

    code: str
    alone: bool = False


class ProcessLimits(msgspec.Struct, frozen=True):
    """Limits of one parser process: CPU seconds per task, bytes of address space, and the niceness (nice(2))."""

    cpu_seconds: int
    memory_bytes: int
    niceness: int


#: Upper limit of a frame. No task or answer is larger, so a longer frame is invalid and no memory is reserved for it.
MAX_FRAME_BYTES = 512 * 1024 * 1024

ParseAnswer = ParsedMail | ParsedForm | ParsedWorkbook | Refusal | ParseFailure
FRAME_HEADER = struct.Struct(">Q")


def write_frame(stream: BinaryIO, content: bytes) -> None:
    """Write one frame and flush the stream."""
    _buffer_frame(stream, content)
    stream.flush()


def _buffer_frame(stream: BinaryIO, content: bytes) -> None:
    stream.write(FRAME_HEADER.pack(len(content)))
    stream.write(content)


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the content of the next frame, or None when the stream ended or does not hold a valid frame."""
    header = stream.read(FRAME_HEADER.size)
    if len(header) < FRAME_HEADER.size:
        return None
    (length,) = FRAME_HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        return None
    content = stream.read(length)
    return content if len(content) == length else None


def parse(task: ParseTask) -> Parsed:
    """Parse one task in the calling process, without limits on time or memory."""
    return _load_parser(task.kind)(task.data, task.options)


def main() -> None:
    """Serve tasks until standard input ends.

    1. Tie the process to its parent, so that it cannot outlive it.
    2. Keep a private copy of standard output for frames and point descriptor 1 at standard error: the output of a library
       must not get between the frames.
    3. Read the limits and import the mail parser, then lower the limits on memory and core dumps.
    4. Freeze the imported objects, so that the garbage collector does not visit them again.
    5. Send the empty "ready" frame and answer calls.
    """
    _exit_with_parent()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", OUTPUT_BUFFER_BYTES)
    os.dup2(2, 1)
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
    """Return the packed answer. A result that cannot be packed (a lone surrogate) is a failure of this task alone."""
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
    """Grant the next task its CPU seconds.

    RLIMIT_CPU counts from process start, so the limit is the time used plus the share.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    share = limits.cpu_seconds * (WORKBOOK_TIME_FACTOR if kind == "workbook" else 1)
    soft_limit = int(usage.ru_utime + usage.ru_stime) + 1 + share
    _, hard_limit = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft_limit if hard_limit == resource.RLIM_INFINITY else min(soft_limit, hard_limit), hard_limit)
    )


def _set_hard_limit(limit: int, value: int) -> None:
    """Lower a limit irrevocably. A limit that the system already set lower stays."""
    _, hard_limit = resource.getrlimit(limit)
    value = value if hard_limit == resource.RLIM_INFINITY else min(value, hard_limit)
    resource.setrlimit(limit, (value, value))


def _exit_with_parent() -> None:
    """Let the kernel kill this process with its parent (prctl(2), PR_SET_PDEATHSIG); a busy process would outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
