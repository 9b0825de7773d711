"""A process that starts slowly or not at all, and answers it had not sent yet, count against no item."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ingest import parser_pool
from ingest.parser_pool import ParserPool
from ingest.parsers.worker import ParseFailure, ParseTask
from tests.ingest.support import make_mail, subjects

MAIL, OTHER = ParseTask("mail", make_mail(1)), ParseTask("mail", make_mail(2))


def test_slow_start_of_a_process_counts_against_no_item(
    monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    slow = parser_pool.PROGRAM.replace("import sys", "import sys, time; time.sleep(1.5)", 1)
    monkeypatch.setattr(parser_pool, "PROGRAM", slow)
    pool = make_pool(parser_wall_seconds=0.7)
    assert subjects(pool.parse([MAIL, OTHER])) == ["Claim 1", "Claim 2"]


def test_process_that_does_not_start_counts_against_no_item(
    monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    monkeypatch.setattr(parser_pool, "PROGRAM", "raise SystemExit(1)")
    pool = make_pool()
    with pytest.raises(OSError, match="did not start"):
        pool.parse([MAIL, OTHER])
    monkeypatch.undo()
    assert subjects(pool.parse([MAIL, OTHER])) == ["Claim 1", "Claim 2"]


def test_unsent_answers_of_a_dead_process_are_computed_again(
    monkeypatch: pytest.MonkeyPatch, make_pool: Callable[..., ParserPool]
) -> None:
    """The last task ends its process before any answer was sent; the tasks before it are answered all the same."""
    ending = "from ingest.parsers import worker; import os; real = worker._answer_task; "
    ending += (
        "worker._answer_task = lambda task: os._exit(1) if b'Claim 2' in task.data else real(task); worker.FLUSH_SECONDS = 60; "
    )
    monkeypatch.setattr(parser_pool, "PROGRAM", parser_pool.PROGRAM.replace("main()", ending + "main()"))
    answers = make_pool(parser_processes=1).parse([MAIL, MAIL, OTHER, MAIL])
    assert subjects(answers) == ["Claim 1", "Claim 1", None, "Claim 1"]
    assert answers[2] == ParseFailure("killed", alone=True)
