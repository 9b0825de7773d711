from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.settings.sections import Limits
from ingest.ledger import claims
from ingest.ledger.types import MAX_LOSSES, ClaimedItem
from ingest.parser_pool import ParserPool
from tests.ingest.support import (
    SECURE,
    IngestHarness,
    arrival,
    arrivals,
    assert_all_tickets,
    form_arrival,
    mail_with_file,
    make_form,
    make_mail,
    make_row,
    make_workbook,
    notices,
)
from tests.waiting import scale_budget

ROOT = Path(__file__).parents[2]


def test_expired_claim_returns_its_items_isolated_and_counts_a_loss(harness: IngestHarness) -> None:
    harness.accept(*arrivals(5))
    assert len(claims.claim(harness.database, "dead", 100)) == 5
    assert claims.recover_expired(harness.database) == 0, "the claim has not expired yet"
    assert harness.pipeline.drain() == 0
    assert harness.expire() == 5
    assert {(item.state, item.losses, item.alone, item.attempts) for item in harness.items()} == {("waiting", 1, True, 0)}
    assert [harness.pipeline.drain() for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    assert_all_tickets(harness.items())


def test_item_that_kills_the_process_is_quarantined_after_ten_losses_and_no_other_is(harness: IngestHarness) -> None:
    """Each death loses the claimed batch; isolated items are claimed one at a time."""
    harness.accept(*arrivals(20))
    poison = harness.items()[0].id
    deaths = 0
    while claimed := claims.claim(harness.database, f"process {deaths}", 100):
        if poison in {item.id for item in claimed} and claimed[0].losses < MAX_LOSSES:
            deaths += 1
            harness.expire()
        else:
            claims.release(harness.database, f"process {deaths}")
            assert harness.pipeline.drain() == len(claimed)
    assert deaths == MAX_LOSSES
    items = {item.id: item for item in harness.items()}
    bad = items.pop(poison)
    assert (bad.disposition, bad.reason_code) == ("quarantined", "lost_too_often")
    assert bad.ticket_id
    assert_all_tickets(list(items.values()))
    assert {item.losses for item in items.values()} == {1}


def test_item_lost_too_often_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch, harness: IngestHarness) -> None:
    harness.accept(arrival(make_mail()))
    harness.sql("UPDATE inbound_item SET losses = 10, alone = :yes", yes=True)
    parsed: list[object] = []

    def record(tasks: list[object], **_options: object) -> list[object]:
        parsed.extend(tasks)
        return []

    monkeypatch.setattr(harness.pool, "parse", record)
    harness.drain()
    assert parsed == []
    assert harness.items()[0].reason_code == "lost_too_often"


def test_worker_that_lost_its_claim_stores_nothing(monkeypatch: pytest.MonkeyPatch, harness: IngestHarness) -> None:
    """A suspended process resumes after another worker has settled its items: it must not change them."""
    harness.accept(*arrivals(3))
    plan = harness.pipeline._plan

    def suspended(items: object) -> object:
        plans = plan(items)  # type: ignore[arg-type]
        monkeypatch.undo()
        assert harness.expire() == 3
        harness.drain()
        return plans

    monkeypatch.setattr(harness.pipeline, "_plan", suspended)
    harness.pipeline.drain()
    assert_all_tickets(harness.items())
    assert len(harness.tickets()) == 3


def test_failure_after_a_lost_claim_does_not_reopen_a_settled_item(
    monkeypatch: pytest.MonkeyPatch, harness: IngestHarness
) -> None:
    harness.accept(*arrivals(1))
    retry_or_quarantine = harness.pipeline._retry_or_quarantine

    def failing(*_arguments: object) -> None:
        raise ValueError("what a statement may raise")

    def resumed(token: str, item: ClaimedItem, error: Exception) -> None:
        monkeypatch.undo()
        assert harness.expire() == 1
        harness.drain()
        retry_or_quarantine(token, item, error)

    monkeypatch.setattr(harness.pipeline, "_store", failing)
    monkeypatch.setattr(harness.pipeline, "_retry_or_quarantine", resumed)
    harness.pipeline.drain()
    harness.make_due()
    harness.drain()
    assert_all_tickets(harness.items())
    assert len(harness.tickets()) == 1


def test_batch_is_released_unchanged_when_no_parser_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, make_harness: Callable[..., IngestHarness]
) -> None:
    pool = ParserPool(Limits(parser_processes=1))
    harness = make_harness(pool)
    harness.accept(*arrivals(3))
    for process in list(pool._supervisor._processes):
        os.kill(process.pid, signal.SIGKILL)
        process._process.wait()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in range(12):
        with pytest.raises(OSError, match="nowhere"):
            harness.pipeline.drain()
    assert {(item.state, item.attempts, item.losses, item.alone) for item in harness.items()} == {("waiting", 0, 0, False)}
    monkeypatch.undo()
    harness.drain()
    pool.close()
    assert_all_tickets(harness.items())


def test_concurrent_pipelines_create_no_duplicate_tickets(make_harness: Callable[..., IngestHarness]) -> None:
    harnesses = [make_harness(limits={"batch": 7}) for _ in range(3)]
    harnesses[0].accept(*arrivals(60))
    harnesses[1].accept(*(arrival(make_mail(number, headers=["Received: two"]), f"b{number}") for number in range(60)))
    barrier = threading.Barrier(3)

    def work(harness: IngestHarness) -> None:
        barrier.wait(scale_budget(30))
        harness.drain()

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, harnesses))
    harnesses[0].drain()
    items = harnesses[0].items()
    assert {item.state for item in items} == {"settled"}
    assert Counter(item.disposition for item in items) == {"ticket": 60, "duplicate": 60}
    assert len(harnesses[0].tickets()) == 60
    assert Counter(item.ticket_id for item in items) == {ticket.id: 2 for ticket in harnesses[0].tickets()}


def test_batch_is_limited_in_bytes(monkeypatch: pytest.MonkeyPatch, harness: IngestHarness) -> None:
    monkeypatch.setattr(claims, "MAX_BATCH_BYTES", 10_000)
    harness.accept(*(arrival(make_mail(number, body="x" * 4_000), f"{number}") for number in range(5)))
    harness.accept(arrival(make_mail("big", body="x\r\n" * 10_000), "big"))
    assert [harness.pipeline.drain() for _ in range(5)] == [2, 2, 1, 1, 0]
    assert_all_tickets(harness.items())


PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from core.settings.sections import Limits
from ingest.parser_pool import ParserPool
from tests.ingest.support import open_harness, settings_for
pool = ParserPool(Limits(parser_processes=1))
harness = open_harness(settings_for({url!r}, Path({folder!r})), pool)
harness.drain()
harness.database.close()
pool.close()
"""


def run_in_another_process(url: str, folder: Path, crash_at: str = "") -> int:
    program = PROGRAM.format(root=str(ROOT), url=url, folder=str(folder))
    environment = {"PATH": os.environ["PATH"], **({"CASEMILL_CRASH_AT": crash_at} if crash_at else {})}
    return subprocess.run([sys.executable, "-c", program], env=environment, check=False, timeout=scale_budget(60)).returncode


@pytest.mark.parametrize("failpoint", ["ingest.claimed", "ingest.parsed", "ingest.storing", "ingest.stored", "workbook.chunk"])
def test_each_item_has_exactly_one_ticket_after_a_kill_at_any_failpoint(
    failpoint: str, harness: IngestHarness, database_url: str, tmp_path: Path
) -> None:
    rows = [make_row(number) for number in range(450)] if failpoint == "workbook.chunk" else [make_row(1), make_row(2)]
    mail = mail_with_file("export.xlsx", make_workbook(*rows), sender=SECURE)
    harness.accept(*arrivals(4), form_arrival(make_form()), arrival(mail, "w"))
    url = str(harness.settings.database_url)
    assert run_in_another_process(url, tmp_path, failpoint) == -signal.SIGKILL
    harness.expire()
    assert run_in_another_process(url, tmp_path) == 0
    expected = {"ticket": 5 + len(rows), "expanded": 2}
    assert Counter(item.disposition for item in harness.items()) == expected
    assert {item.state for item in harness.items()} == {"settled"}
    assert len(harness.tickets()) == 5 + len(rows)
    assert len({item.ticket_id for item in harness.items() if item.disposition == "ticket"}) == 5 + len(rows)
    (workbook,) = harness.items(kind="workbook")
    assert workbook.reason == f"{len(rows)} rows: {len(rows)} new, 0 known before"
    assert len(notices(harness)) == 5 + len(rows)
