from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import time

import msgspec

from ingest import parser_pool
from ingest.parsers import worker
from ingest.parsers.worker import ParseAnswer, ParseFailure, ParseTask
from tests.ingest.support import make_mail, subjects

FIRST_MAIL, SECOND_MAIL = ParseTask("mail", make_mail(1)), ParseTask("mail", make_mail(2))


def start_process(prologue: str = "") -> subprocess.Popen[bytes]:
    """Start the program of a parser process as the pool does, with ``prologue`` executed first."""
    program = parser_pool.PROGRAM.replace("main()", f"{prologue}; main()") if prologue else parser_pool.PROGRAM
    command = [sys.executable, "-I", "-c", program]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={})
    assert process.stdin is not None
    worker.write_frame(process.stdin, msgspec.msgpack.encode(worker.ProcessLimits(5, 512 * 1024 * 1024, 0)))  # type: ignore[arg-type]
    assert worker.read_frame(process.stdout) == b"", "the process did not report that it is ready"  # type: ignore[arg-type]
    return process


def pack(*tasks: ParseTask, prompt: bool = False) -> bytes:
    return msgspec.msgpack.encode(worker.ParseCall(list(tasks), prompt))


def test_what_a_library_prints_does_not_break_the_frames() -> None:
    prologue_that_prints = (
        "import ingest.parsers.mail.message as m; parse = m.parse_mail; "
        "m.parse_mail = lambda *a: (print('noise', flush=True), __import__('os').write(1, b'more'), parse(*a))[2]"
    )
    with start_process(prologue_that_prints) as process:
        assert process.stdin is not None and process.stdout is not None
        worker.write_frame(process.stdin, pack(FIRST_MAIL, SECOND_MAIL))  # type: ignore[arg-type]
        frames = [worker.read_frame(process.stdout) for _ in range(2)]  # type: ignore[arg-type]
        answers = [msgspec.msgpack.decode(frame or b"", type=ParseAnswer) for frame in frames]
        process.stdin.close()
    assert subjects(answers) == ["Claim 1", "Claim 2"]


def test_answer_that_cannot_be_packed_is_a_failure_and_the_process_continues() -> None:
    prologue_with_odd_answer = (
        "import ingest.parsers.mail.message as m; from ingest.parsers.types import Refusal; parse = m.parse_mail; "
        "m.parse_mail = lambda data, o: Refusal('odd', chr(0xd800)) if b'Claim 1' in data else parse(data, o)"
    )
    with start_process(prologue_with_odd_answer) as process:
        assert process.stdin is not None and process.stdout is not None
        worker.write_frame(process.stdin, pack(FIRST_MAIL, SECOND_MAIL))  # type: ignore[arg-type]
        frames = [worker.read_frame(process.stdout) for _ in range(2)]  # type: ignore[arg-type]
        answers = [msgspec.msgpack.decode(frame or b"", type=ParseAnswer) for frame in frames]
        process.stdin.close()
    assert answers[0] == ParseFailure("UnicodeEncodeError")
    assert subjects(answers) == [None, "Claim 2"]


def test_frame_over_the_limit_is_not_read() -> None:
    assert worker.read_frame(io.BytesIO(struct.pack(">Q", worker.MAX_FRAME_BYTES + 1) + b"x")) is None


def test_process_keeps_lower_limits_of_the_system() -> None:
    """systemd's LimitAS or a shell's ulimit: the process cannot raise a hard limit and must still work."""
    prologue_with_lower_limits = (
        "import resource as r; r.setrlimit(r.RLIMIT_AS, (2**28, 2**28)); r.setrlimit(r.RLIMIT_CPU, (40, 40))"
    )
    with start_process(prologue_with_lower_limits) as process:
        assert process.stdin is not None and process.stdout is not None
        worker.write_frame(process.stdin, pack(FIRST_MAIL))  # type: ignore[arg-type]
        frame = worker.read_frame(process.stdout)  # type: ignore[arg-type]
        limits = resource.prlimit(process.pid, resource.RLIMIT_AS), resource.prlimit(process.pid, resource.RLIMIT_CPU)[1]
        process.stdin.close()
    assert subjects([msgspec.msgpack.decode(frame or b"", type=ParseAnswer)]) == ["Claim 1"]
    assert limits == ((2**28, 2**28), 40)


def test_process_may_use_its_memory_limit_and_leaves_no_core_dump() -> None:
    with start_process() as process:
        assert process.stdin is not None and process.stdout is not None
        worker.write_frame(process.stdin, pack(FIRST_MAIL))  # type: ignore[arg-type]
        worker.read_frame(process.stdout)  # type: ignore[arg-type]
        limits = [resource.prlimit(process.pid, kind) for kind in (resource.RLIMIT_AS, resource.RLIMIT_CORE)]
        process.stdin.close()
    assert limits == [(512 * 1024 * 1024,) * 2, (0, 0)]


def test_answers_are_flushed_together_unless_the_call_is_prompt() -> None:
    """One read of the pipe suffices: what the kernel holds then was written before the second task began."""
    prologue_that_sleeps = (
        "import time; from ingest.parsers import worker; worker.FLUSH_SECONDS = 60; answer = worker._answer_task; "
        "worker._answer_task = lambda task: (time.sleep(0.4 if b'Claim 2' in task.data else 0), answer(task))[1]"
    )
    waits = []
    with start_process(prologue_that_sleeps) as process:
        assert process.stdin is not None and process.stdout is not None
        for prompt in (False, True):
            worker.write_frame(process.stdin, pack(FIRST_MAIL, SECOND_MAIL, prompt=prompt))  # type: ignore[arg-type]
            began = time.monotonic()
            worker.read_frame(process.stdout)  # type: ignore[arg-type]
            waits.append(time.monotonic() - began)
            worker.read_frame(process.stdout)  # type: ignore[arg-type]
        process.stdin.close()
    assert waits[0] >= 0.4 > waits[1]
