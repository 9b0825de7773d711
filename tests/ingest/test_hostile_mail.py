"""A real parser process reads each message of the hostile set (security.md, rule 1) within its time and memory limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings.sections import Limits
from ingest.parser_pool import ParserPool
from ingest.parsers.types import ParsedMail, ParseOptions
from ingest.parsers.worker import ParseTask
from tests.ingest.parsers.hostile_mail import build_hostile
from tests.ingest.processes import cpu_seconds, find_child_processes

HOSTILE = build_hostile()
#: Name → the note that says which limit was reached, "" for none.
NAMES = {
    "100,000 addresses in To": "headers_cut", "100,000 addresses in From": "headers_cut", "50,000 parameters": "headers_cut",
    "50,000 parameters of a part": "part_headers_cut", "depth 10,000": "depth_cut", "100,000 parts": "parts_cut",
    "5 angles in Message-ID": "message_id_odd", "90,000 angles in Message-ID": "message_id_odd", "an encoded CRLF in Subject": "",
    "1 MB of nested divs": "html_stripped", "40 kB lines of who wrote when": "",
}  # fmt: skip
CPU_SECONDS, MEMORY_KB = 5, 512_000


@pytest.fixture(scope="module")
def parser_process() -> Iterator[tuple[ParserPool, int]]:
    """A pool of one parser process, and the process id."""
    before = set(find_child_processes(os.getpid()))
    pool = ParserPool(Limits(parser_processes=1, parser_cpu_seconds=CPU_SECONDS, parser_memory_bytes=512_000_000))
    (pid,) = set(find_child_processes(os.getpid())) - before
    yield pool, pid
    pool.close()


def peak_kb(pid: int) -> int:
    """Return the peak memory of the process in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.parametrize("name", NAMES)
def test_hostile_message_is_parsed_within_the_limits_of_a_parser_process(
    parser_process: tuple[ParserPool, int], name: str
) -> None:
    pool, pid = parser_process
    before = cpu_seconds(pid)
    (answer,) = pool.parse([ParseTask("mail", HOSTILE[name], ParseOptions(html_text=True))], alone=True)
    assert isinstance(answer, ParsedMail), answer
    assert NAMES[name] in ("", *answer.notes), answer.notes
    assert cpu_seconds(pid) - before < CPU_SECONDS, "the same process is still running"
    assert peak_kb(pid) < MEMORY_KB


def test_encoded_line_end_in_subject_becomes_a_space(parser_pool: ParserPool) -> None:
    (answer,) = parser_pool.parse([ParseTask("mail", HOSTILE["an encoded CRLF in Subject"])])
    assert isinstance(answer, ParsedMail)
    assert answer.subject == "s Bcc: x@x.example"
