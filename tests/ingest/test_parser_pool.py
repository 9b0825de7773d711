from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest import parser_pool as pool_module
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedForm, ParsedMail, ParsedWorkbook, Refusal
from ingest.parsers.worker import ParseAnswer, ParseFailure, ParseTask
from tests.ingest.processes import cpu_seconds, find_child_processes, new_child_processes
from tests.ingest.support import mail_with_file, make_form, make_mail, make_row, make_workbook, slow_task, subjects
from tests.waiting import scale_budget, wait_until

MAIL, OTHER = ParseTask("mail", make_mail(1)), ParseTask("mail", make_mail(2))


def wait_until_busy(pid: int) -> None:
    """Wait until the process has used 0.3 s of CPU on a slow task."""
    start = cpu_seconds(pid)
    wait_until(lambda: cpu_seconds(pid) - start > 0.3)


def parse_in_background(pool: ParserPool, tasks: list[ParseTask]) -> Future[list[ParseAnswer]]:
    future: Future[list[ParseAnswer]] = Future()

    def work() -> None:
        try:
            future.set_result(pool.parse(tasks))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def test_answers_are_in_the_order_of_the_tasks(parser_pool: ParserPool) -> None:
    tasks = [ParseTask("mail", make_mail(number)) for number in range(100)]
    assert subjects(parser_pool.parse(tasks)) == [f"Claim {number}" for number in range(100)]


def test_every_kind_is_parsed_and_a_refusal_is_an_answer_too(parser_pool: ParserPool) -> None:
    kinds = [ParseTask("form", make_form()), ParseTask("workbook", make_workbook(make_row(1))), MAIL, ParseTask("mail", b"")]
    form, workbook, mail, refusal = parser_pool.parse(kinds)
    assert isinstance(form, ParsedForm)
    assert isinstance(workbook, ParsedWorkbook)
    assert isinstance(mail, ParsedMail)
    assert isinstance(refusal, Refusal)


def test_parsing_no_tasks_returns_no_answers(parser_pool: ParserPool) -> None:
    assert parser_pool.parse([]) == []


def test_mail_with_an_18_mb_attachment_is_parsed(parser_pool: ParserPool) -> None:
    content = os.urandom(18_000_000)
    answer = parser_pool.parse([ParseTask("mail", mail_with_file("scan.pdf", content))])[0]
    assert isinstance(answer, ParsedMail)
    assert [attachment.content for attachment in answer.attachments] == [content]


@pytest.mark.parametrize(
    ("tasks", "processes", "lengths"),
    [(5, 2, [5]), (25, 2, [13, 12]), (100, 2, [50, 50]), (100, 4, [25] * 4), (150, 2, [50] * 3), (20, 4, [8, 8, 4])],
)
def test_calls_occupy_all_processes_and_carry_at_most_50_tasks(tasks: int, processes: int, lengths: list[int]) -> None:
    small = [ParseTask("mail", bytes([number])) for number in range(tasks)]
    calls = pool_module._split_calls(small, processes)
    assert [len(call) for call in calls] == lengths
    assert [task for call in calls for task in call] == small


def test_calls_carry_at_most_2_megabytes() -> None:
    large = [ParseTask("mail", b"x" * 1_500_000) for _ in range(3)]
    assert pool_module._split_calls(large, 1) == [[task] for task in large]


def test_parser_process_inherits_no_environment(monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]) -> None:
    monkeypatch.setenv("CASEMILL_SECRET_KEY", "canary-of-the-environment")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    with new_child_processes() as pids:
        make_pool().parse([MAIL])
    environment = Path(f"/proc/{pids[0]}/environ").read_bytes()
    assert environment.rstrip(b"\0").split(b"\0") == [b"LANG=C.UTF-8"]
    assert b"canary" not in Path(f"/proc/{pids[0]}/cmdline").read_bytes()
    # A program with this environment sees nothing else in os.environ.
    program = pool_module.PROGRAM.partition("; from ingest")[0] + "; import os; print(sorted(os.environ))"
    command = [sys.executable, "-I", "-c", program]
    shown = subprocess.run(command, env={"LANG": "C.UTF-8"}, capture_output=True, text=True, check=True).stdout
    assert set(eval(shown)) <= {"LANG", "LC_CTYPE"}  # noqa: S307 - our own print


def test_parser_process_inherits_no_files_except_its_pipes(tmp_path: Path, make_pool: Callable[..., ParserPool]) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with new_child_processes() as pids:
            make_pool().parse([MAIL])
        held = [str(entry.readlink()) for entry in Path(f"/proc/{pids[0]}/fd").iterdir()]
    assert [target for target in held if not target.startswith("pipe:") and target != "/dev/null"] == []


def test_endless_task_is_killed_alone_and_the_others_of_its_call_keep_their_answers(
    make_pool: Callable[..., ParserPool],
) -> None:
    # RLIMIT_CPU counts whole seconds: with a limit of 0, a small task runs in what is left of the current second.
    pool = make_pool(parser_cpu_seconds=0)
    answers = pool.parse([MAIL, slow_task(), OTHER])
    assert answers[1] == ParseFailure("killed", alone=True)
    assert subjects(answers) == ["Claim 1", None, "Claim 2"]


def test_slow_task_within_its_limits_is_parsed(make_pool: Callable[..., ParserPool]) -> None:
    answers = make_pool(parser_cpu_seconds=30, parser_wall_seconds=60).parse([MAIL, slow_task(), OTHER])
    assert isinstance(answers[1], ParsedWorkbook)
    assert len(answers[1].rows) == 5_000


def test_cpu_limit_of_a_task_does_not_include_earlier_tasks(make_pool: Callable[..., ParserPool]) -> None:
    with new_child_processes() as pids:
        pool = make_pool(parser_cpu_seconds=1)
        pool.parse([MAIL])
    task = ParseTask("mail", make_mail(1, body="A line of text.\r\n" * 20_000))
    while cpu_seconds(pids[0]) < 4:
        answers = pool.parse([task] * 16)
        assert subjects(answers) == ["Claim 1"] * 16
    assert pids[0] in find_child_processes(os.getpid()), "one process parsed all of it"


def test_task_that_needs_more_memory_than_allowed_fails_alone(make_pool: Callable[..., ParserPool]) -> None:
    pool = make_pool(parser_memory_bytes=80_000_000)
    hog = ParseTask("mail", mail_with_file("scan.pdf", os.urandom(18_000_000)))
    answers = pool.parse([MAIL, hog, OTHER])
    assert isinstance(answers[1], ParseFailure)
    assert answers[1].alone
    assert subjects(answers) == ["Claim 1", None, "Claim 2"]


RAISING = (
    "import ingest.parsers.mail.message as m; parse = m.parse_mail\n"
    "def odd(data, options):\n    assert b'Claim 1' not in data\n    return parse(data, options)\nm.parse_mail = odd\n"
)


def test_task_whose_parser_raises_fails_alone_and_its_process_is_replaced(
    monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    monkeypatch.setattr(pool_module, "PROGRAM", pool_module.PROGRAM.replace("main()", RAISING + "main()"))
    with new_child_processes() as before:
        pool = make_pool()
        together = pool.parse([MAIL, OTHER])
    assert together[0] == ParseFailure("AssertionError", alone=False)
    assert subjects(together) == [None, "Claim 2"]
    assert subjects(pool.parse([OTHER])) == ["Claim 2"]
    assert before[0] not in find_child_processes(os.getpid())
    # A task alone in its call is parsed again in a fresh process before the failure counts against it.
    assert pool.parse([MAIL], alone=True) == [ParseFailure("AssertionError", alone=True)]


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_killed_process_loses_no_answer(kill: signal.Signals, make_pool: Callable[..., ParserPool]) -> None:
    with new_child_processes() as pids:
        pool = make_pool(parser_cpu_seconds=60, parser_wall_seconds=60)
        assert subjects(pool.parse([MAIL])) == ["Claim 1"]
    future = parse_in_background(pool, [MAIL, slow_task(), OTHER])
    wait_until_busy(pids[0])
    os.kill(pids[0], kill)
    answers = future.result(scale_budget(60))
    # The task in progress was parsed again, alone in a fresh process, which was not killed.
    assert isinstance(answers[1], ParsedWorkbook)
    assert subjects(answers) == ["Claim 1", None, "Claim 2"]


def test_process_killed_while_idle_is_replaced(make_pool: Callable[..., ParserPool]) -> None:
    with new_child_processes() as pids:
        pool = make_pool()
        pool.parse([MAIL])
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: pids[0] not in find_child_processes(os.getpid()))
    assert subjects(pool.parse([OTHER], alone=True)) == ["Claim 2"]


def test_hanging_process_is_killed_after_its_wall_time(make_pool: Callable[..., ParserPool]) -> None:
    with new_child_processes() as pids:
        pool = make_pool(parser_wall_seconds=1.0)
        pool.parse([MAIL])
    os.kill(pids[0], signal.SIGSTOP)
    start = time.monotonic()
    answers = pool.parse([MAIL, OTHER])
    assert 1.0 <= time.monotonic() - start < 5.0
    assert subjects(answers) == ["Claim 1", "Claim 2"]
    assert pids[0] not in find_child_processes(os.getpid())


def test_task_that_hangs_alone_in_a_fresh_process_is_a_timeout(
    monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    hanging = "from ingest.parsers import worker; from time import sleep; worker._answer_task = lambda task: sleep(60); "
    monkeypatch.setattr(pool_module, "PROGRAM", pool_module.PROGRAM.replace("main()", hanging + "main()"))
    pool = make_pool(parser_wall_seconds=1.0)
    monkeypatch.undo()
    assert pool.parse([MAIL], alone=True) == [ParseFailure("timeout", alone=True)]
    assert subjects(pool.parse([OTHER])) == ["Claim 2"]


def test_supervisor_survives_thousands_of_short_deadlines(make_pool: Callable[..., ParserPool]) -> None:
    """A deadline reset while the supervisor read it once ended the supervisor, and with it every process."""
    pool = make_pool(parser_wall_seconds=30)
    supervisor, ends = pool._supervisor, time.monotonic() + 1.5

    def kill_overdue() -> None:
        while time.monotonic() < ends:
            supervisor._kill_overdue()

    watchers = [threading.Thread(target=kill_overdue) for _ in range(2)]
    for thread in watchers:
        thread.start()
    while time.monotonic() < ends:
        assert subjects(pool.parse([MAIL] * 4)) == ["Claim 1"] * 4
    for thread in watchers:
        thread.join()
    assert supervisor._thread.is_alive()


def test_process_is_replaced_after_its_maximum_of_tasks(
    monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    monkeypatch.setattr(pool_module, "MAX_TASKS_PER_PROCESS", 20)
    with new_child_processes() as before:
        pool = make_pool()
    with new_child_processes() as after:
        for _ in range(3):
            assert subjects(pool.parse([MAIL] * 16)) == ["Claim 1"] * 16
    assert before != after
    assert before[0] not in find_child_processes(os.getpid())


def test_four_threads_share_a_pool(parser_pool: ParserPool) -> None:
    def work(thread: int) -> list[str | None]:
        tasks = [ParseTask("mail", make_mail(f"{thread}-{number}")) for number in range(60)]
        return subjects(parser_pool.parse(tasks)) + subjects(parser_pool.parse(tasks[:5], alone=True))

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(work, range(4)))
    expected = [[f"Claim {thread}-{number}" for number in (*range(60), *range(5))] for thread in range(4)]
    assert results == expected


def test_pool_recovers_after_a_process_could_not_be_started(
    monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    with new_child_processes() as pids:
        pool = make_pool()
        pool.parse([MAIL])
    os.kill(pids[0], signal.SIGKILL)
    wait_until(lambda: pids[0] not in find_child_processes(os.getpid()))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in range(3):
        with pytest.raises(OSError, match="nowhere"):
            pool.parse([MAIL], alone=True)
    monkeypatch.undo()
    assert subjects(pool.parse([MAIL])) == ["Claim 1"]


GARBAGE = {
    "no MessagePack": struct.pack(">Q", 5) + b"\xc1\xc1\xc1\xc1\xc1",
    "another value": struct.pack(">Q", 1) + b"\x07",
    "an unknown kind": struct.pack(">Q", 12) + b"\x81\xa4type\xa5other",
    "a text that is no UTF-8": struct.pack(">Q", 33) + b"\x83\xa4type\xa7failure\xa4code\xa1\xff\xa5alone\xc2" + b"\0" * 6,
    "a frame of exabytes": b"\xff" * 8 + b"more",
    "half a header": b"\0\0",
    "half a frame": struct.pack(">Q", 100) + b"abc",
}


@pytest.mark.parametrize("written", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_from_a_process_is_a_failure_and_not_a_crash(
    written: bytes, monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    rubbish = f"import os, sys; os.write(1, bytes(8)); sys.stdin.buffer.read(100); os.write(1, {written!r})"
    monkeypatch.setattr(pool_module, "PROGRAM", rubbish)
    pool = make_pool(parser_wall_seconds=5)
    assert pool.parse([MAIL, OTHER]) == [ParseFailure("killed", alone=True)] * 2
    monkeypatch.undo()
    assert subjects(pool.parse([MAIL, OTHER])) == ["Claim 1", "Claim 2"]
